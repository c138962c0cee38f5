//! Events wait here, in their order, for the facts that they need.
//!
//! What enters: events, each with what it waits for; facts as they come. What leaves: the events in the order in which
//! they came, each after its facts. Order is meaning for the middle, so an event that waits holds those behind it back,
//! and whatever a question asks of a slow file system, no event waits longer than `PATIENCE`: then it passes without
//! its facts, which are unknown. Questions of later events are asked when these come in, so many slow ones take no
//! longer than one.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::event::stream::Event;

/// For an event: a moment more than the patience of a question, whose answer says why nothing is known.
pub(super) const PATIENCE: Duration = Duration::from_millis(600);
/// Events that may be held; more is a flood, and then facts matter less than events.
const HELD_MAX: usize = 65_536;

/// What an event waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wait(u64);

struct Held {
    event: Event,
    before: Vec<Event>,
    after: Vec<Event>,
    waits: usize,
    until: Instant,
}

#[derive(Default)]
pub(super) struct Gate {
    held: VecDeque<Held>,
    /// How many events have left.
    left: u64,
    /// Which event, counted from the first, waits for what.
    waits: HashMap<Wait, u64>,
    next: u64,
    /// Events that passed without what they waited for.
    impatient: u64,
}

/// An event on its way out.
pub(super) struct Released {
    pub before: Vec<Event>,
    pub event: Event,
    pub after: Vec<Event>,
}

impl Gate {
    /// Something that the next event is to wait for.
    pub(super) fn wait(&mut self) -> Wait {
        self.next += 1;
        Wait(self.next)
    }

    /// Takes an event, which passes once all of these are settled.
    pub(super) fn push(&mut self, event: Event, waits: &[Wait], now: Instant) {
        let number = self.left + self.held.len() as u64;
        self.waits.extend(waits.iter().map(|wait| (*wait, number)));
        let held = Held { event, before: Vec::new(), after: Vec::new(), waits: waits.len(), until: now + PATIENCE };
        self.held.push_back(held);
    }

    /// What was waited for has come, with these facts. They come back where the event has passed already.
    pub(super) fn settle(&mut self, wait: Wait, before: Vec<Event>, after: Vec<Event>) -> Vec<Event> {
        let number = self.waits.remove(&wait);
        let held =
            number.and_then(|number| number.checked_sub(self.left)).and_then(|at| self.held.get_mut(at as usize));
        let Some(held) = held else { return before.into_iter().chain(after).collect() };
        held.waits = held.waits.saturating_sub(1);
        held.before.extend(before);
        held.after.extend(after);
        Vec::new()
    }

    /// The next event that may pass.
    pub(super) fn release(&mut self, now: Instant) -> Option<Released> {
        let first = self.held.front()?;
        if first.waits > 0 {
            if first.until > now && self.held.len() <= HELD_MAX {
                return None;
            }
            self.impatient += 1;
            let gone = self.left;
            self.waits.retain(|_, number| *number > gone);
        }
        let Held { event, before, after, .. } = self.held.pop_front()?;
        self.left += 1;
        Some(Released { before, event, after })
    }

    /// When an event passes whatever it waits for.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.held.front().map(|held| held.until)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Events that passed without their facts, so far.
    pub(super) fn impatient(&self) -> u64 {
        self.impatient
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::stream::EventKind;

    fn event(time: u64) -> Event {
        Event { time, what: EventKind::Tick }
    }

    fn times(gate: &mut Gate, now: Instant) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(released) = gate.release(now) {
            let all = released.before.iter().chain([&released.event]).chain(&released.after);
            times.extend(all.map(|event| event.time));
        }
        times
    }

    #[test]
    fn an_event_waits_for_its_facts_and_the_others_for_their_turn() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let (one, two, three) = (gate.wait(), gate.wait(), gate.wait());
        gate.push(event(1), &[], now);
        gate.push(event(2), &[one, two], now);
        gate.push(event(3), &[three], now);
        gate.push(event(4), &[], now);
        assert_eq!(times(&mut gate, now), [1]);
        assert!(gate.settle(three, vec![event(30)], Vec::new()).is_empty());
        assert!(gate.settle(one, vec![event(20)], vec![event(21)]).is_empty());
        assert_eq!(times(&mut gate, now), [0; 0], "one of two");
        assert!(gate.settle(two, Vec::new(), Vec::new()).is_empty());
        assert_eq!(times(&mut gate, now), [20, 2, 21, 30, 3, 4]);
        assert!(gate.is_empty() && gate.impatient() == 0);
    }

    #[test]
    fn no_event_waits_for_ever_and_a_late_fact_comes_back() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let (one, two) = (gate.wait(), gate.wait());
        gate.push(event(1), &[one], now);
        gate.push(event(2), &[two], now + PATIENCE);
        assert_eq!(gate.next_deadline(), Some(now + PATIENCE));
        assert_eq!(times(&mut gate, now + PATIENCE), [1], "the second has its own time");
        assert_eq!(gate.settle(one, vec![event(9)], Vec::new()), [event(9)]);
        assert_eq!(gate.settle(one, vec![event(9)], Vec::new()), [event(9)], "twice is as late");
        assert_eq!(times(&mut gate, now + PATIENCE * 2), [2]);
        assert_eq!(gate.impatient(), 2);
    }

    #[test]
    fn a_flood_is_not_held() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let wait = gate.wait();
        gate.push(event(0), &[wait], now);
        for time in 1..=HELD_MAX as u64 {
            gate.push(event(time), &[], now);
        }
        assert_eq!(times(&mut gate, now).len(), HELD_MAX + 1);
    }
}
