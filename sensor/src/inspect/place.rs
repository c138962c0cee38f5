//! What a worker may look at for one question: descriptors that the broker opened, and everything beneath them that the
//! user may read.

use std::{fs::File, os::fd::OwnedFd};

use super::questions::Needs;
use crate::{
    event::stream::ProcessId,
    host::beneath::{Beneath, Budget},
};

/// Positions of descriptors: bit and order in a message.
pub(super) mod slot {
    // From the broker.
    pub(in crate::inspect) const ROOT: u32 = 0;
    pub(in crate::inspect) const CWD: u32 = 1;
    pub(in crate::inspect) const EXE: u32 = 2;
    pub(in crate::inspect) const CMDLINE: u32 = 3;
    /// A socket, from which the rest comes.
    pub(in crate::inspect) const OPENER: u32 = 4;
    // From the opener.
    pub(in crate::inspect) const CONTENT: u32 = 5;
    pub(in crate::inspect) const ENVIRON: u32 = 6;
    pub(in crate::inspect) const MAPS: u32 = 7;
    /// The first of them.
    pub(in crate::inspect) const MAPPED: u32 = 8;
}

/// Bits for slots that are filled.
pub(super) fn bits(slots: &[(u32, OwnedFd)]) -> u64 {
    slots.iter().fold(0, |bits, (at, _)| bits | 1 << at)
}

/// Puts descriptors, which come in the order of their slots, to these.
pub(super) fn slots(bits: u64, descriptors: Vec<OwnedFd>) -> Vec<(u32, OwnedFd)> {
    (0..u64::BITS).filter(|at| bits >> at & 1 == 1).zip(descriptors).collect()
}

/// Where a question is answered. Only what the question `needs` is there.
pub struct Place {
    /// The process that the descriptors belong to: the subject, or one of its fallbacks.
    pub process: ProcessId,
    /// Its root directory, with what one question may spend there.
    pub root: Beneath,
    /// Its working directory, O_PATH. Never a fallback's.
    pub cwd: Option<OwnedFd>,
    /// /proc/PID/exe, O_PATH: for its identity. Never a fallback's.
    pub exe: Option<OwnedFd>,
    /// What it executes, for reading: opened with the opener's rights, and checked to be a regular file.
    pub content: Option<File>,
    /// Its initial environment. Reads touch the process's memory.
    pub environ: Option<File>,
    /// Its memory map.
    pub maps: Option<File>,
    /// Its command line. Reads touch the process's memory.
    pub cmdline: Option<File>,
    /// For each range of `Needs::mapped` the file, for reading, where there was one.
    pub mapped: Vec<Option<File>>,
}

impl Place {
    /// Puts slots to their names.
    pub(super) fn new(process: ProcessId, needs: &Needs, mut slots: Vec<(u32, OwnedFd)>) -> Option<Self> {
        let mut take = |at: u32| {
            let index = slots.iter().position(|(own, _)| *own == at)?;
            Some(slots.swap_remove(index).1)
        };
        Some(Self {
            process,
            root: Beneath::new(take(slot::ROOT)?, Budget::QUESTION),
            cwd: take(slot::CWD),
            exe: take(slot::EXE),
            content: take(slot::CONTENT).map(File::from),
            environ: take(slot::ENVIRON).map(File::from),
            maps: take(slot::MAPS).map(File::from),
            cmdline: take(slot::CMDLINE).map(File::from),
            mapped: (slot::MAPPED..).zip(&needs.mapped).map(|(at, _)| take(at).map(File::from)).collect(),
        })
    }
}
