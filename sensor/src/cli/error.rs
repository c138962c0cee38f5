//! Why a verb failed, as one sentence, and the exit code that says so.

use std::io;

use super::labels;

/// Nothing is wrong, but the sensor cannot run on this machine or as this user (as automake and systemd use it).
pub(super) const CANNOT_RUN_HERE: u8 = 77;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Pipeline(#[from] crate::pipeline::Failure),
    #[error(transparent)]
    Kernel(#[from] crate::kernel::Error),
    #[error(transparent)]
    Tools(#[from] crate::host::tools::Error),
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    #[error(transparent)]
    Labels(#[from] labels::Error),
    #[error(transparent)]
    Output(#[from] crate::sink::OpenError),
    #[error("{path}: {source}")]
    Recording { path: String, source: crate::decode::recording::Error },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl Error {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Pipeline(crate::pipeline::Failure::Kernel(error)) | Self::Kernel(error) if error.is_unusable() => {
                CANNOT_RUN_HERE
            }
            _ => 1,
        }
    }
}
