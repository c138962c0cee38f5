//! How the thread of configuration files has them read: with the rights of the file's user, by the inspector
//! (`pipeline/replies.rs` passes the requests on).
//!
//! What enters: whose rights count, and paths. What leaves, to the other side: requests, each with its way back; and
//! from there what the files hold, hashed, or why not. A request that is not answered in `PATIENCE` is unknown. The
//! hashes that come back are plain SHA-256: they are compared and keyed in memory, and never recorded.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    time::Duration,
};

use tokio::sync::mpsc::UnboundedSender;

use super::read;
use crate::{
    event::{
        config_file::Contents,
        stream::{Credentials, ProcessId},
    },
    host::beneath::{Beneath, Budget},
};

/// More than the inspector takes for a question that it does not get answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// With whose rights files are read, and from where their paths begin.
#[derive(Clone, Debug)]
pub enum Whose {
    Process {
        process: ProcessId,
        credentials: Option<Credentials>,
        working_directory: Option<Vec<u8>>,
    },
    /// In the host's own root.
    User(u32),
}

/// Files to look at.
pub struct Look {
    pub whose: Whose,
    pub files: Vec<PathBuf>,
    reply: SyncSender<Result<Vec<Looked>, String>>,
}

/// What one file holds.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Looked {
    /// In its root; None: it is named from a directory that has no path there.
    pub path: Option<PathBuf>,
    pub contents: Contents,
}

impl Look {
    /// In the order of the files; or why nothing is known.
    pub fn answer(self, looked: Result<Vec<Looked>, String>) {
        // It may have waited long enough.
        let _ = self.reply.try_send(looked);
    }

    /// Reads files of this process's own root with its own rights: for tests, which have no inspector.
    pub fn answer_here(self) {
        let root = Beneath::at("/".as_ref(), Budget::QUESTION).map_err(|error| error.to_string());
        let working = match &self.whose {
            Whose::Process { process, .. } => {
                if super::place::process("/proc".as_ref(), process.tgid) != Some(*process) {
                    self.answer(Err("the process is gone".into()));
                    return;
                }
                std::fs::read_link(format!("/proc/{}/cwd", process.tgid)).ok()
            }
            Whose::User(_) => None,
        };
        let looked = root.map(|root| look(&root, working.as_deref(), &self.files));
        self.answer(looked);
    }
}

/// Looks at files beneath a root. `working`: the directory from which relative ones begin, in that root.
pub fn look(root: &Beneath, working: Option<&Path>, files: &[PathBuf]) -> Vec<Looked> {
    let mut reader = read::Reader::new();
    let mut one = |named: &PathBuf| match super::place::absolute(working, named) {
        Some(path) => Looked { contents: reader.contents(root, &path), path: Some(path) },
        None => Looked { path: None, contents: Contents::Missing },
    };
    files.iter().map(&mut one).collect()
}

/// The thread's end.
pub(super) struct Looks(pub(super) UnboundedSender<Look>);

impl Looks {
    pub(super) fn look(&self, whose: Whose, files: Vec<PathBuf>) -> Result<Vec<Looked>, String> {
        let (reply, answer) = sync_channel(1);
        let ended = || "the sensor is ending".to_owned();
        self.0.send(Look { whose, files, reply }).map_err(|_| ended())?;
        match answer.recv_timeout(PATIENCE) {
            Ok(looked) => looked,
            Err(RecvTimeoutError::Timeout) => Err("it was not answered in time".into()),
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }
}
