//! The daemon's side: `ask` and `poll`, neither of which blocks.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    counters::Counters,
    questions::Question,
    subject::{Refused, Reply, Subject, Ticket},
    surveys::Survey,
};
use crate::event::stream::Degraded;

/// How the inspector is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's /proc.
    pub proc: PathBuf,
    /// Real, effective and saved uid and gid of workers: of the range that systemd leaves unused, so no user has it.
    pub uid: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { proc: "/proc".into(), uid: 61_179 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot start the inspector: {what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// Asks the broker, and keeps account of what was asked.
#[derive(Debug)]
pub struct Inspector {
    socket: OwnedFd,
}

impl Inspector {
    /// Forks the spawner and the broker. To be called from the main thread, before there are others, before memory is large and secrets are in it.
    pub fn start(_options: &Options) -> Result<Self, StartError> {
        Err(StartError::System { what: "not built yet", source: io::ErrorKind::Unsupported.into() })
    }

    /// Asks; the reply comes from `poll`, at the latest a moment after `patience`.
    pub fn ask(&mut self, _subject: &Subject, _question: Question, _patience: Duration) -> Result<Ticket, Refused> {
        Err(Refused::Down)
    }

    pub fn survey(&mut self, _survey: Survey) -> Result<Ticket, Refused> {
        Err(Refused::Down)
    }

    /// What came, and what did not come in time.
    pub fn poll(&mut self, _now: Instant) -> Vec<Reply> {
        Vec::new()
    }

    /// When `poll` has to be called although the descriptor is not readable.
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// What cannot be known from now on; each cause once.
    pub fn take_degraded(&mut self) -> Vec<Degraded> {
        Vec::new()
    }
}

impl AsFd for Inspector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
