//! Questions under way: from the queue to an opener, where one is needed, to a worker, to the daemon; or to their deadline.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{io::Errno, process::Pid};

use super::{Broker, push, queue::Lane, subject::Opened};
use crate::inspect::{
    channel::{Channel, Received, Wait},
    message::{self, ANSWER_MAX, FromBroker, Job},
    opener::{self, Work},
    place::slot,
    questions::Needs,
    subject::{Ticket, Unknown},
};

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

/// What a question under way waits for.
#[derive(Debug)]
enum Stage {
    Opener { pid: Pid, channel: Channel, question: Box<Question> },
    Worker { serial: u64 },
}

#[derive(Debug)]
pub(super) struct Active {
    ticket: Ticket,
    lane: Lane,
    pub(super) deadline: Instant,
    since: Instant,
    patience: Duration,
    stage: Stage,
}

impl Active {
    pub(super) fn opener(&self) -> Option<(Pid, &Channel)> {
        match &self.stage {
            Stage::Opener { pid, channel, .. } => Some((*pid, channel)),
            Stage::Worker { .. } => None,
        }
    }

    fn is_of(&self, serial: u64) -> bool {
        matches!(self.stage, Stage::Worker { serial: own } if own == serial)
    }
}

impl Broker {
    /// Starts what may start.
    pub(super) fn dispatch(&mut self, now: Instant) {
        while let Some((lane, question)) = self.queue.next() {
            self.question_bytes -= question.bytes.len();
            let (ticket, deadline, patience) = (question.ticket, question.deadline, question.patience);
            let own = question.subject.as_ref().is_some_and(|subject| subject.folder.is_some());
            let stage = match own && opener::is_needed(&question.needs) {
                true => self.start_opener(question, lane),
                false => self.start_worker(question, lane).map(|serial| Stage::Worker { serial }),
            };
            match stage {
                Ok(stage) => self.active.push(Active { ticket, lane, deadline, since: now, patience, stage }),
                Err(why) => self.end(lane, ticket, why),
            }
        }
    }

    fn end(&mut self, lane: Lane, ticket: Ticket, why: Unknown) {
        self.queue.done(lane);
        self.unknown(ticket, why);
    }

    fn start_opener(&mut self, question: Question, lane: Lane) -> Result<Stage, Unknown> {
        let subject = question.subject.as_ref().ok_or(Unknown::Gone)?;
        let folder = subject.folder.as_ref().ok_or(Unknown::Gone)?;
        // Where its content is not asked for, the folder stands in for the executable: it is no regular file.
        let exe = subject.descriptors.iter().find(|(at, _)| *at == slot::EXE).map_or(folder, |(_, exe)| exe);
        let copy = |descriptor: &OwnedFd| descriptor.try_clone().map_err(|_| Unknown::Budget);
        let work = Work { process: copy(folder)?, exe: copy(exe)?, needs: question.needs.clone() };
        let (pid, channel) = self.pool.open(work, lane)?;
        Ok(Stage::Opener { pid, channel, question: Box::new(question) })
    }

    /// Hands a question to a worker with the user's rights.
    fn start_worker(&mut self, question: Question, lane: Lane) -> Result<u64, Unknown> {
        let Opened { identity, process, mut descriptors, .. } = question.subject.ok_or(Unknown::Gone)?;
        descriptors.sort_by_key(|(at, _)| *at);
        let present = descriptors.iter().fold(0_u64, |bits, (at, _)| bits | 1 << at);
        let job = Job { process, needs: question.needs, present, question: question.bytes.into() };
        let bytes = message::encode(&job).map_err(|_| Unknown::Budget)?;
        let descriptors: Vec<OwnedFd> = descriptors.into_iter().map(|(_, descriptor)| descriptor).collect();
        self.pool.work(identity, lane, &bytes, &descriptors)
    }

    /// An opener sent what it opened, or ended.
    pub(super) fn opened(&mut self, pid: Pid, buffer: &mut [u8]) {
        let of = |active: &Active| active.opener().is_some_and(|(own, _)| own == pid);
        let Some(at) = self.active.iter().position(of) else { return };
        let active = self.active.swap_remove(at);
        let Stage::Opener { channel, mut question, .. } = active.stage else { return };
        let received = channel.receive(buffer, Wait::No);
        self.pool.finished(pid, active.lane);
        let lane = active.lane;
        let filled = received.ok().and_then(|received| slots(received, buffer));
        let (Some(filled), Some(subject)) = (filled, question.subject.as_mut()) else {
            self.end(lane, active.ticket, Unknown::Crashed);
            return;
        };
        subject.descriptors.extend(filled);
        match self.start_worker(*question, lane) {
            Ok(serial) => self.active.push(Active { stage: Stage::Worker { serial }, ..active }),
            Err(why) => self.end(lane, active.ticket, why),
        }
    }

    /// A worker answered, or ended, or said what it should not.
    pub(super) fn answered(&mut self, serial: u64, buffer: &mut [u8]) {
        let received = match self.pool.receive(serial, buffer) {
            Some(Ok(received)) => received,
            None | Some(Err(Errno::AGAIN)) => return,
            Some(Err(_)) => Received { length: 0, descriptors: Vec::new(), cut: false },
        };
        let active = self.active.iter().position(|active| active.is_of(serial)).map(|at| self.active.swap_remove(at));
        let Received { length, descriptors, cut } = received;
        if length == 0 {
            self.pool.died(serial);
        } else if cut || length > ANSWER_MAX || active.is_none() {
            // More than one answer to a question, or more than an answer.
            self.pool.distrust(serial);
        } else {
            self.pool.free(serial);
        }
        let Some(Active { ticket, lane, .. }) = active else { return };
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
            let Active { ticket, lane, since, patience, stage, .. } = self.active.swap_remove(at);
            match stage {
                Stage::Opener { pid, .. } => self.pool.kill(pid, lane),
                Stage::Worker { serial } => self.pool.kill_worker(serial),
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
        self.surveys.check(&mut self.pool, &mut self.out, now);
    }
}

/// What an opener sent: bits of slots, and their descriptors.
fn slots(received: Received, buffer: &[u8]) -> Option<Vec<(u32, OwnedFd)>> {
    let bits = u64::from_le_bytes(buffer.get(..received.length)?.try_into().ok()?);
    let filled: Vec<u32> = (slot::CONTENT..slot::COUNT).filter(|at| bits >> at & 1 == 1).collect();
    let whole = !received.cut && filled.len() == received.descriptors.len();
    whole.then(|| filled.into_iter().zip(received.descriptors).collect())
}
