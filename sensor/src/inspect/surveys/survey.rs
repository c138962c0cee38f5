//! Surveys as data: which there are, what they find, where one starts; and the walk that each of them makes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    event::stream::FileId,
    host::{holders::Probed, snapshot::Seen},
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
pub(crate) struct Course {
    /// What comes up to this process has been handled.
    pub after: u32,
    /// Not to be looked at.
    pub skip: Vec<u32>,
}

/// Where a survey puts what it finds.
pub(crate) trait Emit {
    /// Before a process is looked at: marks progress. `false`: it is to be skipped.
    fn at(&mut self, pid: u32) -> bool;
    fn emit(&mut self, item: &SurveyItem);
}

/// Processes in the order of their numbers, those that a survey still has to look at.
pub(super) fn pids(proc: &Path, course: &Course) -> Vec<u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = numbers.filter(|pid| *pid > course.after && !course.skip.contains(pid)).collect();
    pids.sort_unstable();
    pids
}
