//! What was lost before it came to correlation: by the kernel, the decoder, the queue; and events that passed without
//! their facts.

use super::source::{Failure, SWEEP, Source};
use crate::{
    event::stream::{Degraded, Event, EventKind, Lost},
    kernel::Program,
};

impl Source {
    /// Events that passed without facts, at most once in a minute.
    pub(super) fn report_impatience(&mut self, time: u64, out: &mut Vec<Event>) {
        let (reported, wait) = self.impatient;
        let now = self.gate.impatient();
        if wait > 0 || now == reported {
            self.impatient.1 = wait.saturating_sub(1);
            return;
        }
        self.impatient = (now, SWEEP);
        let degraded = Degraded {
            what: "facts about processes and their files".into(),
            why: format!(
                "{} events passed before a slow file system or a loaded machine gave an answer",
                now - reported
            ),
            effect: "names, programs or configuration are absent in their records".into(),
        };
        out.push(Event { time, what: EventKind::Degraded(degraded) });
    }

    pub(super) fn report_losses(&mut self, time: u64, out: &mut Vec<Event>) -> Result<(), Failure> {
        let mut accounts = self.account.read()?;
        // A second program may be about to take what the first was skipped for: while probes are attached, a skipped
        // event counts when two looks in a row have seen it.
        let seen: Vec<Option<u64>> = accounts.iter().map(|program| program.skipped).collect();
        if !self.stopped {
            for ((now, then), before) in accounts.iter_mut().zip(&self.reported).zip(&self.skipped) {
                now.skipped = now.skipped.min(*before).max(then.skipped);
            }
        }
        self.skipped = seen;
        let since = self.reported_at;
        let mut report = |stage: &str, kind: String, count: u64| {
            if count > 0 {
                out.push(Event { time, what: EventKind::Lost(Lost { stage: stage.into(), kind, count, since }) });
            }
        };
        for (now, then) in accounts.iter().zip(&self.reported) {
            let name = now.name;
            let misses = |program: &Program| program.skipped.unwrap_or(0);
            report("kernel", format!("{name}: ring full"), now.counters.lost_full - then.counters.lost_full);
            report("kernel", format!("{name}: unreadable"), now.counters.lost_read - then.counters.lost_read);
            report("kernel", format!("{name}: socket not tracked"), now.counters.untracked - then.counters.untracked);
            report("kernel", format!("{name}: skipped by the kernel"), misses(now).saturating_sub(misses(then)));
        }
        if let Some((count, error)) = self.drain.take_undecodable() {
            report("decode", error.to_string(), count);
            self.undecodable += count;
        }
        for (kind, count) in self.drain.take_refused() {
            report("queue", format!("{kind}: the queue between ring and correlation is full"), count);
        }
        self.reported = accounts;
        self.reported_at = time;
        Ok(())
    }
}
