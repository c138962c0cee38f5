//! What answers the questions, one file each: `fn answer(&Place, ...) -> Answered`, pure but for reads beneath the
//! place, run in a worker with the user's rights.
//!
//! To add one: a file here; a variant of `Question` (`question.rs`) and of `Answer` (`answer.rs`), at the end; its line
//! in `Question::needs` and in `answer` below. What it reads is hostile: bounded bytes, entries and depth; regular
//! files only; nothing but what lies beneath `Place::root` or was handed over. An error of the file system is an
//! `Unknown`, never an empty answer. What it needs from the system has to be in the worker's list of `syscalls.rs`.

mod configuration;
mod files;
mod folders;
mod known_hosts;
mod names;
mod places;
mod project;
#[cfg(test)]
mod trial;

#[cfg(test)]
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::{
    answer::{Answer, Answered},
    place::Place,
    question::Question,
};

/// Answers a question, in the worker.
pub(super) fn answer(question: Question, place: Place) -> Answered {
    match question {
        Question::Names { uids } => names::answer(&place, &uids).map(Answer::Names).into(),
        Question::Candidates(places) => Ok(files::candidates(&place, &places)).into(),
        Question::Ranges => files::ranges(&place).into(),
        Question::Examine(paths) => files::examine(&place, &paths),
        Question::ExamineExecutable { name } => {
            files::examine_executable(place, &name).unwrap_or_else(|why| Err(why).into())
        }
        Question::ExamineMapped(ranges) => {
            let names: Vec<PathBuf> = ranges.into_iter().map(|range| range.name).collect();
            files::examine_mapped(place, &names)
        }
        Question::Project(invoked) => project::answer(place, &invoked).into(),
        Question::Variables { names } => project::variables(&place, &names).into(),
        Question::KnownHosts(shown) => Ok(known_hosts::answer(&place, *shown)).into(),
        Question::Configuration { working_directory, files } => {
            Ok(configuration::answer(place, working_directory.as_deref(), &files)).into()
        }
        Question::Places(offsets) => places::answer(&place, &offsets).into(),
        #[cfg(test)]
        Question::Trial(trial) => trial.answer(&place),
    }
}

/// What a worker sends that was taken over.
#[cfg(test)]
pub(super) fn raw(question: &Question) -> Option<(Vec<u8>, Option<OwnedFd>)> {
    if let Question::Trial(trial) = question { trial.raw() } else { None }
}
