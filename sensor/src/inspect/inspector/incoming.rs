//! What comes from the broker and the spawner: replies for open tickets, and news of the broker's own life and death.
//!
//! An answer is decoded here, and nowhere before: it is a worker's, and hostile. What cannot be decoded is
//! `Unknown::Crashed`, and that worker ends.

use std::{os::fd::OwnedFd, time::Instant};

use rustix::{
    io::Errno,
    process::{Signal, pidfd_send_signal},
};

use super::{Inspector, PENALTIES_MAX};
use crate::{
    event::stream::Degraded,
    inspect::{
        channel::Wait,
        counters::Children,
        message::{self, FromBroker, ToBroker, WorkerAnswer},
        subject::{Reply, Said, Ticket},
        surveys::SurveyItem,
        unknown::Unknown,
    },
};

/// Messages of the broker taken in by one `poll`.
const MESSAGES_AT_ONCE: usize = 1024;

impl Inspector {
    pub(super) fn receive(&mut self, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..MESSAGES_AT_ONCE {
            match self.channel.receive(&mut buffer, Wait::No) {
                Err(Errno::AGAIN) => break,
                Ok(received) if received.length > 0 => {
                    self.heard = now;
                    let bytes = buffer.get(..received.length).unwrap_or_default();
                    match message::decode(bytes) {
                        Ok(message) if !received.cut => self.take(message, received.descriptors),
                        // Descriptors that did not fit (EMFILE), or a broker out of its mind: its ticket's deadline
                        // answers.
                        _ => self.degrade("messages of its broker", "one could not be read"),
                    }
                }
                _ => {
                    self.end();
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn take(&mut self, message: FromBroker, descriptors: Vec<OwnedFd>) {
        match message {
            FromBroker::Hello { landlock, .. } => {
                self.up = true;
                self.landlock = landlock;
                self.broker = descriptors.into_iter().next();
            }
            FromBroker::Failed { why } => {
                self.degrade("its broker", &why);
                self.failure = Some(why);
            }
            FromBroker::Died { status, .. } => self.broker_died(status),
            FromBroker::Reply { ticket, worker, answer } => {
                if let Ok(answer) = message::decode::<WorkerAnswer>(&answer) {
                    self.close(ticket, answer.map(Said::Answer), descriptors);
                } else {
                    self.distrust(worker);
                    self.close(ticket, Err(Unknown::Crashed), Vec::new());
                }
            }
            FromBroker::Unknown { ticket, why } => {
                if why == Unknown::Identity {
                    self.degrade("files of users", "a worker could not take on a user's rights");
                }
                self.close(ticket, Err(why), Vec::new());
            }
            FromBroker::Item { ticket, item } => {
                if let (true, Ok(item)) = (self.ledger.is_open(ticket), message::decode::<SurveyItem>(&item)) {
                    self.replies.push(Reply { ticket, answer: Ok(Said::Item(Box::new(item))), descriptors });
                }
            }
            FromBroker::End { ticket, skipped } => self.close(ticket, Ok(Said::End { skipped }), Vec::new()),
            FromBroker::Counters(children) => self.children[1] = children,
            FromBroker::Penalty { uid, seconds } => {
                if self.penalties.len() < PENALTIES_MAX && self.penalties.insert(uid) {
                    let why = format!(
                        "they did not come to an end in time, several times; refused for {seconds} s, then for longer"
                    );
                    self.degrade(&format!("questions about processes of uid {uid}"), &why);
                }
            }
        }
    }

    pub(super) fn close(&mut self, ticket: Ticket, answer: Result<Said, Unknown>, descriptors: Vec<OwnedFd>) {
        if self.ledger.close(ticket, answer.as_ref().map(drop).map_err(|why| *why)) {
            self.replies.push(Reply { ticket, answer, descriptors });
        }
    }

    fn distrust(&mut self, worker: u64) {
        if let Ok(bytes) = message::encode(&ToBroker::Distrust { worker }) {
            self.outbox_bytes += bytes.len();
            self.outbox.push_back((bytes, None));
            self.flush();
        }
    }

    fn broker_died(&mut self, status: i32) {
        self.up = false;
        self.broker = None;
        self.ledger.counters.broker_deaths += 1;
        let [before, now] = self.children;
        self.children = [before.plus(now), Children::default()];
        self.degrade("its broker", &format!("it ended with wait status {status:#x} and is started again"));
        self.forget(Unknown::Crashed);
    }

    pub(super) fn kill_broker(&mut self) {
        if let Some(broker) = &self.broker {
            self.ledger.counters.broker_kills += 1;
            let _ = pidfd_send_signal(broker, Signal::KILL);
            self.broker = None;
            self.degrade("its broker", "it did not answer and was killed");
        }
    }

    /// The spawner is gone too.
    pub(super) fn end(&mut self) {
        if !self.over {
            self.over = true;
            self.up = false;
            self.degrade("all of it", "its processes have ended; restart the sensor");
            self.forget(Unknown::Crashed);
        }
    }

    fn forget(&mut self, why: Unknown) {
        self.outbox.clear();
        self.outbox_bytes = 0;
        for ticket in self.ledger.all() {
            self.close(ticket, Err(why), Vec::new());
        }
    }

    fn degrade(&mut self, what: &str, why: &str) {
        let what = format!("inspector: {what}");
        if self.reported.insert(what.clone()) {
            let effect = "what users' files say (programs, libraries, deploys, names) stays unknown meanwhile".into();
            self.degraded.push(Degraded { what, why: why.into(), effect });
        }
    }
}
