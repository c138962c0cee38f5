//! What a worker may look at for one question: descriptors that the broker opened, and everything beneath them that the user may read.

use std::{fs::File, os::fd::OwnedFd};

use super::questions::Needs;
use crate::{
    event::stream::ProcessId,
    host::beneath::{Beneath, Budget},
};

/// Positions of descriptors in a job: bit and order.
pub(super) mod slot {
    pub(in crate::inspect) const ROOT: u32 = 0;
    pub(in crate::inspect) const CWD: u32 = 1;
    pub(in crate::inspect) const EXE: u32 = 2;
    pub(in crate::inspect) const CONTENT: u32 = 3;
    pub(in crate::inspect) const ENVIRON: u32 = 4;
    pub(in crate::inspect) const MAPS: u32 = 5;
    pub(in crate::inspect) const CMDLINE: u32 = 6;
    /// The first of them.
    pub(in crate::inspect) const MAPPED: u32 = 7;
    pub(in crate::inspect) const COUNT: u32 = MAPPED + super::super::questions::MAPPED_MAX as u32;
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
    /// What it executes, for reading: opened with the broker's rights, and checked to be a regular file.
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
    /// Puts descriptors to their names: `present` has a bit for each slot that is filled, and they come in the order of slots.
    pub(super) fn new(process: ProcessId, needs: &Needs, present: u64, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut slots: Vec<Option<OwnedFd>> = (0..slot::COUNT)
            .map(|at| if present >> at & 1 == 1 { descriptors.next() } else { None })
            .collect();
        let mut take = |at: u32| slots.get_mut(at as usize).and_then(Option::take);
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
