//! Configuration files of deploys: what each held at every deploy, and who changes it in between.
//!
//! What enters: deploys that start ([`Deploying`]), files that the configuration names, and the kernel's word on
//! changes in their folders (`watch`). What leaves: [`ConfigFile`] facts for the stream, each with what the file held
//! before (`state`, which outlives this run); the middle makes records of them. A file system can take for ever to
//! answer, so all of it is done on a thread of its own (`worker`), which owns state, key and watch; if it is stuck,
//! requests that find its queue full are counted.

pub mod look;
mod place;
mod read;
mod settings;
mod state;
mod watch;
mod worker;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::event::stream::{Event, EventKind, Lost};
use look::{Look, Looks};
pub use settings::{Deploying, Settings};
use watch::Watch;
use worker::Worker;

/// Deploys waiting to be looked at; more at once is a loop.
const REQUESTS_MAX: usize = 64;
/// Facts waiting to be taken, every 10 ms.
const FACTS_MAX: usize = 1024;
/// At the end, between two looks at what the thread wants.
const SERVE_EVERY: Duration = Duration::from_millis(5);
/// It waits and compares: no deep calls.
const STACK: usize = 256 << 10;

pub struct ConfigFiles {
    /// Until the thread takes it.
    waiting: Option<Worker>,
    /// None: stopped, or the thread could not be started.
    requests: Option<SyncSender<Deploying>>,
    facts: Receiver<Event>,
    looks: UnboundedReceiver<Look>,
    wake: Option<Arc<OwnedFd>>,
    refused: u64,
}

impl Deploying {
    fn working_directory(&self) -> Option<&Path> {
        self.working_directory.as_deref().map(|bytes| Path::new(OsStr::from_bytes(bytes)))
    }
}

impl ConfigFiles {
    /// Makes what needs privileges; nothing is read yet.
    pub fn new(proc: &Path, settings: Settings) -> Self {
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        let (outbox, facts) = sync_channel(FACTS_MAX);
        let (ask, looks) = unbounded_channel();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok().map(Arc::new);
        let waiting =
            wake.clone().map(|wake| Worker::new(proc, settings, Watch::new(), inbox, outbox, wake, Looks(ask)));
        Self { waiting, requests: Some(requests), facts, looks, wake, refused: 0 }
    }

    /// Starts the thread, before privileges are given up: it keeps others than this one. It looks at what is known from
    /// earlier runs and from the configuration, and watches it.
    pub fn begin(&mut self) {
        self.start();
    }

    /// Looks at the files of a deploy. What they hold comes with a later `poll`.
    pub fn deploy_started(&mut self, deploying: Deploying) {
        self.start();
        let sent = self.requests.as_ref().is_some_and(|requests| requests.try_send(deploying).is_ok());
        if sent {
            self.wake();
        } else {
            self.refused += 1;
        }
    }

    /// The next files that the thread wants to be read, as their user; `Look::answer` gives it what they hold. None:
    /// the thread has ended.
    pub async fn look(&mut self) -> Option<Look> {
        self.looks.recv().await
    }

    /// The same, if it is there already.
    pub fn try_look(&mut self) -> Option<Look> {
        self.looks.try_recv().ok()
    }

    /// Facts that have come, and what was lost.
    pub fn poll(&mut self, now: u64, out: &mut Vec<Event>) {
        out.extend(self.facts.try_iter());
        if self.refused > 0 {
            let kind = "deploy whose configuration was not looked at".into();
            let lost = Lost { stage: "config".into(), kind, count: std::mem::take(&mut self.refused), since: now };
            out.push(Event { time: now, what: EventKind::Lost(lost) });
        }
    }

    /// Lets the thread finish what it was asked for, and ends it. One that hangs in a file system is left behind.
    /// `serve` is called every few milliseconds, with what the thread wants to be read.
    pub fn finish(&mut self, patience: Duration, out: &mut Vec<Event>, mut serve: impl FnMut(Option<Look>)) {
        self.requests = None;
        self.waiting = None;
        self.wake();
        let until = Instant::now() + patience;
        while Instant::now() < until {
            serve(self.try_look());
            match self.facts.recv_timeout(SERVE_EVERY) {
                Ok(fact) => out.push(fact),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn start(&mut self) {
        let Some(worker) = self.waiting.take() else { return };
        let thread = std::thread::Builder::new().name("config-files".into()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || worker.run()) {
            tracing::warn!(%error, "cannot start the thread that reads configuration files");
            self.requests = None;
        }
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for ConfigFiles {
    fn drop(&mut self) {
        self.requests = None;
        self.wake();
    }
}
