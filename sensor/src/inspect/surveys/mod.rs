//! Surveys: walks over /proc, asked rarely, whose results stream. They run in a child that has CAP_SYS_PTRACE and
//! CAP_DAC_READ_SEARCH and opens no user's file; a child that makes no progress is killed, and its successor continues
//! after the process at which it hung.
//!
//! To add one: a file here; a variant of `Survey` and of `SurveyItem`, at the end; its line in `run`. A file's identity
//! is to be had without asking a user's file system: statx(2) of an O_PATH descriptor with AT_STATX_DONT_SYNC, which
//! FUSE and NFS answer from what the kernel holds.

mod processes;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    event::stream::FileId,
    host::{
        holders::{self, Probed},
        snapshot::Seen,
    },
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Survey {
    /// Every process, by its number.
    Pids,
    /// Every process, as it is.
    Processes,
    /// Which of these files no process has any more.
    Gone(Vec<Probed>),
    /// The same; hangs at this process, and crashes at that.
    #[cfg(test)]
    Trial { hangs: u32, crashes: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SurveyItem {
    Pid(u32),
    Process(Box<Seen>),
    Gone(Vec<FileId>),
}

/// Where a survey starts, after others hung.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// What comes up to this process has been handled.
    pub after: u32,
    /// Not to be looked at.
    pub skip: Vec<u32>,
}

/// Where a survey puts what it finds.
pub trait Emit {
    /// Before a process is looked at: marks progress. `false`: it is to be skipped.
    fn at(&mut self, pid: u32) -> bool;
    fn emit(&mut self, item: &SurveyItem);
}

/// Runs one, in the child.
pub(super) fn run(survey: &Survey, proc: &Path, course: &Course, out: &mut dyn Emit) {
    match survey {
        #[cfg(test)]
        Survey::Trial { hangs, crashes } => {
            for pid in pids(proc, course) {
                if out.at(pid) {
                    match pid {
                        pid if pid == *hangs => std::thread::sleep(std::time::Duration::from_secs(1000)),
                        pid if pid == *crashes => panic!("a trial"),
                        _ => out.emit(&SurveyItem::Pid(pid)),
                    }
                }
            }
        }
        Survey::Pids => {
            for pid in pids(proc, course) {
                if out.at(pid) {
                    out.emit(&SurveyItem::Pid(pid));
                }
            }
        }
        Survey::Processes => processes::run(proc, course, out),
        Survey::Gone(probed) => {
            let gone = holders::gone(proc, probed, &mut |pid| out.at(pid));
            out.emit(&SurveyItem::Gone(gone));
        }
    }
}

/// Processes in the order of their numbers, those that a survey still has to look at.
pub fn pids(proc: &Path, course: &Course) -> Vec<u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = numbers.filter(|pid| *pid > course.after && !course.skip.contains(pid)).collect();
    pids.sort_unstable();
    pids
}
