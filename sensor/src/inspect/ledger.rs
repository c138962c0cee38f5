//! Which tickets are open, until when, and what became of the others. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::{
    counters::Counters,
    subject::{Refused, Ticket},
    unknown::{Unknown, Why},
};

/// Questions that are open at a time: more than the broker lets wait, so that its own refusals are seen.
const OPEN_MAX: usize = 2048;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: HashMap<Ticket, Instant>,
    by_deadline: BTreeSet<(Instant, Ticket)>,
    last: u64,
    pub(super) counters: Counters,
}

impl Ledger {
    /// A new ticket, closed as missed when `patience` is over and the broker's own answer to that has not come.
    pub(super) fn open(&mut self, now: Instant, patience: Duration) -> Result<Ticket, Refused> {
        if self.open.len() >= OPEN_MAX {
            return Err(Refused::Busy);
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        self.open.insert(ticket, now + patience);
        self.by_deadline.insert((now + patience, ticket));
        Ok(ticket)
    }

    /// Its question was not sent.
    pub(super) fn withdraw(&mut self, ticket: Ticket) {
        if let Some(deadline) = self.open.remove(&ticket) {
            self.by_deadline.remove(&(deadline, ticket));
        }
    }

    pub(super) fn is_open(&self, ticket: Ticket) -> bool {
        self.open.contains_key(&ticket)
    }

    /// Closes a ticket. `false`: it was closed before.
    pub(super) fn close(&mut self, ticket: Ticket, result: Result<(), Unknown>) -> bool {
        if !self.is_open(ticket) {
            self.counters.late += 1;
            return false;
        }
        self.withdraw(ticket);
        let counters = &mut self.counters;
        let counter = match result {
            Ok(()) => &mut counters.answered,
            Err(Unknown::Deadline) => &mut counters.deadline,
            Err(Unknown::Gone) => &mut counters.gone,
            Err(Unknown::Budget) => &mut counters.budget,
            Err(Unknown::Crashed) => &mut counters.crashed,
            Err(Unknown::Identity) => &mut counters.identity,
            Err(Unknown::Refused(why)) => {
                match why {
                    Why::Penalty => counters.penalty += 1,
                    Why::Queue => counters.queue += 1,
                    _ => {}
                }
                &mut counters.refused
            }
        };
        *counter += 1;
        true
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn overdue(&self, now: Instant) -> Vec<Ticket> {
        self.by_deadline.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, ticket)| *ticket).collect()
    }

    pub(super) fn all(&self) -> Vec<Ticket> {
        self.by_deadline.iter().map(|(_, ticket)| *ticket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_closed_once_and_each_end_is_counted() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let tickets: Vec<Ticket> = (1..=4).map(|n| ledger.open(now, Duration::from_secs(n)).unwrap()).collect();
        assert_eq!(ledger.overdue(now + Duration::from_secs(2)), tickets[..2]);
        assert!(ledger.close(tickets[0], Ok(())));
        assert!(!ledger.close(tickets[0], Err(Unknown::Deadline)), "it has its answer");
        assert!(ledger.close(tickets[1], Err(Unknown::Refused(Why::Penalty))));
        ledger.withdraw(tickets[2]);
        assert_eq!(ledger.next_deadline(), Some(now + Duration::from_secs(4)));
        let Counters { answered, late, refused, penalty, deadline, .. } = ledger.counters;
        assert_eq!((answered, late, refused, penalty, deadline), (1, 1, 1, 1, 0));
        assert_eq!(ledger.all(), tickets[3..]);
    }

    #[test]
    fn open_tickets_are_bounded() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let opened = (0..OPEN_MAX + 5).filter(|_| ledger.open(now, Duration::ZERO).is_ok()).count();
        assert_eq!(opened, OPEN_MAX);
    }
}
