//! The broker's children: workers that are kept for a while, openers and surveys; how they start and end.
//!
//! Facts: a child that was killed while it waits in the kernel without end (state D) does not go; waitpid with WNOHANG
//! is the only kind used. A number of a child is not given to another process before it was waited for, so kill(2) by
//! number is safe. It fails with `Unknown`: no process, no memory, or too many that did not go.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid},
};
use seccompiler::BpfProgram;

use super::queue::{ACTIVE_LANE_MAX, ACTIVE_MAX, Lane};
use crate::inspect::{
    channel::{Channel, Received, Wait},
    confine::Identity,
    counters::Children,
    fork::fork,
    opener::{self, Work},
    surveyor,
    surveys::{Course, Survey},
    syscalls::{self, Profile},
    unknown::{Unknown, Why},
    worker::{self, QUESTIONS_MAX},
};

/// A worker without a question ends after so long.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// A killed child that is there after so long is stuck.
const STUCK_AFTER: Duration = Duration::from_millis(500);
/// Between two looks for children that ended.
const REAP_EVERY: Duration = Duration::from_millis(20);
/// The same, of stuck ones.
const REAP_STUCK_EVERY: Duration = Duration::from_secs(1);
/// Children that ended or should have, in all and stuck ones of one lane: above these nothing is forked.
const LEAVING_MAX: usize = 64;
const STUCK_LANE_MAX: usize = 3;

/// The seccomp filters, assembled once.
pub(super) struct Filters {
    pub(super) broker: BpfProgram,
    worker: BpfProgram,
    reader: BpfProgram,
}

impl Filters {
    pub(super) fn new() -> Result<Self, syscalls::Failure> {
        Ok(Self {
            broker: syscalls::filter(Profile::Broker)?,
            worker: syscalls::filter(Profile::Worker)?,
            reader: syscalls::filter(Profile::Reader)?,
        })
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) serial: u64,
    pub(super) channel: Channel,
    pid: Pid,
    identity: Identity,
    lane: Lane,
    questions: u32,
    /// Without a question since.
    idle: Option<Instant>,
}

/// A child that was killed, or is about to end.
#[derive(Debug)]
struct Leaving {
    pid: Pid,
    lane: Option<Lane>,
    since: Instant,
    stuck: bool,
}

pub(super) struct Pool {
    dedicated: u32,
    filters: Filters,
    workers: Vec<Worker>,
    leaving: Vec<Leaving>,
    serial: u64,
    counted: Children,
    next_reap: Instant,
}

impl Pool {
    pub(super) fn new(dedicated: u32, filters: Filters) -> Self {
        let (workers, leaving) = (Vec::new(), Vec::new());
        Self {
            dedicated,
            filters,
            workers,
            leaving,
            serial: 0,
            counted: Children::default(),
            next_reap: Instant::now(),
        }
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter()
    }

    /// Rights on no file but what everybody may.
    pub(super) fn nobody(&self) -> Identity {
        Identity { uid: self.dedicated, gid: self.dedicated, groups: Vec::new() }
    }

    pub(super) fn counted(&self) -> Children {
        self.counted
    }

    /// Starts an opener.
    pub(super) fn open(&mut self, work: Work, lane: Lane) -> Result<(Pid, Channel), Unknown> {
        self.fork(Some(lane), |channel, parent, pool| opener::run(channel, work, parent, &pool.filters.reader))
    }

    pub(super) fn survey(&mut self, survey: &Survey, course: &Course, proc: &Path) -> Result<(Pid, Channel), Unknown> {
        self.fork(None, |channel, parent, pool| {
            surveyor::run(channel, survey, course, proc, parent, &pool.filters.reader)
        })
    }

    fn fork(
        &mut self,
        lane: Option<Lane>,
        child: impl FnOnce(Channel, Pid, &Self) -> i32,
    ) -> Result<(Pid, Channel), Unknown> {
        if self.leaving.len() >= LEAVING_MAX {
            return Err(Unknown::Refused(Why::Queue));
        }
        if lane.is_some()
            && self.leaving.iter().filter(|left| left.stuck && left.lane == lane).count() >= STUCK_LANE_MAX
        {
            return Err(Unknown::Refused(Why::Penalty));
        }
        let (own, other) = Channel::pair()?;
        let parent = getpid();
        let pid = fork(|| child(other, parent, self))?;
        self.counted.forked += 1;
        Ok((pid, own))
    }

    /// Gives a question to a worker with these rights: one that is there, or a new one.
    pub(super) fn work(
        &mut self,
        identity: Identity,
        lane: Lane,
        job: &[u8],
        descriptors: &[OwnedFd],
    ) -> Result<u64, Unknown> {
        let is_fit = |worker: &Worker| worker.idle.is_some() && worker.lane == lane && worker.identity == identity;
        let at = if let Some(at) = self.workers.iter().position(is_fit) { at } else { self.hire(identity, lane)? };
        let worker = self.workers.get_mut(at).ok_or(Unknown::Crashed)?;
        let borrowed: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        let serial = worker.serial;
        if worker.channel.send(job, &borrowed, Wait::No).is_err() {
            self.died(serial);
            return Err(Unknown::Crashed);
        }
        worker.idle = None;
        worker.questions += 1;
        Ok(serial)
    }

    fn hire(&mut self, identity: Identity, lane: Lane) -> Result<usize, Unknown> {
        let of_lane = self.workers.iter().filter(|worker| worker.lane == lane).count();
        let mut idle: Vec<&Worker> = self.workers.iter().filter(|worker| worker.idle.is_some()).collect();
        idle.sort_by_key(|worker| worker.idle);
        let dismissed = if of_lane >= ACTIVE_LANE_MAX {
            idle.iter().find(|worker| worker.lane == lane)
        } else if self.workers.len() >= ACTIVE_MAX {
            idle.first()
        } else {
            None
        };
        if let Some(serial) = dismissed.map(|worker| worker.serial) {
            self.dismiss(serial);
        }
        let dedicated = self.dedicated;
        let rights = identity.clone();
        let (pid, channel) = self.fork(Some(lane), move |channel, parent, pool| {
            worker::run(channel, &rights, dedicated, parent, &pool.filters.worker)
        })?;
        self.serial += 1;
        self.workers.push(Worker { serial: self.serial, channel, pid, identity, lane, questions: 0, idle: None });
        Ok(self.workers.len() - 1)
    }

    pub(super) fn receive(&self, serial: u64, buffer: &mut [u8]) -> Option<Result<Received, Errno>> {
        let worker = self.workers.iter().find(|worker| worker.serial == serial)?;
        Some(worker.channel.receive(buffer, Wait::No))
    }

    /// Its question is answered.
    pub(super) fn free(&mut self, serial: u64) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.serial == serial) else { return };
        worker.idle = Some(Instant::now());
        if worker.questions >= QUESTIONS_MAX {
            self.dismiss(serial);
        }
    }

    /// Lets a worker end: its socket is closed.
    fn dismiss(&mut self, serial: u64) {
        self.remove(serial);
    }

    fn remove(&mut self, serial: u64) -> Option<Pid> {
        let at = self.workers.iter().position(|worker| worker.serial == serial)?;
        let Worker { pid, lane, .. } = self.workers.swap_remove(at);
        self.leave(pid, Some(lane));
        Some(pid)
    }

    fn leave(&mut self, pid: Pid, lane: Option<Lane>) {
        let now = Instant::now();
        self.leaving.push(Leaving { pid, lane, since: now, stuck: false });
        self.next_reap = self.next_reap.min(now + REAP_EVERY);
    }

    pub(super) fn died(&mut self, serial: u64) {
        if let Some(pid) = self.remove(serial) {
            self.counted.died += 1;
            // It may have closed its socket and stayed.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    pub(super) fn distrust(&mut self, serial: u64) {
        if let Some(pid) = self.remove(serial) {
            self.counted.distrusted += 1;
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    pub(super) fn kill_worker(&mut self, serial: u64) {
        if let Some(pid) = self.remove(serial) {
            self.counted.killed += 1;
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Kills an opener or a survey.
    pub(super) fn kill(&mut self, pid: Pid, lane: impl Into<Option<Lane>>) {
        self.counted.killed += 1;
        let _ = kill_process(pid, Signal::KILL);
        self.leave(pid, lane.into());
    }

    /// An opener or a survey has ended or is about to.
    pub(super) fn finished(&mut self, pid: Pid, lane: impl Into<Option<Lane>>) {
        self.leave(pid, lane.into());
    }

    /// Waits for what has ended, without waiting; dismisses workers without work.
    pub(super) fn reap(&mut self, now: Instant) {
        let idle = |worker: &Worker| worker.idle.is_some_and(|since| now >= since + IDLE_MAX);
        while let Some(serial) = self.workers.iter().find(|worker| idle(worker)).map(|worker| worker.serial) {
            self.dismiss(serial);
        }
        if now < self.next_reap || self.leaving.is_empty() {
            return;
        }
        let mut stuck = 0;
        self.leaving.retain_mut(|left| {
            if !matches!(waitpid(Some(left.pid), WaitOptions::NOHANG), Ok(None)) {
                return false;
            }
            if !left.stuck && now >= left.since + STUCK_AFTER {
                left.stuck = true;
                stuck += 1;
                // One that was dismissed and does not end by itself.
                let _ = kill_process(left.pid, Signal::KILL);
            }
            true
        });
        self.counted.stuck += stuck;
        let soon = self.leaving.iter().any(|left| !left.stuck);
        self.next_reap = now + if soon { REAP_EVERY } else { REAP_STUCK_EVERY };
    }

    /// When `reap` has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let idle = self.workers.iter().filter_map(|worker| worker.idle).min().map(|since| since + IDLE_MAX);
        let reap = (!self.leaving.is_empty()).then_some(self.next_reap);
        idle.into_iter().chain(reap).min()
    }
}
