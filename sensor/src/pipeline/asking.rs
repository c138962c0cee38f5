//! What was asked of the inspector, and what for.
//!
//! What enters: questions, each with its purpose. What leaves: answers, each with the purpose of its question, or why
//! nothing is known; always one for each question that was accepted. Nothing here waits. Questions that no event waits
//! for stand in a line of their own, so that a start with thousands of processes does not fill the inspector's queue.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use super::{gate::PATIENCE, purpose::Purpose};
use crate::{
    event::stream::{Credentials, Degraded, Task},
    host::mounts::HostRoot,
    inspect::{Inspector, Question, Said, Subject, Survey, Ticket, Unknown},
    kernel::Readable,
};

/// For an answer; the gate waits a moment longer.
const ANSWER_IN: Duration = PATIENCE.saturating_sub(Duration::from_millis(100));
/// The same where no event waits.
const ANSWER_LATER: Duration = Duration::from_secs(3);
/// Questions of the second line that are under way at a time. The inspector takes 64 of one user.
const LATER_MAX: usize = 24;
/// Questions in that line; a host with more processes is looked at as they speak.
const LINE_MAX: usize = 16_384;

pub(super) struct Answered {
    pub purpose: Purpose,
    pub said: Result<Said, Unknown>,
    pub descriptors: Vec<OwnedFd>,
}

pub(super) struct Asking {
    inspector: Option<Inspector>,
    host: HostRoot,
    purposes: HashMap<Ticket, (Purpose, bool)>,
    line: VecDeque<(Subject, Question, Purpose)>,
    later: usize,
    /// Questions that were not accepted.
    refused: u64,
    /// Those that were not accepted, to be answered as unknown.
    unanswered: Vec<Answered>,
}

impl Asking {
    pub(super) fn new(inspector: Option<Inspector>, host: HostRoot) -> Self {
        Self {
            inspector,
            host,
            purposes: HashMap::new(),
            line: VecDeque::new(),
            later: 0,
            refused: 0,
            unanswered: Vec::new(),
        }
    }

    /// A process, for a question about it. In the host's own mount namespace another process stands in for it where it
    /// has ended.
    pub(super) fn subject(&self, task: &Task) -> Subject {
        let of_host = task.mnt_ns.is_some() && task.mnt_ns == self.host.mnt_ns;
        let fallback = task.parent.into_iter().chain(of_host.then_some(self.host.process)).collect();
        Subject { process: task.id, credentials: task.credentials, mnt_ns: task.mnt_ns, fallback }
    }

    /// The host's own root, with the rights of this user.
    pub(super) fn of_host(&self, uid: u32) -> Subject {
        let credentials = Credentials { uid, euid: uid, gid: uid, egid: uid };
        let (process, mnt_ns) = (self.host.process, self.host.mnt_ns);
        Subject { process, credentials: Some(credentials), mnt_ns, fallback: Vec::new() }
    }

    /// A question that an event may wait for. Its answer comes with `take`, whatever happens.
    pub(super) fn ask(&mut self, subject: &Subject, question: Question, purpose: Purpose) {
        self.send(subject, question, purpose, (ANSWER_IN, false));
    }

    /// A question for which a record waits, and no event: it has longer, and does not stand in the line behind what a
    /// start asks.
    pub(super) fn ask_for_record(&mut self, subject: &Subject, question: Question, purpose: Purpose) {
        self.send(subject, question, purpose, (ANSWER_LATER, false));
    }

    /// May this program be probed where another answer said? An event may wait for it; one that does not any more is no
    /// reason not to probe.
    pub(super) fn check(&mut self, subject: &Subject, file: BorrowedFd<'_>, places: Vec<u64>, purpose: Purpose) {
        let question = Question::Places(places);
        match self.inspector.as_mut().map(|inspector| inspector.check(file, subject, question, ANSWER_LATER)) {
            Some(Ok(ticket)) => drop(self.purposes.insert(ticket, (purpose, false))),
            _ => self.refuse(purpose),
        }
    }

    /// A question that nothing waits for.
    pub(super) fn ask_later(&mut self, subject: Subject, question: Question, purpose: Purpose) {
        if self.line.len() < LINE_MAX {
            self.line.push_back((subject, question, purpose));
            self.pump();
        } else {
            self.refuse(purpose);
        }
    }

    pub(super) fn survey(&mut self, survey: Survey, purpose: Purpose) {
        match self.inspector.as_mut().map(|inspector| inspector.survey(survey)) {
            Some(Ok(ticket)) => drop(self.purposes.insert(ticket, (purpose, false))),
            _ => self.refuse(purpose),
        }
    }

    /// Answers that have come, and those that will not.
    pub(super) fn take(&mut self) -> Vec<Answered> {
        let mut answered = std::mem::take(&mut self.unanswered);
        let replies = self.inspector.as_mut().map(|inspector| inspector.poll(Instant::now())).unwrap_or_default();
        for reply in replies {
            let more = matches!(reply.answer, Ok(Said::Item(_)));
            let Some((purpose, later)) = self.purposes.remove(&reply.ticket) else { continue };
            if let Err(why) = &reply.answer {
                tracing::debug!(about = purpose.name(), ?why, "nothing is known");
            }
            if more {
                let again = match purpose {
                    Purpose::Processes => Purpose::Processes,
                    _ => Purpose::Gone,
                };
                self.purposes.insert(reply.ticket, (again, later));
            } else if later {
                self.later -= 1;
            }
            answered.push(Answered { purpose, said: reply.answer, descriptors: reply.descriptors });
        }
        self.pump();
        answered
    }

    pub(super) fn is_running(&self) -> bool {
        self.inspector.is_some()
    }

    /// For the event loop: readable when there are answers.
    pub(super) fn readable(&self) -> Option<Readable> {
        let inspector = self.inspector.as_ref()?;
        let readable = Readable::new(inspector.as_fd());
        readable.inspect_err(|error| tracing::error!(%error, "cannot wait for the inspector")).ok()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if !self.unanswered.is_empty() {
            return Some(Instant::now());
        }
        self.inspector.as_ref().and_then(Inspector::next_deadline)
    }

    /// What cannot be known from now on; each cause once.
    pub(super) fn take_degraded(&mut self) -> Vec<Degraded> {
        self.inspector.as_mut().map(Inspector::take_degraded).unwrap_or_default()
    }

    fn send(&mut self, subject: &Subject, question: Question, purpose: Purpose, (patience, later): (Duration, bool)) {
        match self.inspector.as_mut().map(|inspector| inspector.ask(subject, question, patience)) {
            Some(Ok(ticket)) => {
                self.later += usize::from(later);
                self.purposes.insert(ticket, (purpose, later));
            }
            _ => self.refuse(purpose),
        }
    }

    /// What is not asked is answered as unknown, in its turn.
    pub(super) fn refuse(&mut self, purpose: Purpose) {
        self.refused += 1;
        let said = Err(Unknown::Refused(crate::inspect::Why::Queue));
        self.unanswered.push(Answered { purpose, said, descriptors: Vec::new() });
    }

    fn pump(&mut self) {
        while self.later < LATER_MAX
            && let Some((subject, question, purpose)) = self.line.pop_front()
        {
            self.send(&subject, question, purpose, (ANSWER_LATER, true));
        }
    }
}
