//! The daemon's side: `ask` and `poll`, neither of which blocks.
//!
//! What enters: questions of the daemon, messages of the broker. What leaves: for each ticket one reply at the latest
//! `GRACE` after its patience, whatever becomes of the broker. A broker from which nothing comes while questions go
//! overdue is killed through its pidfd; the spawner starts another.

mod incoming;

use std::{
    collections::{HashSet, VecDeque},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
};

use super::{
    channel::{Channel, Wait},
    counters::{Children, Counters},
    ledger::Ledger,
    message::{self, MESSAGE_MAX, QUESTION_MAX, ToBroker},
    options::{Options, StartError},
    question::Question,
    spawner,
    subject::{Refused, Reply, Subject, Ticket},
    surveys::Survey,
    unknown::Unknown,
};
use crate::event::stream::Degraded;

/// The broker answers for a missed deadline; it is waited for so much longer.
const GRACE: Duration = Duration::from_millis(500);
/// Of a whole survey.
const SURVEY_PATIENCE: Duration = Duration::from_mins(2);
/// The first broker has to be there in this time.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// Messages that wait until the socket has room.
const OUTBOX_MAX: usize = 1024;
const OUTBOX_BYTES_MAX: usize = 4 << 20;
/// How soon `poll` is to be called while messages wait.
const FLUSH_EVERY: Duration = Duration::from_millis(5);
/// Users of whom a penalty is reported.
const PENALTIES_MAX: usize = 64;
/// For the spawner to end by itself.
const END_PATIENCE: Duration = Duration::from_millis(200);

/// Asks the broker, and keeps account of what was asked.
#[derive(Debug)]
pub struct Inspector {
    channel: Channel,
    spawner: Pid,
    /// A broker is there.
    up: bool,
    landlock: bool,
    /// The spawner is gone: there will be none.
    over: bool,
    broker: Option<OwnedFd>,
    /// When a message of the broker came last.
    heard: Instant,
    ledger: Ledger,
    /// Each with the file that it is about, if it is about one.
    outbox: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    outbox_bytes: usize,
    replies: Vec<Reply>,
    /// Of brokers that ended, and of this one.
    children: [Children; 2],
    degraded: Vec<Degraded>,
    reported: HashSet<String>,
    penalties: HashSet<u32>,
    failure: Option<String>,
    buffer: Vec<u8>,
}

impl Inspector {
    /// Forks the spawner and the broker, and waits until the broker stands. To be called by the main thread, whose end
    /// ends them, before there are others, and before memory is large and secrets are in it: both processes keep a
    /// copy.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        let (channel, spawner) = spawner::start(options)?;
        let mut inspector = Self::with(channel, spawner);
        let until = Instant::now() + START_PATIENCE;
        while !inspector.up {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let _ = poll(&mut [PollFd::new(&inspector.channel, PollFlags::IN)], Some(&timeout));
            inspector.receive(Instant::now());
            if let Some(why) = inspector.failure.take() {
                return Err(StartError::Broker { why });
            }
            if inspector.over || left.is_zero() {
                return Err(StartError::Silent);
            }
        }
        Ok(inspector)
    }

    fn with(channel: Channel, spawner: Pid) -> Self {
        Self {
            channel,
            spawner,
            up: false,
            landlock: false,
            over: false,
            broker: None,
            heard: Instant::now(),
            ledger: Ledger::default(),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            replies: Vec::new(),
            children: [Children::default(); 2],
            degraded: Vec::new(),
            reported: HashSet::new(),
            penalties: HashSet::new(),
            failure: None,
            buffer: vec![0; MESSAGE_MAX],
        }
    }

    /// Asks; the reply comes from `poll`, at the latest a moment after `patience`.
    #[expect(clippy::needless_pass_by_value, reason = "a question is asked once")]
    pub fn ask(&mut self, subject: &Subject, question: Question, patience: Duration) -> Result<Ticket, Refused> {
        let needs = question.needs();
        let encoded = message::encode(&question).ok().filter(|bytes| bytes.len() <= QUESTION_MAX);
        let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let asked = encoded.ok_or(Refused::Size).and_then(|bytes| {
            let subject = subject.clone();
            self.submit(patience + GRACE, None, |ticket| ToBroker::Ask {
                ticket,
                subject,
                needs,
                patience_ms,
                question: bytes.into(),
            })
        });
        self.account(asked)
    }

    /// Asks about an open file (O_PATH) what a worker that is nobody's is to answer, in the turn of this user's
    /// questions.
    #[expect(clippy::needless_pass_by_value, reason = "a question is asked once")]
    pub fn check(
        &mut self,
        file: BorrowedFd<'_>,
        subject: &Subject,
        question: Question,
        patience: Duration,
    ) -> Result<Ticket, Refused> {
        let encoded = message::encode(&question).ok().filter(|bytes| bytes.len() <= QUESTION_MAX);
        let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let uid = subject.credentials.map_or(0, |known| known.uid);
        let mnt_ns = subject.mnt_ns;
        let file = file.try_clone_to_owned().map_err(|_| Refused::Busy);
        let asked = encoded.ok_or(Refused::Size).and_then(|bytes| Ok((bytes, file?))).and_then(|(bytes, file)| {
            let question = bytes.into();
            self.submit(patience + GRACE, Some(file), |ticket| ToBroker::Check {
                ticket,
                uid,
                mnt_ns,
                patience_ms,
                question,
            })
        });
        self.account(asked)
    }

    /// Starts a survey; its replies end with `Said::End` or an `Unknown`.
    pub fn survey(&mut self, survey: Survey) -> Result<Ticket, Refused> {
        let asked = self.submit(SURVEY_PATIENCE, None, |ticket| ToBroker::Survey { ticket, survey });
        self.account(asked)
    }

    fn account(&mut self, asked: Result<Ticket, Refused>) -> Result<Ticket, Refused> {
        let counters = &mut self.ledger.counters;
        match asked {
            Ok(_) => counters.asked += 1,
            Err(_) => counters.not_accepted += 1,
        }
        asked
    }

    fn submit(
        &mut self,
        patience: Duration,
        file: Option<OwnedFd>,
        message: impl FnOnce(Ticket) -> ToBroker,
    ) -> Result<Ticket, Refused> {
        if self.over || !self.up {
            return Err(Refused::Down);
        }
        if self.outbox.len() >= OUTBOX_MAX || self.outbox_bytes >= OUTBOX_BYTES_MAX {
            return Err(Refused::Busy);
        }
        let ticket = self.ledger.open(Instant::now(), patience)?;
        let Ok(bytes) = message::encode(&message(ticket)) else {
            self.ledger.withdraw(ticket);
            return Err(Refused::Size);
        };
        self.outbox_bytes += bytes.len();
        self.outbox.push_back((bytes, file));
        self.flush();
        Ok(ticket)
    }

    /// What came, and what did not come in time.
    pub fn poll(&mut self, now: Instant) -> Vec<Reply> {
        self.flush();
        self.receive(now);
        let overdue = self.ledger.overdue(now);
        if !overdue.is_empty() && self.up && self.heard + GRACE < now {
            // Not even that it has no answer: it hangs.
            self.kill_broker();
        }
        for ticket in overdue {
            self.close(ticket, Err(Unknown::Deadline), Vec::new());
        }
        std::mem::take(&mut self.replies)
    }

    /// When `poll` has to be called although the descriptor is not readable.
    pub fn next_deadline(&self) -> Option<Instant> {
        let flush = (!self.outbox.is_empty()).then(|| Instant::now() + FLUSH_EVERY);
        self.ledger.next_deadline().into_iter().chain(flush).min()
    }

    /// Does the kernel deny workers any change of files (Landlock, 5.13)? Without it a worker that a file took over
    /// could create and truncate what its user may.
    pub fn has_landlock(&self) -> bool {
        self.landlock
    }

    pub fn counters(&self) -> Counters {
        let [before, now] = self.children;
        Counters { children: before.plus(now), ..self.ledger.counters }
    }

    /// What cannot be known from now on; each cause once.
    pub fn take_degraded(&mut self) -> Vec<Degraded> {
        std::mem::take(&mut self.degraded)
    }

    #[cfg(test)]
    pub(super) fn spawner(&self) -> u32 {
        self.spawner.as_raw_pid() as u32
    }

    fn flush(&mut self) {
        while let Some((first, file)) = self.outbox.front() {
            let file: Vec<_> = file.iter().map(AsFd::as_fd).collect();
            match self.channel.send(first, &file, Wait::No) {
                Err(Errno::AGAIN | Errno::NOBUFS) => return,
                Err(Errno::PIPE | Errno::CONNRESET) => return self.end(),
                _ => {
                    self.outbox_bytes -= first.len();
                    self.outbox.pop_front();
                }
            }
        }
    }
}

impl AsFd for Inspector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for Inspector {
    /// Closes the socket, upon which all of them end; those that do not in a moment are killed.
    fn drop(&mut self) {
        if let Ok((closed, _)) = Channel::pair() {
            self.channel = closed;
        }
        let until = Instant::now() + END_PATIENCE;
        while matches!(waitpid(Some(self.spawner), WaitOptions::NOHANG), Ok(None)) {
            if Instant::now() >= until {
                // Its end ends the broker, whose end ends the others.
                let _ = kill_process(self.spawner, Signal::KILL);
                let _ = waitpid(Some(self.spawner), WaitOptions::NOHANG);
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
