//! The answers, as data: what a worker says and the daemon decodes.

use std::{os::fd::OwnedFd, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{question::Range, unknown::Unknown};
use crate::{
    event::{deploy::Project, host_key::KnownHosts, stream::FileId},
    host::{config_files::look::Looked, examine::Examined, snapshot::Stamp},
};

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
pub(super) struct Answered {
    pub answer: Result<Answer, Unknown>,
    pub descriptors: Vec<OwnedFd>,
}

/// A file that may speak SSH.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub file: FileId,
    pub stamp: Stamp,
    /// Its path beneath the root.
    pub name: PathBuf,
    pub is_library: bool,
}

impl From<Result<Answer, Unknown>> for Answered {
    fn from(answer: Result<Answer, Unknown>) -> Self {
        Self { answer, descriptors: Vec::new() }
    }
}
