//! Layer 2: the only module that knows aya. Loads the object, attaches the probes, drains the ring, reads the counters.
//!
//! What enters: the embedded object and this kernel. What leaves: raw ring records, as bytes, and counters. It fails
//! with one sentence that says what to do; a probe that is not required and cannot attach is reported, not fatal.
//! Dropping `Kernel` silences and detaches everything; where a holder has the links of the uprobes (`holder`), it takes
//! its time for them.

mod budget;
mod channels;
mod control;
mod counters;
pub mod holder;
mod holder_process;
mod holder_queue;
mod holder_wire;
mod layout;
mod links;
mod load;
mod memory;
mod multi;
mod readable;
mod ring;
mod stale_entries;
mod uprobes;

use std::{io, path::PathBuf};

pub use budget::{Budget, FILES, FILES_PER_OWNER, FILES_RESERVED};
pub use channels::ChannelBytes;
pub use control::Control;
pub use counters::{Program, ProgramCounters};
pub use holder::Holder;
pub use layout::{gaps, read as read_layout};
pub use load::{Kernel, Options, PROBES, ProbeSpec};
pub use memory::give_back;
pub use readable::Readable;
pub use ring::{Drained, Ring, Waker};
pub use uprobes::{Attach, AttachError};

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

impl Error {
    /// Does this say that the sensor cannot run here, rather than that something broke?
    pub fn is_unusable(&self) -> bool {
        matches!(self, Self::Root | Self::Btf { .. } | Self::Fields { .. })
    }
}
