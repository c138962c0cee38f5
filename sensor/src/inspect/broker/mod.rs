//! The broker: takes questions from the daemon, opens what they are about, hands it to workers, passes on what they
//! answer. It parses nothing of users.
//!
//! ```text
//! daemon -> admit (lane, bounds, descriptors of /proc/PID) -> queue -> worker [and opener] -> daemon
//! ```
//!
//! One thread and one poll(2); no call here waits for a user's file system, memory or process: those are made by
//! children, which are killed at the question's deadline. A child that is killed and does not go (stuck in the kernel)
//! is left aside and counted; waitpid never waits. It ends when the daemon's socket closes or the spawner ends. Its own
//! death loses what it was asked; the spawner reports it.

mod children;
mod outgoing;
mod queue;
mod run;
mod subject;
mod surveys;

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    io::Errno,
    process::{Pid, Resource, Rlimit, getpid, getrlimit, setrlimit},
};

use self::{
    children::{Filters, Pool},
    outgoing::Outgoing,
    queue::Lane,
    run::{Question, Questions},
    surveys::Surveys,
};
use super::{
    channel::{Channel, Wait},
    confine,
    counters::Children,
    fork,
    message::{self, FromBroker, MESSAGE_MAX, ToBroker},
    needs::{MAPPED_MAX, Needs},
    options::Options,
    subject::Subject,
    syscalls,
    unknown::{Unknown, Why},
};

/// Questions that wait hold some descriptors each: O_PATH ones.
const DESCRIPTORS: u64 = 8192;
/// Messages of the daemon that are taken in before others are looked at again.
const MESSAGES_AT_ONCE: usize = 64;
/// Replies that wait for the daemon: above this nothing more is taken from it.
const OUTGOING_MAX: usize = 1024;
/// Longer patience is cut to this.
const PATIENCE_MAX: Duration = Duration::from_mins(1);

pub(super) struct Broker {
    daemon: Channel,
    proc: OwnedFd,
    /// The host's mount namespace: that of init.
    host_mnt_ns: Option<u32>,
    questions: Questions,
    surveys: Surveys,
    reported: Children,
}

/// Runs in the broker's process, whose descriptors and signals the spawner has put in order.
pub(super) fn start(daemon: Channel, options: &Options, generation: u64, spawner: Pid) -> i32 {
    let Ok([descriptor]) = fork::keep_only([daemon.into_descriptor()]) else { return 1 };
    let daemon = Channel::from_descriptor(descriptor);
    let _ = rustix::thread::set_name(c"sensor-broker");
    let mut broker = match prepare(daemon, options, spawner) {
        Ok(broker) => broker,
        Err((daemon, why)) => {
            let _ = message::encode(&FromBroker::Failed { why }).map(|bytes| daemon.send(&bytes, &[], Wait::No));
            return 2;
        }
    };
    let hello =
        message::encode(&FromBroker::Hello { generation, landlock: confine::has_landlock() }).unwrap_or_default();
    let own = rustix::process::pidfd_open(getpid(), rustix::process::PidfdFlags::empty());
    broker.questions.out.push_back(Outgoing { bytes: hello, descriptors: own.into_iter().collect() });
    broker.serve()
}

fn prepare(daemon: Channel, options: &Options, spawner: Pid) -> Result<Broker, (Channel, String)> {
    match confined(options, spawner) {
        Ok((proc, filters)) => Ok(Broker {
            daemon,
            host_mnt_ns: host_mnt_ns(&proc),
            proc,
            questions: Questions::new(Pool::new(options.uid, filters)),
            surveys: Surveys::new(options.proc.clone()),
            reported: Children::default(),
        }),
        Err(why) => Err((daemon, why)),
    }
}

fn confined(options: &Options, spawner: Pid) -> Result<(OwnedFd, Filters), String> {
    let text = |error: confine::Failure| error.to_string();
    confine::end_with(spawner).map_err(text)?;
    confine::hide().map_err(text)?;
    let now = rustix::thread::capabilities(None).map_err(|error| error.to_string())?.permitted;
    let needed = confine::broker_capabilities();
    if !now.contains(needed) {
        return Err(format!(
            "capabilities are missing: {:?}; add them to CapabilityBoundingSet= of the unit",
            needed - now
        ));
    }
    confine::limit_capabilities(needed, needed | confine::mapped_capability(now)).map_err(text)?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS)));
    // With fewer, questions are refused earlier.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: current });
    let proc = open_proc(&options.proc).map_err(|error| format!("{}: {error}", options.proc.display()))?;
    let filters = Filters::new().map_err(|error| error.to_string())?;
    syscalls::install(&filters.broker).map_err(|error| error.to_string())?;
    Ok((proc, filters))
}

fn open_proc(path: &PathBuf) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Where init may not be looked at (a user namespace, some virtual machines), this process's own is taken for it, as
/// the daemon does.
fn host_mnt_ns(proc: &OwnedFd) -> Option<u32> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let of = |name| subject::namespace(&rustix::fs::openat(proc, name, flags, Mode::empty()).ok()?);
    of("1").or_else(|| of("self"))
}

/// What poll(2) found, by what it watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Daemon,
    Worker(u64),
    Survey,
}

impl Broker {
    fn serve(&mut self) -> i32 {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let now = Instant::now();
            self.questions.expire(now);
            self.surveys.check(&mut self.questions.pool, &mut self.questions.out, now);
            self.questions.dispatch(now);
            self.count();
            if self.flush().is_err() {
                return 0;
            }
            for source in self.wait(Instant::now()) {
                let now = Instant::now();
                match source {
                    Source::Daemon => {
                        if self.take_messages(&mut buffer, now).is_none() {
                            return 0;
                        }
                    }
                    Source::Worker(serial) => self.questions.answered(serial, &mut buffer),
                    Source::Survey => {
                        self.surveys.receive(&mut self.questions.pool, &mut self.questions.out, &mut buffer, now);
                    }
                }
            }
            self.questions.pool.reap(Instant::now());
        }
    }

    /// Waits for messages, or for the next moment at which something is due.
    fn wait(&self, now: Instant) -> Vec<Source> {
        let mut sources = vec![Source::Daemon];
        let mut watched = vec![self.watch_daemon()];
        for worker in self.questions.pool.workers() {
            sources.push(Source::Worker(worker.serial));
            watched.push(PollFd::from_borrowed_fd(worker.channel.as_fd(), PollFlags::IN));
        }
        if let Some(channel) = self.surveys.watched(self.questions.out.len()) {
            sources.push(Source::Survey);
            watched.push(PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN));
        }
        let due = [self.questions.queue.earliest(), self.questions.pool.due(), self.surveys.due()];
        let due = self.questions.active.iter().map(|active| active.deadline).chain(due.into_iter().flatten()).min();
        let timeout = due.map(|due| {
            // A little late rather than a little early, which would be a second round.
            let left = due.saturating_duration_since(now) + Duration::from_micros(100);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        // An interruption is a round without news.
        let _ = poll(&mut watched, timeout.as_ref());
        let news = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        sources
            .into_iter()
            .zip(&watched)
            .filter(|(_, fd)| fd.revents().intersects(news))
            .map(|(source, _)| source)
            .collect()
    }

    fn watch_daemon(&self) -> PollFd<'_> {
        let read = if self.questions.out.len() < OUTGOING_MAX { PollFlags::IN } else { PollFlags::empty() };
        let write = if self.questions.out.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        PollFd::from_borrowed_fd(self.daemon.as_fd(), read | write)
    }

    /// Takes in questions. Without a daemon: nothing.
    fn take_messages(&mut self, buffer: &mut [u8], now: Instant) -> Option<()> {
        for _ in 0..MESSAGES_AT_ONCE {
            let received = match self.daemon.receive(buffer, Wait::No) {
                Ok(received) => received,
                Err(Errno::AGAIN) => return Some(()),
                Err(_) => return None,
            };
            if received.length == 0 {
                return None;
            }
            match message::decode(buffer.get(..received.length).unwrap_or_default()).ok()? {
                ToBroker::Ask { ticket, subject, needs, patience_ms, question } => {
                    let patience = Duration::from_millis(patience_ms.into()).min(PATIENCE_MAX);
                    let question = Question::new(ticket, needs, question.into_vec(), now, patience);
                    if let Err(why) = self.admit(&subject, question, now) {
                        self.questions.unknown(ticket, why);
                    }
                }
                ToBroker::Check { ticket, uid, mnt_ns, patience_ms, question } => {
                    let patience = Duration::from_millis(patience_ms.into()).min(PATIENCE_MAX);
                    let needs = Needs { content: true, ..Needs::default() };
                    let question = Question::new(ticket, needs, question.into_vec(), now, patience);
                    let lane = subject::lane(uid, mnt_ns, self.host_mnt_ns);
                    if let Err(why) = self.admit_file(lane, received.descriptors, question, now) {
                        self.questions.unknown(ticket, why);
                    }
                }
                ToBroker::Survey { ticket, survey } => {
                    if !self.surveys.push(ticket, survey) {
                        self.questions.unknown(ticket, Unknown::Refused(Why::Queue));
                    }
                    self.surveys.start(&mut self.questions.pool, &mut self.questions.out, now);
                }
                ToBroker::Distrust { worker } => self.questions.pool.distrust(worker),
            }
        }
        Some(())
    }

    /// Into the queue, with its descriptors: its process may be gone when its turn comes.
    fn admit(&mut self, subject: &Subject, mut question: Question, now: Instant) -> Result<(), Unknown> {
        let lane_of = |uid| subject::lane(uid, subject.mnt_ns, self.host_mnt_ns);
        if let Some(known) = subject.credentials {
            self.questions.queue.admits(lane_of(known.uid), now).map_err(run::refuse)?;
        }
        if question.needs.mapped.len() > MAPPED_MAX {
            return Err(Unknown::Budget);
        }
        let opened = subject::open(&self.proc, subject, &question.needs)?;
        let lane = lane_of(opened.identity.uid);
        question.subject = Some(opened);
        self.questions.enqueue(lane, question, now)
    }

    /// The same of a question about a file, for a worker with no user's rights.
    fn admit_file(
        &mut self,
        lane: Lane,
        descriptors: Vec<OwnedFd>,
        mut question: Question,
        now: Instant,
    ) -> Result<(), Unknown> {
        let Ok([file]) = <[OwnedFd; 1]>::try_from(descriptors) else { return Err(Unknown::Gone) };
        question.subject = Some(subject::of_file(file, self.questions.pool.nobody())?);
        self.questions.enqueue(lane, question, now)
    }

    /// Reports the account when it changed, before the replies that it is about.
    fn count(&mut self) {
        let now = Children {
            penalties: self.questions.penalties,
            survey_hangs: self.surveys.hangs(),
            ..self.questions.pool.counted()
        };
        if now != self.reported {
            self.reported = now;
            if let Ok(bytes) = message::encode(&FromBroker::Counters(now)) {
                self.questions.out.push_front(Outgoing { bytes, descriptors: Vec::new() });
            }
        }
    }

    fn flush(&mut self) -> Result<(), Errno> {
        while let Some(first) = self.questions.out.front() {
            let descriptors: Vec<_> = first.descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
            match self.daemon.send(&first.bytes, &descriptors, Wait::No) {
                Err(Errno::AGAIN) => return Ok(()),
                Err(error @ (Errno::PIPE | Errno::CONNRESET)) => return Err(error),
                // Sent, or never to be sent: the daemon's own deadline answers.
                _ => drop(self.questions.out.pop_front()),
            }
        }
        Ok(())
    }
}
