//! What user space and the programs tell each other while both run: one value of a map that user space has mapped into
//! its memory.
//!
//! Both fields are words that either side reads and writes whole; nothing is guarded by them. Which order the two sides
//! keep is said where they do it: `sensor-ebpf/src/control.rs` and `sensor/src/kernel/ring.rs`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pin::pin;

/// The map's name in the object.
pub const CONTROL_MAP: &str = "CONTROL";

/// `BPF_F_MMAPABLE` (Linux 5.5): the value can be mapped.
pub const MAPPABLE: u32 = 1 << 10;

/// The switches. User space sets `silenced` and never clears it; it sets `sleeping`, and whichever side ends the sleep
/// clears it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Control {
    /// Not 0: every program returns at once.
    pub silenced: u32,
    /// Not 0: the ring's reader sleeps until a record wakes it.
    pub sleeping: u32,
}

pin!(Control, 8, { silenced: 0, sleeping: 4 });
