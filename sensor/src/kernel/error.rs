//! Why the kernel half cannot run: one sentence each, which says what to do.

use std::{io, path::PathBuf};

use sensor_common::VERSION;

pub const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why the kernel half cannot run. `Unusable` and `Root` are about this machine: exit code 77.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("sensor needs root (CAP_BPF and CAP_PERFMON): run it with sudo")]
    Root,
    #[error(
        "this kernel has no readable BTF at {path}: {why}; sensor needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of all current distributions"
    )]
    Btf { path: PathBuf, why: String },
    #[error("this kernel's BTF lacks what sensor needs: {missing}; please report it with the output of `uname -a`")]
    Fields { missing: String },
    #[error("cannot load the eBPF object: {0}; run `sensor check` to see what this kernel lacks")]
    Load(#[from] aya::EbpfError),
    #[error("the eBPF object does not fit this program: {0}; rebuild sensor")]
    Abi(#[from] Mismatch),
    #[error("cannot attach `{probe}` to {target}: {why}; run `sensor check` to see what this kernel lacks")]
    Attach { probe: &'static str, target: &'static str, why: String },
    #[error("the eBPF object has no map `{0}`: rebuild sensor")]
    Map(&'static str),
    #[error("cannot use the map `{map}`: {why}")]
    MapUse { map: &'static str, why: String },
    #[error("cannot wait for the ring buffer: {0}")]
    Ring(#[from] io::Error),
    #[error("the process that is to hold the probes does not answer: {0}")]
    Holder(io::Error),
    #[error("the ring buffer cannot have {0} bytes: it must be a power of two and a multiple of the page size")]
    RingSize(u32),
}

/// Why the object does not fit this program (`abi`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("its records are of version {found}, this program reads version {VERSION}")]
    Version { found: u64 },
    #[error("it has no map `{0}`")]
    NoMap(&'static str),
    #[error("{of} of its map `{map}` have {found} bytes, this program uses {expected}")]
    Size { map: &'static str, of: &'static str, found: u32, expected: u32 },
}

impl Error {
    /// Does this say that the sensor cannot run here, rather than that something broke?
    pub fn is_unusable(&self) -> bool {
        matches!(self, Self::Root | Self::Btf { .. } | Self::Fields { .. })
    }
}

/// An error with its causes, on one line; the verifier's whole log is for `SENSOR_LOG=debug`.
pub(super) fn chain(error: impl std::error::Error) -> String {
    tracing::debug!("{error}");
    let mut text = first_line(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&first_line(&cause.to_string()));
        source = cause.source();
    }
    text
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
