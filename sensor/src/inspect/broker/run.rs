//! Questions that wait or are under way: from the queue to a worker, with an opener beside it where one is needed, and
//! to the daemon; or to their deadline.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_getfl},
    io::Errno,
    process::Pid,
};

use super::{
    children::Pool,
    outgoing::{Outgoing, push},
    queue::{Full, Lane, Queue},
    subject::Opened,
};
use crate::inspect::{
    channel::{Channel, Received},
    message::{self, ANSWER_MAX, FromBroker, Job},
    needs::Needs,
    opener::{self, Work},
    slot,
    subject::Ticket,
    unknown::{Unknown, Why},
};

/// Bytes of questions that wait.
const QUESTIONS_BYTES_MAX: usize = 4 << 20;
/// A question with what was opened for it.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) ticket: Ticket,
    pub(super) needs: Needs,
    /// Encoded: it is the worker's to decode.
    pub(super) bytes: Vec<u8>,
    pub(super) deadline: Instant,
    patience: Duration,
    /// Filled by `admit`.
    pub(super) subject: Option<Opened>,
}

impl Question {
    pub(super) fn new(ticket: Ticket, needs: Needs, bytes: Vec<u8>, now: Instant, patience: Duration) -> Self {
        Self { ticket, needs, bytes, deadline: now + patience, patience, subject: None }
    }
}

/// A question that a worker has.
#[derive(Debug)]
pub(super) struct Active {
    ticket: Ticket,
    lane: Lane,
    pub(super) deadline: Instant,
    since: Instant,
    patience: Duration,
    worker: u64,
    /// Which sends the worker what it opens.
    opener: Option<Pid>,
}

/// Questions that wait and questions under way, the workers that have these, and what waits for the daemon.
pub(super) struct Questions {
    pub(super) queue: Queue<Question>,
    question_bytes: usize,
    pub(super) active: Vec<Active>,
    pub(super) pool: Pool,
    pub(super) out: VecDeque<Outgoing>,
    pub(super) penalties: u64,
}

impl Questions {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            queue: Queue::default(),
            question_bytes: 0,
            active: Vec::new(),
            pool,
            out: VecDeque::new(),
            penalties: 0,
        }
    }

    pub(super) fn enqueue(&mut self, lane: Lane, question: Question, now: Instant) -> Result<(), Unknown> {
        if self.question_bytes + question.bytes.len() > QUESTIONS_BYTES_MAX {
            return Err(Unknown::Refused(Why::Queue));
        }
        self.queue.admits(lane, now).map_err(refuse)?;
        self.question_bytes += question.bytes.len();
        self.queue.push(lane, question.deadline, question);
        Ok(())
    }

    pub(super) fn unknown(&mut self, ticket: Ticket, why: Unknown) {
        push(&mut self.out, &FromBroker::Unknown { ticket, why }, Vec::new());
    }

    /// Starts what may start.
    pub(super) fn dispatch(&mut self, now: Instant) {
        while let Some((lane, question)) = self.queue.next() {
            self.question_bytes -= question.bytes.len();
            let (ticket, deadline, patience) = (question.ticket, question.deadline, question.patience);
            match self.begin(question, lane) {
                Ok((worker, opener)) => {
                    self.active.push(Active { ticket, lane, deadline, since: now, patience, worker, opener });
                }
                Err(why) => self.end(lane, ticket, why),
            }
        }
    }

    fn end(&mut self, lane: Lane, ticket: Ticket, why: Unknown) {
        self.queue.done(lane);
        self.unknown(ticket, why);
    }

    /// Hands a question to a worker with the user's rights, and to an opener what the worker has no right to.
    fn begin(&mut self, question: Question, lane: Lane) -> Result<(u64, Option<Pid>), Unknown> {
        let mut subject = question.subject.ok_or(Unknown::Gone)?;
        let opener = match subject.folder.take().filter(|_| opener::is_needed(&question.needs)) {
            Some(folder) => {
                let (pid, channel) = self.start_opener(folder, subject.exe, &question.needs, lane)?;
                subject.descriptors.push((slot::OPENER, channel.into_descriptor()));
                Some(pid)
            }
            None => None,
        };
        subject.descriptors.sort_by_key(|(at, _)| *at);
        let present = slot::bits(&subject.descriptors);
        let job = Job { needs: question.needs, present, question: question.bytes.into() };
        let descriptors: Vec<OwnedFd> = subject.descriptors.into_iter().map(|(_, descriptor)| descriptor).collect();
        let bytes = message::encode(&job).map_err(|_| Unknown::Budget);
        let worker = bytes.and_then(|bytes| self.pool.work(subject.identity, lane, &bytes, &descriptors));
        if let (Err(_), Some(pid)) = (&worker, opener) {
            self.pool.kill(pid, lane);
        }
        Ok((worker?, opener))
    }

    fn start_opener(
        &mut self,
        process: OwnedFd,
        exe: Option<OwnedFd>,
        needs: &Needs,
        lane: Lane,
    ) -> Result<(Pid, Channel), Unknown> {
        // Where its content is not asked for, the folder stands in for the executable: it is no regular file.
        let exe = exe.map_or_else(|| process.try_clone(), Ok).map_err(|_| Unknown::Budget)?;
        self.pool.open(Work { process, exe, needs: needs.clone() }, lane)
    }

    /// A worker answered, or ended, or said what it should not.
    pub(super) fn answered(&mut self, serial: u64, buffer: &mut [u8]) {
        let received = match self.pool.receive(serial, buffer) {
            Some(Ok(received)) => received,
            None | Some(Err(Errno::AGAIN)) => return,
            Some(Err(_)) => Received { length: 0, descriptors: Vec::new(), cut: false },
        };
        let active =
            self.active.iter().position(|active| active.worker == serial).map(|at| self.active.swap_remove(at));
        let Received { length, descriptors, cut } = received;
        let (descriptors, pure) = only_paths(descriptors);
        let cut = cut || !pure;
        if length == 0 {
            self.pool.died(serial);
        } else if cut || length > ANSWER_MAX || active.is_none() {
            // More than one answer to a question, or more than an answer.
            self.pool.distrust(serial);
        } else {
            self.pool.free(serial);
        }
        let Some(Active { ticket, lane, opener, .. }) = active else { return };
        if let Some(pid) = opener {
            self.pool.finished(pid, lane);
        }
        match buffer.get(..length) {
            Some(answer) if !cut && (1..=ANSWER_MAX).contains(&length) => {
                self.queue.done(lane);
                let reply = FromBroker::Reply { ticket, worker: serial, answer: answer.to_vec().into() };
                push(&mut self.out, &reply, descriptors);
            }
            _ => self.end(lane, ticket, Unknown::Crashed),
        }
    }

    /// Ends what has had its time.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(at) = self.active.iter().position(|active| active.deadline <= now) {
            let Active { ticket, lane, since, patience, worker, opener, .. } = self.active.swap_remove(at);
            self.pool.kill_worker(worker);
            if let Some(pid) = opener {
                self.pool.kill(pid, lane);
            }
            self.end(lane, ticket, Unknown::Deadline);
            // One that waited for most of its time proves nothing about the files.
            if now.saturating_duration_since(since) >= patience / 2
                && let Some(term) = self.queue.missed(lane, now)
            {
                self.put_aside(lane, term);
            }
        }
        for question in self.queue.expired(now) {
            self.question_bytes -= question.bytes.len();
            self.unknown(question.ticket, Unknown::Deadline);
        }
    }

    /// A penalty starts: what the lane has waiting is refused at once.
    fn put_aside(&mut self, lane: Lane, term: Duration) {
        self.penalties += 1;
        for question in self.queue.drain(lane) {
            self.question_bytes -= question.bytes.len();
            self.unknown(question.ticket, Unknown::Refused(Why::Penalty));
        }
        let uid = if let Lane::User(uid) = lane { uid } else { 0 };
        push(&mut self.out, &FromBroker::Penalty { uid, seconds: term.as_secs() as u32 }, Vec::new());
    }
}

/// A worker may send O_PATH descriptors: closing another one can ask a user's file system, and wait for it. So others
/// stay open, and the worker ends: it is not one of ours any more.
fn only_paths(descriptors: Vec<OwnedFd>) -> (Vec<OwnedFd>, bool) {
    let is_path = |descriptor: &OwnedFd| fcntl_getfl(descriptor).is_ok_and(|flags| flags.contains(OFlags::PATH));
    let (paths, others): (Vec<_>, Vec<_>) = descriptors.into_iter().partition(is_path);
    let pure = others.is_empty();
    others.into_iter().for_each(std::mem::forget);
    (paths, pure)
}

pub(super) fn refuse(full: Full) -> Unknown {
    Unknown::Refused(match full {
        Full::Queue => Why::Queue,
        Full::Penalty => Why::Penalty,
    })
}
