//! What a worker may look at for one question: descriptors that the broker opened, and everything beneath them that the user may read.

use std::{fs::File, os::fd::OwnedFd};

use super::questions::Needs;
use crate::event::stream::ProcessId;

/// Where a question is answered. Only what the question `needs` is there.
#[derive(Debug)]
pub struct Place {
    /// The process that the descriptors belong to: the subject, or one of its fallbacks.
    pub process: ProcessId,
    /// Its root directory, O_PATH.
    pub root: OwnedFd,
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
    /// Puts descriptors to their names, by the order in which `Needs` lists them. `present` has one bit for each that was asked for.
    pub(super) fn new(process: ProcessId, needs: &Needs, present: u64, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut bits = present;
        let mut descriptors = descriptors.into_iter();
        let mut next = |wanted: bool| {
            if !wanted {
                return None;
            }
            let there = bits & 1 == 1;
            bits >>= 1;
            if there { descriptors.next() } else { None }
        };
        Some(Self {
            process,
            root: next(true)?,
            cwd: next(needs.cwd),
            exe: next(needs.exe),
            content: next(needs.content).map(File::from),
            environ: next(needs.environ).map(File::from),
            maps: next(needs.maps).map(File::from),
            cmdline: next(needs.cmdline).map(File::from),
            mapped: needs.mapped.iter().map(|_| next(true).map(File::from)).collect(),
        })
    }
}
