//! Layer 2: the only module that knows aya. Loads the object, attaches the probes, drains the ring, reads the counters.
//!
//! What enters: the embedded object and this kernel. What leaves: raw ring records, as bytes, and counters. It fails
//! with one sentence that says what to do; a probe that is not required and cannot attach is reported, not fatal.
//! Dropping `Kernel` silences and detaches everything; where a holder has the links of the uprobes (`holder`), it takes
//! its time for them.

mod abi;
mod budget;
mod channels;
mod control;
mod counters;
mod error;
pub mod holder;
mod holder_process;
mod holder_queue;
mod holder_wire;
mod layout;
mod links;
mod load;
#[cfg(feature = "ebpf-log")]
mod log;
mod memory;
mod multi;
mod readable;
mod ring;
mod stale_entries;
mod uprobes;

pub use budget::{Budget, FILES, FILES_PER_OWNER, FILES_RESERVED};
pub use channels::ChannelBytes;
pub use control::Control;
pub use counters::{Program, ProgramCounters};
pub use error::{BTF, Error, Mismatch};
pub use holder::Holder;
pub use layout::{gaps, read as read_layout};
pub use load::{Kernel, Options, PROBES, ProbeSpec};
pub use memory::give_back;
pub use readable::Readable;
pub use ring::{Drained, Ring, Waker};
pub use uprobes::{Attach, AttachError};
