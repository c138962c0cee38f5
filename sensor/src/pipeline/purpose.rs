//! What a question is for: what its asker needs back with the answer. Below all askers.

use std::path::PathBuf;

use super::gate::Wait;
use crate::{
    event::{
        deploy::Facts as DeployFacts,
        ssh::ConnectionId,
        stream::{self, Exec, FileId, FileStamp},
    },
    host::{
        config_files::look::Look,
        examine::{Examined, Program},
    },
    inspect::Subject,
};

/// What an answer is for.
pub(super) enum Purpose {
    Names(Named),
    Program(Wanted),
    Project { asked: Box<Asked>, wait: Option<Wait> },
    Variables { facts: DeployFacts, wait: Option<Wait> },
    KnownHosts(ConnectionId),
    Configuration(Look),
    Processes,
    Gone,
}

impl Purpose {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Names(_) => "names of users",
            Self::Program(wanted) => wanted.name(),
            Self::Project { .. } => "a deploy's configuration",
            Self::Variables { .. } => "a hook's variables",
            Self::KnownHosts(_) => "known hosts",
            Self::Configuration(_) => "configuration files",
            Self::Processes => "processes",
            Self::Gone => "files in use",
        }
    }
}

/// Names that were asked for.
pub(super) struct Named {
    pub mnt_ns: u32,
    pub uids: Vec<u32>,
    pub wait: Option<Wait>,
}

/// What was asked about a deploy.
pub(super) struct Asked {
    pub(super) exec: Exec,
    /// Where a process that was found is: its exec is not in the stream.
    pub(super) found_in: Option<stream::Path>,
    pub(super) time: u64,
}

/// A question about programs.
pub(super) struct Wanted {
    pub(super) subject: Subject,
    pub(super) group: u64,
    pub(super) about: About,
}

impl Wanted {
    pub(super) fn name(&self) -> &'static str {
        match self.about {
            About::Executable(_) => "an executable",
            About::Candidates { .. } => "where libraries are",
            About::Ranges => "what is mapped",
            About::Mapped { .. } => "mapped libraries",
            About::Files { .. } => "programs and libraries",
            About::Places(_) => "where a program is to be probed",
        }
    }
}

/// What it is about.
pub(super) enum About {
    Executable(Executable),
    /// `watched`: they are the host's own, and their folders are watched for their successors.
    Candidates {
        watched: bool,
    },
    Ranges,
    Mapped {
        ranges: Vec<MappedFile>,
    },
    Files {
        files: Vec<FileId>,
        watched: bool,
    },
    /// Where it is to be probed.
    Places(Box<Program>),
}

/// What a process executes.
pub(super) struct Executable {
    /// As the kernel calls it.
    pub(super) file: FileId,
    pub(super) name: PathBuf,
    /// It may be a server: its role is a fact that the event needs.
    pub(super) served: bool,
    /// What the kernel says of its content.
    pub(super) stamp: Option<FileStamp>,
    /// The process is gone: its file is looked for by its name.
    pub(super) at_its_path: bool,
    /// The first answer did not come in time.
    pub(super) again: bool,
}

impl Executable {
    pub(super) fn new(file: FileId, name: PathBuf, served: bool, stamp: Option<FileStamp>) -> Self {
        Self { file, name, served, stamp, at_its_path: false, again: false }
    }

    /// What was found at its path, is it that file? Its user may have put another one there.
    pub(super) fn is(&self, found: &Examined) -> bool {
        let low = |inode: u64| inode & u64::from(u32::MAX); // overlayfs may use the upper half (`xino`)
        low(found.file.inode) == low(self.file.inode) && self.stamp.is_some_and(|stamp| found.stamp.is_of(&stamp))
    }
}

/// A file by its number in a process's maps, and its name.
pub(super) type MappedFile = (FileId, PathBuf);
