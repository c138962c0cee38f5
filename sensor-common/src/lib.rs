//! The kernel/user ABI of `sensor`, declared once.
//!
//! What enters: nothing. What leaves: the layout of every byte that crosses from the eBPF programs to the loader (ring
//! records, per-program counters), of what crosses the other way, one block (`Layout`, field offsets of this kernel)
//! and a probe's cookie (`kept`), of the switches that both sides read while they run (`Control`), and of every key and
//! value in a map (`map`, `ssh_map`). It rests on `repr(C)` with fixed-width integers and explicit padding: `IntoBytes`
//! refuses any other (but of the two records whose room is a parameter, where the pins alone say it), and sizes and
//! offsets are pinned by the assertions at the end of each file, so a change of the ABI is a change of a number here.
//! Both halves are built from the same tree. The loader compares `map::MAPS` and `VERSION` with the object before it
//! loads it, and `VERSION` travels in every record, so a mismatch is an error and not a misreading.
#![no_std]

mod control;
pub mod kept;
mod layout;
pub mod map;
mod pin;
mod record;
pub mod ssh;
pub mod ssh_map;

pub use control::{CONTROL_MAP, Control, MAPPABLE};
pub use layout::{ABSENT, Layout};
pub use record::*;
