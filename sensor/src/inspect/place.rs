//! What a worker may look at for one question: descriptors that the broker opened, and everything beneath them that the
//! user may read.

use std::{fs::File, os::fd::OwnedFd};

use super::{needs::Needs, slot};
use crate::host::beneath::{Beneath, Budget};

/// Where a question is answered. Only what the question `needs` is there.
pub(super) struct Place {
    /// The root directory of the subject, or of one of its fallbacks, with what one question may spend there.
    pub root: Beneath,
    /// Its working directory, O_PATH. Never a fallback's.
    pub cwd: Option<OwnedFd>,
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
    pub(super) fn new(needs: &Needs, mut slots: Vec<(u32, OwnedFd)>) -> Option<Self> {
        let mut take = |at: u32| {
            let index = slots.iter().position(|(own, _)| *own == at)?;
            Some(slots.swap_remove(index).1)
        };
        Some(Self {
            root: Beneath::new(take(slot::ROOT)?, Budget::QUESTION),
            cwd: take(slot::CWD),
            content: take(slot::CONTENT).map(File::from),
            environ: take(slot::ENVIRON).map(File::from),
            maps: take(slot::MAPS).map(File::from),
            cmdline: take(slot::CMDLINE).map(File::from),
            mapped: (slot::MAPPED..).zip(&needs.mapped).map(|(at, _)| take(at).map(File::from)).collect(),
        })
    }
}
