//! Surveys under way: one at a time, its items passed on as they come, killed where it hangs and started again behind
//! that.
//!
//! What enters: messages of the survey's child, of which the first byte counts. What leaves: `Item`s and one `End` a
//! survey, with the processes that were passed over. A survey that has hung too often, or before it looked at any
//! process, ends as `Unknown`.

use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{io::Errno, process::Pid};

use super::{
    children::Pool,
    outgoing::{Outgoing, push},
};
use crate::inspect::{
    channel::{Channel, Wait},
    message::FromBroker,
    subject::Ticket,
    surveyor::{AT, END, ITEM},
    surveys::{Course, Survey},
    unknown::Unknown,
};

const WAITING_MAX: usize = 4;
/// Without a sign of a survey for so long, it hangs at the process that it looks at.
const HANGS_AFTER: Duration = Duration::from_secs(2);
/// Processes at which one survey may hang.
const SKIPPED_MAX: usize = 32;
/// Messages taken in before others are looked at again; and that may wait for the daemon.
const MESSAGES_AT_ONCE: usize = 64;
const OUTGOING_MAX: usize = 64;

#[derive(Debug)]
struct Current {
    ticket: Ticket,
    survey: Survey,
    course: Course,
    pid: Pid,
    channel: Channel,
    /// The process that it looks at.
    at: Option<u32>,
    progress: Instant,
}

#[derive(Debug)]
pub(super) struct Surveys {
    proc: PathBuf,
    waiting: VecDeque<(Ticket, Survey)>,
    current: Option<Current>,
    hangs: u64,
}

impl Surveys {
    pub(super) fn new(proc: PathBuf) -> Self {
        Self { proc, waiting: VecDeque::new(), current: None, hangs: 0 }
    }

    pub(super) fn hangs(&self) -> u64 {
        self.hangs
    }

    /// `false`: too many wait.
    pub(super) fn push(&mut self, ticket: Ticket, survey: Survey) -> bool {
        let room = self.waiting.len() < WAITING_MAX;
        if room {
            self.waiting.push_back((ticket, survey));
        }
        room
    }

    /// Starts the next one, if none is under way.
    pub(super) fn start(&mut self, pool: &mut Pool, out: &mut VecDeque<Outgoing>, now: Instant) {
        while self.current.is_none() {
            let Some((ticket, survey)) = self.waiting.pop_front() else { return };
            self.run(ticket, survey, Course::default(), pool, out, now);
        }
    }

    fn run(
        &mut self,
        ticket: Ticket,
        survey: Survey,
        course: Course,
        pool: &mut Pool,
        out: &mut VecDeque<Outgoing>,
        now: Instant,
    ) {
        match pool.survey(&survey, &course, &self.proc) {
            Ok((pid, channel)) => {
                self.current = Some(Current { ticket, survey, course, pid, channel, at: None, progress: now });
            }
            Err(why) => push(out, &FromBroker::Unknown { ticket, why }, Vec::new()),
        }
    }

    /// Its child, as long as the daemon keeps up.
    pub(super) fn watched(&self, outgoing: usize) -> Option<&Channel> {
        self.current.as_ref().filter(|_| outgoing < OUTGOING_MAX).map(|current| &current.channel)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.current.as_ref().map(|current| current.progress + HANGS_AFTER)
    }

    pub(super) fn receive(&mut self, pool: &mut Pool, out: &mut VecDeque<Outgoing>, buffer: &mut [u8], now: Instant) {
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(current) = &mut self.current else { return };
            let length = match current.channel.receive(buffer, Wait::No) {
                Err(Errno::AGAIN) => return,
                Ok(received) if !received.cut => received.length,
                // As an end without a word.
                _ => 0,
            };
            current.progress = now;
            match buffer.get(..length).and_then(<[u8]>::split_first) {
                Some((&AT, pid)) => current.at = pid.try_into().ok().map(u32::from_le_bytes),
                Some((&ITEM, item)) => {
                    let item = item.to_vec().into();
                    push(out, &FromBroker::Item { ticket: current.ticket, item }, Vec::new());
                }
                Some((&END, _)) => {
                    let Some(Current { ticket, course, pid, .. }) = self.current.take() else { return };
                    pool.finished(pid, None);
                    push(out, &FromBroker::End { ticket, skipped: course.skip }, Vec::new());
                    self.start(pool, out, now);
                }
                // It crashed.
                _ => self.pass_over(pool, out, now),
            }
        }
    }

    /// Does it hang?
    pub(super) fn check(&mut self, pool: &mut Pool, out: &mut VecDeque<Outgoing>, now: Instant) {
        let Some(current) = &mut self.current else { return };
        if out.len() >= OUTGOING_MAX {
            // It waits for the daemon, not for a process.
            current.progress = now;
        } else if now >= current.progress + HANGS_AFTER {
            self.pass_over(pool, out, now);
        }
    }

    /// Starts it again behind the process at which it hung or crashed.
    fn pass_over(&mut self, pool: &mut Pool, out: &mut VecDeque<Outgoing>, now: Instant) {
        let Some(Current { ticket, survey, mut course, pid, at, .. }) = self.current.take() else { return };
        self.hangs += 1;
        pool.kill(pid, None);
        match at {
            Some(at) if course.skip.len() < SKIPPED_MAX => {
                course.skip.push(at);
                course.after = at;
                self.run(ticket, survey, course, pool, out, now);
            }
            Some(_) => push(out, &FromBroker::Unknown { ticket, why: Unknown::Budget }, Vec::new()),
            None => push(out, &FromBroker::Unknown { ticket, why: Unknown::Crashed }, Vec::new()),
        }
        self.start(pool, out, now);
    }
}
