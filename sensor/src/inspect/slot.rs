//! Positions of descriptors: bit and order in a message between broker, opener and worker.

use std::os::fd::OwnedFd;

// From the broker.
pub(super) const ROOT: u32 = 0;
pub(super) const CWD: u32 = 1;
pub(super) const CMDLINE: u32 = 2;
/// A socket, from which the rest comes.
pub(super) const OPENER: u32 = 3;
// From the opener.
pub(super) const CONTENT: u32 = 4;
pub(super) const ENVIRON: u32 = 5;
pub(super) const MAPS: u32 = 6;
/// The first of them.
pub(super) const MAPPED: u32 = 7;

/// Bits for slots that are filled.
pub(super) fn bits(slots: &[(u32, OwnedFd)]) -> u64 {
    slots.iter().fold(0, |bits, (at, _)| bits | 1 << at)
}

/// Puts descriptors, which come in the order of their slots, to these.
pub(super) fn slots(bits: u64, descriptors: Vec<OwnedFd>) -> Vec<(u32, OwnedFd)> {
    (0..u64::BITS).filter(|at| bits >> at & 1 == 1).zip(descriptors).collect()
}
