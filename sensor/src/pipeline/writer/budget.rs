//! How much one session, or one user outside of sessions, may write; and how much all together, into one file.
//!
//! In: finished records, with their time. Out: whether a record is written, and for what is not, summaries
//! (`sensor-suppressed`) and a notice when a limit is first reached (`sensor-degraded`). Only records of processes and
//! connections can be suppressed, since a user makes as many of them as the machine can: logins, commands, deploys and
//! what the sensor says of itself are always written, so a flood hides what it consists of and nothing else. Buckets
//! fill by the records' own time: a ring that was drained late is no flood. A session that is followed no more because
//! there are too many shares one bucket with its like.

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::stream::Degraded,
    finding::{
        Action, Direction, Finding, FindingKind, Outcome, SessionId, Ssh, Time, User,
        health::{Limit, Suppressed},
    },
};

/// Seconds' worth of records that may come at once: 20,000 of the default.
const RECORDS_AT_ONCE: i64 = 10;
/// The same of bytes: 16 MiB of the default, or 400 execs with as many arguments as are recorded.
const BYTES_AT_ONCE: i64 = 4;
/// Time that a summary is about.
const WINDOW_NS: i64 = 10_000_000_000;
/// Sessions and users with a bucket of their own.
const BUCKETS_MAX: usize = 16_384;
/// Executables that a summary names: a flood is one or two, what hides in it another.
const EXECUTABLES_MAX: usize = 16;
/// Buckets fill in steps, so that what is rounded off is little.
const STEP_NS: i64 = 50_000_000;
const SECOND_NS: i128 = 1_000_000_000;

/// What the configuration allows; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub records: u64,
    pub bytes: u64,
    pub file: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Session(SessionId),
    User(u32),
    Others,
}

/// A limit, as the configuration calls it.
fn key_of(limit: Limit) -> &'static str {
    match limit {
        Limit::Records => "limits.session_records_per_second",
        Limit::Bytes => "limits.session_bytes_per_second",
        Limit::File => "output.max_bytes",
    }
}

#[derive(Debug)]
struct Bucket {
    /// What may be written; below zero it is owed.
    records: i64,
    bytes: i64,
    filled: i64,
    held: Option<Box<Held>>,
}

/// What was held back since the last summary.
#[derive(Debug)]
struct Held {
    limit: Limit,
    first: i64,
    last: i64,
    actions: Vec<(Action, u64)>,
    executables: Vec<Arc<str>>,
    user: Option<User>,
    ssh: Option<Ssh>,
}

pub(super) struct Budget {
    rates: Rates,
    buckets: HashMap<Key, Bucket>,
    /// Limits that were reached: said once.
    reached: Vec<Limit>,
    notices: Vec<Finding>,
    /// Time of the next look for summaries.
    next: i64,
    suppressed: u64,
}

impl Budget {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, buckets: HashMap::new(), reached: Vec::new(), notices: Vec::new(), next: 0, suppressed: 0 }
    }

    /// Is the record to be written? `size`: bytes of the file by now.
    pub(super) fn admits(&mut self, finding: &Finding, size: Option<u64>) -> bool {
        if !can_be_suppressed(finding) {
            return true;
        }
        let full = self.rates.file > 0 && size.is_some_and(|size| size >= self.rates.file);
        if !full && self.rates.records == 0 && self.rates.bytes == 0 {
            return true;
        }
        let rates = self.rates;
        let bucket = self.bucket(finding);
        bucket.fill(finding.time.0, rates);
        let limit = match () {
            () if full => Limit::File,
            () if rates.records > 0 && bucket.records <= 0 => Limit::Records,
            () if rates.bytes > 0 && bucket.bytes <= 0 => Limit::Bytes,
            () => {
                bucket.records -= i64::from(rates.records > 0);
                return true;
            }
        };
        bucket.hold(limit, finding);
        self.suppressed += 1;
        self.reach(limit, finding.time.0);
        false
    }

    /// A record that was admitted has this size. The last one may overdraw: its size is known only when it is rendered.
    pub(super) fn charge(&mut self, finding: &Finding, bytes: usize) {
        if self.rates.bytes > 0 && can_be_suppressed(finding) {
            self.bucket(finding).bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
        }
    }

    /// A new file is there.
    pub(super) fn reopened(&mut self) {
        self.reached.retain(|limit| *limit != Limit::File);
    }

    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Notices and summaries that are due at this time (ns since the epoch).
    pub(super) fn due(&mut self, now: i64, out: &mut Vec<Finding>) {
        out.append(&mut self.notices);
        if now < self.next {
            return;
        }
        self.next = now.saturating_add(WINDOW_NS / 10);
        let rates = self.rates;
        self.buckets.retain(|_, bucket| {
            bucket.fill(now, rates);
            if let Some(held) = bucket.held.take_if(|held| now.saturating_sub(held.first) >= WINDOW_NS) {
                out.push(held.summary());
            }
            // A full bucket is as good as none.
            bucket.held.is_some() || !bucket.is_full(rates)
        });
    }

    #[cfg(test)]
    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    fn bucket(&mut self, finding: &Finding) -> &mut Bucket {
        let key = key(finding);
        let known = self.buckets.len() < BUCKETS_MAX || self.buckets.contains_key(&key);
        let key = if known { key } else { Key::Others };
        let rates = self.rates;
        self.buckets.entry(key).or_insert_with(|| Bucket {
            records: at_once(rates.records, RECORDS_AT_ONCE),
            bytes: at_once(rates.bytes, BYTES_AT_ONCE),
            filled: finding.time.0,
            held: None,
        })
    }

    fn reach(&mut self, limit: Limit, time: i64) {
        if self.reached.contains(&limit) {
            return;
        }
        self.reached.push(limit);
        let value = match limit {
            Limit::Records => self.rates.records,
            Limit::Bytes => self.rates.bytes,
            Limit::File => self.rates.file,
        };
        let degraded = Degraded {
            what: "records of processes and connections".into(),
            why: format!("the limit {} = {value} was reached", key_of(limit)),
            effect: "what is over it is not recorded one by one but counted in sensor-suppressed records".into(),
        };
        let kind = FindingKind::SensorDegraded(Box::new(degraded));
        self.notices.push(Finding::new(Time(time), Outcome::Failure, kind));
    }
}

impl Bucket {
    fn fill(&mut self, now: i64, rates: Rates) {
        let passed = now.saturating_sub(self.filled);
        if passed < 0 {
            // The clock was set back: from here on by the new time.
            self.filled = now;
            return;
        }
        if passed < STEP_NS {
            return;
        }
        let (records, bytes) = (gain(rates.records, passed), gain(rates.bytes, passed));
        // Time that is worth less than one record is not used up.
        if (rates.records > 0 && records == 0) || (rates.bytes > 0 && bytes == 0) {
            return;
        }
        self.filled = now;
        self.records = self.records.saturating_add(records).min(at_once(rates.records, RECORDS_AT_ONCE));
        self.bytes = self.bytes.saturating_add(bytes).min(at_once(rates.bytes, BYTES_AT_ONCE));
    }

    fn is_full(&self, rates: Rates) -> bool {
        self.records >= at_once(rates.records, RECORDS_AT_ONCE) && self.bytes >= at_once(rates.bytes, BYTES_AT_ONCE)
    }

    fn hold(&mut self, limit: Limit, finding: &Finding) {
        let held = self.held.get_or_insert_with(|| {
            let ssh = finding.subject.ssh.as_ref().map(|ssh| Ssh { command: None, ..ssh.clone() });
            Box::new(Held {
                limit,
                first: finding.time.0,
                last: finding.time.0,
                actions: Vec::new(),
                executables: Vec::new(),
                user: finding.subject.user.clone(),
                ssh,
            })
        });
        held.last = held.last.max(finding.time.0);
        match held.actions.iter_mut().find(|(action, _)| *action == finding.action()) {
            Some((_, count)) => *count += 1,
            None => held.actions.push((finding.action(), 1)),
        }
        let executable = finding.subject.process.as_ref().and_then(|process| process.executable.as_ref());
        if let Some(executable) = executable
            && held.executables.len() < EXECUTABLES_MAX
            && !held.executables.contains(executable)
        {
            held.executables.push(executable.clone());
        }
    }
}

impl Held {
    fn summary(self) -> Finding {
        let kind = FindingKind::SensorSuppressed(Box::new(Suppressed {
            count: self.actions.iter().map(|(_, count)| count).sum(),
            limit: self.limit,
            actions: self.actions,
            executables: self.executables,
        }));
        let mut finding = Finding::new(Time(self.last), Outcome::Unknown, kind);
        finding.span = Some((Time(self.first), Time(self.last)));
        (finding.subject.user, finding.subject.ssh) = (self.user, self.ssh);
        finding
    }
}

/// Records that one user can make without end. The end of a connection on which nobody logged in is not among them: it
/// is a login that failed.
fn can_be_suppressed(finding: &Finding) -> bool {
    match finding.action() {
        Action::ProcessStarted | Action::ProcessEnded | Action::ConnectionOpened | Action::ConnectionFailed => true,
        Action::ConnectionClosed => {
            let network = finding.subject.flow.as_ref().and_then(|flow| flow.network.as_ref());
            network.is_none_or(|network| network.direction != Direction::Ingress)
        }
        _ => false,
    }
}

fn key(finding: &Finding) -> Key {
    let session = finding.subject.ssh.as_ref().and_then(|ssh| ssh.session.as_ref());
    let user = finding.subject.user.as_ref().and_then(|user| user.real.id);
    session.map_or_else(|| user.map_or(Key::Others, Key::User), |session| Key::Session(session.id.clone()))
}

fn at_once(rate: u64, seconds: i64) -> i64 {
    i64::try_from(rate).unwrap_or(i64::MAX).saturating_mul(seconds)
}

fn gain(rate: u64, passed: i64) -> i64 {
    i64::try_from(i128::from(rate) * i128::from(passed) / SECOND_NS).unwrap_or(i64::MAX)
}
