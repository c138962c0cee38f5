//! Layer 3: events to records.
//!
//! Pure: a value and a time in, records out; the same stream gives the same records. `observe` is the table of
//! contents: one function per kind of event. All state is in five bounded tables (`processes`, `sessions`,
//! `connections`, `ssh`, `deploys`); what a limit refuses is counted and becomes a record. What `ssh` remembers beyond
//! open connections (servers, what was agreed on, host keys that wait) is bounded too: there the oldest goes.

mod adopt;
mod application;
mod build;
mod config_files;
mod connections;
mod deploys;
mod lifecycle;
mod network;
mod processes;
mod program;
mod sessions;
mod ssh;
#[cfg(test)]
mod tests;
mod unexamined;

use std::sync::Arc;

use connections::{AT_ONCE_NS, Connections};
use deploys::Deploys;
use processes::Processes;
use regex::bytes::RegexSet;
use sessions::Sessions;
use ssh::{Changes, PendingHostKey, Servers, SshConnections};
use unexamined::Candidates;

use crate::event::{
    record::{self, Action, Outcome, Record},
    stream::{Degraded, Drains, Event, EventKind, Host, Limits, Lost, ProcessSnapshot},
};

/// How long a session without any command waits before it is told without a user.
const START_WAIT_NS: u64 = 2_000_000_000;

/// How long the end of a connection may come after the end of its last server process: the peer may be gone without a
/// word.
const CLOSE_WAIT_NS: u64 = 1_000_000_000;

/// A step of the wall clock that a reader of the log must know of.
const CLOCK_JUMP_NS: i64 = 1_000_000_000;

/// A loss that is an upper bound of what may have been lost, not a loss that is known.
const SKIPPED: &str = ": skipped by the kernel";

/// Whose acts are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Also what happens outside of sessions.
    pub all: bool,
    /// Only these processes and what descends from them, in or out of sessions. Empty: everybody.
    pub pids: Vec<u32>,
}

impl Scope {
    fn in_scope(&self, session: Option<u64>, deploys: bool, watched: bool) -> bool {
        if self.pids.is_empty() { self.all || session.is_some() || deploys } else { watched }
    }
}

pub struct Correlate {
    scope: Scope,
    host: Host,
    /// CLOCK_REALTIME - CLOCK_BOOTTIME, ns.
    offset: i64,
    /// Boot time of the first event.
    began: u64,
    processes: Processes,
    sessions: Sessions,
    connections: Connections,
    /// SSH connections.
    conns: SshConnections,
    deploys: Deploys,
    /// Time of the event at hand.
    now: u64,
    channels_refused: u64,
    /// That it happened is said once.
    channels_full: bool,
    /// Labels of commands.
    labels: Vec<(Arc<str>, RegexSet)>,
    /// Where SSH was spoken.
    servers: Servers,
    /// Who may turn out to be an SSH server.
    candidates: Candidates,
    /// What applications and their servers agreed on the last time.
    changes: Changes,
    /// Host keys of which it is not told yet what the files say.
    undecided: Vec<PendingHostKey>,
    /// Found at start without a living parent, until all are told.
    orphans: Vec<ProcessSnapshot>,
    /// How the ring was drained, at the end.
    drains: Option<Drains>,
}

impl Correlate {
    pub fn new(limits: Limits, scope: Scope) -> Self {
        Self {
            scope,
            host: Host::default(),
            offset: 0,
            began: 0,
            processes: Processes::new(limits.processes),
            sessions: Sessions::new(limits.sessions),
            connections: Connections::new(limits.connections),
            conns: SshConnections::new(limits.sessions),
            deploys: Deploys::new(),
            now: 0,
            channels_refused: 0,
            channels_full: false,
            labels: Vec::new(),
            servers: Servers::default(),
            candidates: Candidates::default(),
            changes: Changes::default(),
            undecided: Vec::new(),
            orphans: Vec::new(),
            drains: None,
        }
    }

    /// Takes one event; appends the records that it completes.
    pub fn observe(&mut self, event: &Event, out: &mut Vec<Record>) {
        let time = event.time;
        self.now = time;
        match &event.what {
            EventKind::Host(host) => {
                self.processes.set_boot(&host.boot);
                self.host = host.clone();
                self.began = time;
            }
            EventKind::Clock { offset } => self.clock(time, *offset, out),
            EventKind::ProcessSnapshot(found) => {
                self.found(time, found);
                self.deploy_found(found, out);
            }
            EventKind::SnapshotComplete => self.seeded(time, out),
            EventKind::Fork(fork) => self.fork(time, fork, out),
            EventKind::Exec(exec) => self.exec(time, exec, out),
            EventKind::Exit(exit) => self.exit(time, exit, out),
            EventKind::Connect(connect) => self.connect(time, connect),
            EventKind::Tcp(change) => self.tcp(time, change, out),
            EventKind::Lost(lost) => {
                if matches!(lost.stage.as_str(), "kernel" | "queue" | "decode") && !lost.kind.ends_with(SKIPPED) {
                    self.deploys.missed();
                }
                out.push(self.lost(time, lost));
            }
            EventKind::Degraded(degraded) => out.push(self.degraded(time, degraded)),
            EventKind::Probes(probes) => {
                let mut record = self.health(time, Action::SensorStarted, Outcome::Success);
                record.sensor.probes = Some(probes.iter().map(Into::into).collect());
                out.push(record);
            }
            EventKind::Reloaded { all, limits } => {
                self.scope.all = *all;
                self.processes.set_limit(limits.processes);
                self.sessions.set_limit(limits.sessions);
                self.connections.set_limit(limits.connections);
                self.conns.set_limit(limits.sessions);
                out.push(self.health(time, Action::SensorConfigReloaded, Outcome::Success));
            }
            EventKind::Tick => self.tick(time, out),
            EventKind::Stop(programs) => {
                self.tick(u64::MAX, out);
                self.refusals(time, out);
                let mut record = self.health(time, Action::SensorStopped, Outcome::Success);
                record.sensor.programs = Some(programs.iter().map(Into::into).collect());
                record.sensor.drain = self.drains.map(Into::into);
                out.push(record);
            }
            EventKind::Ssh(packet) => {
                self.identified(time, packet);
                self.ssh(time, packet, out);
            }
            EventKind::SshOwner(bound) => self.ssh_bound(time, bound),
            EventKind::SshAmbiguous(bound) => self.ssh_mixed(time, bound),
            EventKind::SshTunnelled(carried) => self.ssh_carried(time, carried),
            EventKind::ConfigFile(file) => self.config_file(time, file, out),
            EventKind::KnownHosts(known) => self.known_hosts(known, out),
            EventKind::Labels(labels) => self.set_labels(labels),
            EventKind::DeployTools(own) => self.deploys.set_tools(own),
            EventKind::Deploy(facts) => self.deploys.note(facts),
            EventKind::LibraryProbed(process, since) => {
                if let Some(process) = self.processes.get_mut(*process) {
                    process.readable_since = Some(*since);
                }
            }
            EventKind::Drains(drains) => self.drains = Some(*drains),
            EventKind::Program { .. }
            | EventKind::User { .. }
            | EventKind::ContainerUser { .. }
            | EventKind::HostNamespace { .. }
            | EventKind::Cgroup { .. } => {}
        }
    }

    /// (processes, sessions, connections) in the tables.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.processes.len(), self.sessions.len(), self.connections.len())
    }

    /// SSH connections that are followed.
    pub fn ssh_connections(&self) -> usize {
        self.conns.len()
    }

    fn tick(&mut self, time: u64, out: &mut Vec<Record>) {
        for key in self.sessions.waiting(time.saturating_sub(START_WAIT_NS)) {
            self.start_session(key, out);
        }
        for key in self.sessions.overdue(time.saturating_sub(CLOSE_WAIT_NS)) {
            let since = self.sessions.get(key).and_then(|session| session.closing);
            self.end_session(key, since.unwrap_or(time), out);
        }
        for connection in self.connections.take_stuck(time.saturating_sub(AT_ONCE_NS)) {
            self.deploy_unreachable(&connection, "no route, or refused by local policy");
            out.push(self.connection_failed_at_once(&connection));
        }
        self.ssh_tick(time, out);
        self.deploys_tick(time, out);
        self.refusals(time, out);
    }

    /// What the limits refused since the last time.
    fn refusals(&mut self, time: u64, out: &mut Vec<Record>) {
        for (kind, count) in [
            ("process-evicted", self.processes.take_evicted()),
            ("session-refused", self.sessions.take_refused()),
            ("connection-refused", self.connections.take_refused()),
            ("ssh-connection-refused", self.conns.take_refused()),
            ("ssh-channel-refused", std::mem::take(&mut self.channels_refused)),
            ("deploy-refused", self.deploys.take_refused()),
            ("deploy-contacted-refused", self.deploys.take_contacted_refused()),
        ] {
            if count > 0 {
                let lost = Lost { stage: "correlate".into(), kind: kind.into(), count, since: self.began };
                let time = if time == u64::MAX { self.began } else { time };
                out.push(self.lost(time, &lost));
            }
        }
    }

    fn clock(&mut self, time: u64, offset: i64, out: &mut Vec<Record>) {
        let step = offset.saturating_sub(self.offset);
        let known = self.offset != 0;
        self.offset = offset;
        if known && step.saturating_abs() >= CLOCK_JUMP_NS {
            out.push(self.degraded(
                time,
                &Degraded {
                    what: "system clock".into(),
                    why: format!("it was set by {} ms", step / 1_000_000),
                    effect: "records before this one bear the old time".into(),
                },
            ));
        }
    }

    /// Boot time to ns since the epoch.
    fn wall(&self, boot: u64) -> i64 {
        (boot as i64).wrapping_add(self.offset)
    }

    fn health(&self, time: u64, action: Action, outcome: Outcome) -> Record {
        Record::new(self.wall(time), action, outcome)
    }

    fn lost(&self, time: u64, lost: &Lost) -> Record {
        let mut record = self.health(time, Action::SensorEventsLost, Outcome::Failure);
        record.span = Some((self.wall(lost.since), self.wall(time)));
        record.sensor.lost = Some(record::Lost {
            stage: lost.stage.clone(),
            kind: lost.kind.clone(),
            count: lost.count,
            sequence: None,
        });
        record
    }

    fn degraded(&self, time: u64, degraded: &Degraded) -> Record {
        let mut record = self.health(time, Action::SensorDegraded, Outcome::Failure);
        let Degraded { what, why, effect } = degraded.clone();
        record.sensor.degraded = Some(record::Degraded { what, why, effect });
        record
    }
}
