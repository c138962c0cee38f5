//! The questions, one file each: `fn answer(&Place, ...) -> Answered`, pure but for reads beneath the place, run in a
//! worker with the user's rights.
//!
//! To add one: a file here; a variant of `Question` and of `Answer`, at the end; its line in `needs` and in `answer`.
//! What it reads is hostile: bounded bytes, entries and depth; regular files only; nothing but what lies beneath
//! `Place::root` or was handed over. An error of the file system is an `Unknown`, never an empty answer. What it needs
//! from the system has to be in the worker's list of `syscalls.rs`.

mod configuration;
mod files;
mod folders;
mod known_hosts;
mod names;
mod places;
mod project;
#[cfg(test)]
pub(super) mod trial;

use std::{io, os::fd::OwnedFd, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{
    files::{Candidate, Range, Where},
    project::Invoked,
};
use super::{
    place::Place,
    subject::{Unknown, Why},
};
use crate::{
    event::{deploy::Project, host_key::KnownHosts, stream::FileId},
    host::{config_files::look::Looked, examine::Examined, known_hosts::Shown},
};

/// Ranges of `Needs::mapped`: descriptors that a worker may hold are bounded.
pub const MAPPED_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Names of these uids by the passwd file beneath the subject's root.
    Names { uids: Vec<u32> },
    /// Programs and libraries that may speak SSH.
    Candidates(Where),
    /// Libraries that the process has mapped.
    Ranges,
    /// What these files are; true: libraries.
    Examine(Vec<(PathBuf, bool)>),
    /// What the process executes is.
    ExamineExecutable { name: PathBuf },
    /// What is mapped at these ranges is.
    ExamineMapped(Vec<Range>),
    /// What a deploy's configuration says.
    Project(Invoked),
    /// Variables of the process's environment.
    Variables { names: Vec<String> },
    /// What the client's files say of a host key.
    KnownHosts(Box<Shown>),
    /// What configuration files hold.
    Configuration { working_directory: Option<PathBuf>, files: Vec<PathBuf> },
    /// May a file be probed at these offsets? It comes with the question (`Inspector::check`).
    Places(Vec<u64>),
    #[cfg(test)]
    Trial(trial::Trial),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Names(Names),
    Candidates(Vec<Candidate>),
    Ranges(Vec<Range>),
    /// With the open files of those that speak SSH, in their order.
    Examined(Vec<Examined>),
    /// None: it is no deploy.
    Project(Option<Box<Project>>),
    Variables(Vec<(String, String)>),
    KnownHosts(Box<KnownHosts>),
    /// In the order of the question.
    Configuration(Vec<Looked>),
    /// None: it may.
    Places {
        wrong: Option<String>,
    },
    #[cfg(test)]
    Trial(Vec<u8>),
}

/// Names of users by one passwd file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Names {
    /// The file that says so: the caller knows which one is the host's own.
    pub file: FileId,
    /// Those of the uids that it names; the first entry of a uid counts, as for getpwuid(3).
    pub names: Vec<(u32, String)>,
    /// The file is larger than is read: a uid without a name may have one.
    pub cut: bool,
}

/// What an answer function returns: descriptors go to the daemon with the answer. They arrive there as O_PATH ones: the
/// daemon may not close any other, since a user's file system can make it wait for that.
#[derive(Debug)]
pub struct Answered {
    pub answer: Result<Answer, Unknown>,
    pub descriptors: Vec<OwnedFd>,
}

/// What the broker opens for a question, beside the root directory. The first two are O_PATH.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one descriptor")]
pub struct Needs {
    pub cwd: bool,
    pub exe: bool,
    /// What the process executes, for reading, whatever its mode is.
    pub content: bool,
    pub environ: bool,
    pub maps: bool,
    pub cmdline: bool,
    /// Files that are mapped at these ranges of addresses, for reading, whatever their mode is.
    pub mapped: Vec<(u64, u64)>,
}

impl Question {
    pub fn needs(&self) -> Needs {
        match self {
            Self::Names { .. } | Self::Examine(_) => Needs::default(),
            Self::Candidates(places) => Needs { environ: matches!(places, Where::Interpreter(_)), ..Needs::default() },
            Self::Ranges => Needs { maps: true, ..Needs::default() },
            Self::ExamineExecutable { .. } | Self::Places(_) => Needs { content: true, ..Needs::default() },
            Self::ExamineMapped(ranges) => {
                let mapped = ranges.iter().take(MAPPED_MAX).map(|range| (range.start, range.end)).collect();
                Needs { mapped, ..Needs::default() }
            }
            Self::Project(_) | Self::Configuration { .. } => Needs { cwd: true, ..Needs::default() },
            Self::Variables { .. } => Needs { environ: true, ..Needs::default() },
            Self::KnownHosts(shown) => Needs { cmdline: shown.args.is_none(), ..Needs::default() },
            #[cfg(test)]
            Self::Trial(trial) => trial.needs(),
        }
    }

    #[cfg(test)]
    pub(super) fn raw(&self) -> Option<(Vec<u8>, Option<OwnedFd>)> {
        if let Self::Trial(trial) = self { trial.raw() } else { None }
    }

    /// Answers it, in the worker.
    pub(super) fn answer(self, place: Place) -> Answered {
        match self {
            Self::Names { uids } => names::answer(&place, &uids).map(Answer::Names).into(),
            Self::Candidates(places) => Ok(files::candidates(&place, &places)).into(),
            Self::Ranges => files::ranges(&place).into(),
            Self::Examine(paths) => files::examine(&place, &paths),
            Self::ExamineExecutable { name } => {
                files::examine_executable(place, &name).unwrap_or_else(|why| Err(why).into())
            }
            Self::ExamineMapped(ranges) => {
                let names: Vec<PathBuf> = ranges.into_iter().map(|range| range.name).collect();
                files::examine_mapped(place, &names)
            }
            Self::Project(invoked) => project::answer(place, &invoked).into(),
            Self::Variables { names } => project::variables(&place, &names).into(),
            Self::KnownHosts(shown) => Ok(known_hosts::answer(&place, &shown)).into(),
            Self::Configuration { working_directory, files } => {
                Ok(configuration::answer(place, working_directory.as_deref(), &files)).into()
            }
            Self::Places(offsets) => places::answer(&place, &offsets).into(),
            #[cfg(test)]
            Self::Trial(trial) => trial.answer(&place),
        }
    }
}

impl From<Result<Answer, Unknown>> for Answered {
    fn from(answer: Result<Answer, Unknown>) -> Self {
        Self { answer, descriptors: Vec::new() }
    }
}

impl From<std::io::Error> for Unknown {
    fn from(error: std::io::Error) -> Self {
        match (rustix::io::Errno::from_io_error(&error), error.kind()) {
            (Some(errno), _) => errno.into(),
            // As `Beneath` says it.
            (None, io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory) => Self::Refused(Why::Kind),
            (None, io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded) => Self::Budget,
            (None, _) => Self::Refused(Why::System(0)),
        }
    }
}
