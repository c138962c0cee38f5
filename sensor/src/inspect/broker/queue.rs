//! Questions that wait, and whose turn it is. Pure: times come in, nothing is asked of the system.
//!
//! Fairness: questions wait in a lane per user, lanes take turns, and each has a bound on what waits and on what is
//! under way. Root's questions have a lane per mount namespace, since root of a container is a user of the host like
//! others; the host's own root always finds room. A lane whose questions miss their deadlines is put aside for a while,
//! each time for longer.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Under way at a time, in all: a worker each.
pub(super) const ACTIVE_MAX: usize = 8;
/// Of these, for the host's root (sshd) only: users who hold up theirs do not hold up its.
const RESERVED: usize = 2;
/// Under way at a time, of one lane.
pub(super) const ACTIVE_LANE_MAX: usize = 2;
const WAITING_LANE_MAX: usize = 64;
pub(super) const WAITING_MAX: usize = 1024;
/// Missed deadlines that put a lane aside, if they come within the time.
const MISSES: usize = 3;
const MISSES_WITHIN: Duration = Duration::from_secs(10);
const ASIDE_FIRST: Duration = Duration::from_secs(10);
const ASIDE_MAX: Duration = Duration::from_mins(5);
/// After so long without a miss the next term is the first one again.
const FORGIVEN_AFTER: Duration = Duration::from_mins(15);
/// Lanes whose misses are remembered.
const RECORDS_MAX: usize = 4096;

/// Whose questions take turns with whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Root in the host's own mount namespace.
    Host,
    /// Root in another one.
    Container(u32),
    User(u32),
}

/// Why a question does not get into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Queue,
    Penalty,
}

#[derive(Debug)]
struct Record {
    misses: VecDeque<Instant>,
    until: Option<Instant>,
    term: Duration,
    last: Instant,
}

/// `T`: a question with its deadline.
#[derive(Debug)]
pub(super) struct Queue<T> {
    lanes: HashMap<Lane, VecDeque<(Instant, T)>>,
    /// Lanes in which something waits, next first.
    turns: VecDeque<Lane>,
    waiting: usize,
    active: HashMap<Lane, usize>,
    records: HashMap<Lane, Record>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            active: HashMap::new(),
            records: HashMap::new(),
        }
    }
}

impl<T> Queue<T> {
    /// May this lane ask now? To be known before anything is opened for it.
    pub(super) fn admits(&self, lane: Lane, now: Instant) -> Result<(), Full> {
        if self.records.get(&lane).is_some_and(|record| record.until.is_some_and(|until| now < until)) {
            return Err(Full::Penalty);
        }
        let own = self.lanes.get(&lane).map_or(0, VecDeque::len);
        // The host's root has room when others filled the queue.
        let all = if lane == Lane::Host { WAITING_MAX } else { WAITING_MAX - WAITING_LANE_MAX };
        if own >= WAITING_LANE_MAX || self.waiting >= all { Err(Full::Queue) } else { Ok(()) }
    }

    pub(super) fn push(&mut self, lane: Lane, deadline: Instant, item: T) {
        let waiting = self.lanes.entry(lane).or_default();
        if waiting.is_empty() {
            self.turns.push_back(lane);
        }
        waiting.push_back((deadline, item));
        self.waiting += 1;
    }

    /// The next whose lane has room, which it now takes.
    pub(super) fn next(&mut self) -> Option<(Lane, T)> {
        for _ in 0..self.turns.len() {
            let lane = self.turns.pop_front()?;
            if !self.has_room(lane) {
                self.turns.push_back(lane);
                continue;
            }
            let waiting = self.lanes.get_mut(&lane)?;
            let (_, item) = waiting.pop_front()?;
            self.waiting -= 1;
            if waiting.is_empty() {
                self.lanes.remove(&lane);
            } else {
                self.turns.push_back(lane);
            }
            *self.active.entry(lane).or_default() += 1;
            return Some((lane, item));
        }
        None
    }

    fn has_room(&self, lane: Lane) -> bool {
        let own = self.active.get(&lane).copied().unwrap_or_default();
        let others: usize = self.active.iter().filter(|(other, _)| **other != Lane::Host).map(|(_, count)| count).sum();
        let all: usize = self.active.values().sum();
        own < ACTIVE_LANE_MAX && all < ACTIVE_MAX && (lane == Lane::Host || others < ACTIVE_MAX - RESERVED)
    }

    /// One that was under way has ended.
    pub(super) fn done(&mut self, lane: Lane) {
        if let Some(count) = self.active.get_mut(&lane) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.active.remove(&lane);
            }
        }
    }

    /// Takes out those whose deadline has passed while they waited.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        for waiting in self.lanes.values_mut() {
            // Patience differs, so they are not in the order of their deadlines.
            let kept = waiting.len();
            for _ in 0..kept {
                match waiting.pop_front() {
                    Some((deadline, item)) if deadline <= now => expired.push(item),
                    Some(other) => waiting.push_back(other),
                    None => break,
                }
            }
        }
        self.waiting -= expired.len();
        self.lanes.retain(|_, waiting| !waiting.is_empty());
        let lanes = &self.lanes;
        self.turns.retain(|lane| lanes.contains_key(lane));
        expired
    }

    /// Takes out all that wait in a lane.
    pub(super) fn drain(&mut self, lane: Lane) -> Vec<T> {
        self.turns.retain(|other| *other != lane);
        let items: Vec<T> = self.lanes.remove(&lane).into_iter().flatten().map(|(_, item)| item).collect();
        self.waiting -= items.len();
        items
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.lanes.values().flatten().map(|(deadline, _)| *deadline).min()
    }

    /// A deadline was missed by what was under way; for how long the lane is put aside, if it is from now on.
    /// Not so the host's root: it has but its own to hold up, and sshd is among it.
    pub(super) fn missed(&mut self, lane: Lane, now: Instant) -> Option<Duration> {
        if lane == Lane::Host {
            return None;
        }
        if self.records.len() >= RECORDS_MAX {
            self.records.retain(|_, record| now < record.last + FORGIVEN_AFTER);
        }
        let new = || Record { misses: VecDeque::new(), until: None, term: ASIDE_FIRST, last: now };
        let record = self.records.entry(lane).or_insert_with(new);
        if now >= record.last + FORGIVEN_AFTER {
            record.term = ASIDE_FIRST;
        }
        record.last = now;
        record.misses.push_back(now);
        record.misses.retain(|miss| now < *miss + MISSES_WITHIN);
        if record.misses.len() < MISSES {
            return None;
        }
        record.misses.clear();
        let term = record.term;
        record.until = Some(now + term);
        record.term = (term * 2).min(ASIDE_MAX);
        Some(term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn a_thousand_questions_of_one_user_do_not_delay_anothers() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut refused = 0;
        for n in 0..1000 {
            match queue.admits(Lane::User(1), now) {
                Ok(()) => queue.push(Lane::User(1), now, n),
                Err(Full::Queue) => refused += 1,
                Err(Full::Penalty) => panic!(),
            }
        }
        assert_eq!(refused, 1000 - WAITING_LANE_MAX);
        assert_eq!(queue.next().map(|(lane, ..)| lane), Some(Lane::User(1)));
        queue.push(Lane::User(2), now, 5000);
        let next: Vec<i32> = std::iter::from_fn(|| queue.next()).map(|(.., n)| n).collect();
        assert!(next.contains(&5000) && next.len() == 2, "{next:?}: one more of user 1, and that of user 2");
        queue.done(Lane::User(1));
        assert_eq!(queue.next().map(|(.., n)| n), Some(2));
    }

    #[test]
    fn users_together_leave_room_for_the_hosts_root() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for user in 0..20 {
            queue.push(Lane::User(user), now, ());
        }
        let mut active = 0;
        while queue.next().is_some() {
            active += 1;
        }
        assert_eq!(active, ACTIVE_MAX - RESERVED);
        queue.push(Lane::Container(7), now, ());
        assert!(queue.next().is_none(), "root of a container is one of the others");
        queue.push(Lane::Host, now, ());
        queue.push(Lane::Host, now, ());
        queue.push(Lane::Host, now, ());
        assert_eq!(std::iter::from_fn(|| queue.next()).map(|(lane, ..)| lane).collect::<Vec<_>>(), [Lane::Host; 2]);
    }

    #[test]
    fn three_misses_in_ten_seconds_put_a_user_aside_each_time_for_longer() {
        let (mut queue, now) = (Queue::<()>::default(), Instant::now());
        let user = Lane::User(1);
        let miss = |queue: &mut Queue<()>, at: Instant| (0..3).find_map(|_| queue.missed(user, at));
        assert_eq!(queue.missed(user, now), None);
        assert_eq!(queue.missed(user, later(now, 6)), None);
        assert_eq!(queue.missed(user, later(now, 12)), None, "the first one is too long ago");
        assert_eq!(queue.missed(user, later(now, 13)), Some(Duration::from_secs(10)));
        assert_eq!(queue.admits(user, later(now, 22)), Err(Full::Penalty));
        assert_eq!(queue.admits(Lane::User(2), later(now, 22)), Ok(()));
        assert_eq!(queue.admits(user, later(now, 23)), Ok(()));
        assert_eq!(miss(&mut queue, later(now, 30)), Some(Duration::from_secs(20)));
        assert_eq!(miss(&mut queue, later(now, 60)), Some(Duration::from_secs(40)));
        for _ in 0..5 {
            miss(&mut queue, later(now, 70));
        }
        assert_eq!(miss(&mut queue, later(now, 80)), Some(ASIDE_MAX));
        assert_eq!(miss(&mut queue, later(now, 1080)), Some(Duration::from_secs(10)), "forgiven");
    }

    #[test]
    fn the_hosts_root_is_never_put_aside() {
        let (mut queue, now) = (Queue::<()>::default(), Instant::now());
        assert!((0..10).all(|_| queue.missed(Lane::Host, now).is_none()));
        assert_eq!(queue.admits(Lane::Host, now), Ok(()));
    }

    #[test]
    fn what_waited_too_long_is_taken_out_and_the_rest_keeps_its_order() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (n, patience) in [(1, 5), (2, 1), (3, 5), (4, 1)] {
            queue.push(Lane::User(1), later(now, patience), n);
        }
        queue.push(Lane::User(2), later(now, 1), 5);
        assert_eq!(queue.earliest(), Some(later(now, 1)));
        let mut expired = queue.expired(later(now, 2));
        expired.sort_unstable();
        assert_eq!(expired, [2, 4, 5]);
        assert_eq!(std::iter::from_fn(|| queue.next()).map(|(.., n)| n).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(queue.waiting, 0);
    }
}
