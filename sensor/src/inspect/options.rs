//! How the inspector is set up, and how its start fails: what the daemon's side, the spawner and the broker share.

use std::{io, path::PathBuf};

/// How the inspector is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's /proc.
    pub proc: PathBuf,
    /// Real, effective and saved uid and gid of workers: of the range that systemd leaves unused, which no user is
    /// given.
    pub uid: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { proc: "/proc".into(), uid: 61_179 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot start the inspector: {what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("cannot start the inspector: {why}")]
    Broker { why: String },
    #[error("cannot start the inspector: its broker does not answer")]
    Silent,
}
