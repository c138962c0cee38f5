//! The three machines, and the order in which an event goes through them.

use super::{
    config_files,
    deploys::{Deploys, Of},
    health,
    lineage::{Lineage, LineageFact, Program, SessionKey},
    outlet::{Outlet, Unconfirmed},
    scope::Scope,
    ssh::Ssh,
};
use crate::{
    event::stream::{
        Counted, Degraded, Drains, Event, EventKind, Exec, Exit, Limits, Lost, NS_PER_TICK, ProcessSnapshot,
    },
    finding::{Finding, FindingKind, Outcome, health::SensorStopped},
};

/// How long a session without any command waits before its start is recorded without a user.
const START_WAIT_NS: u64 = 2_000_000_000;

/// How long the end of a connection may come after the end of its last server process: the peer may be gone without a
/// word.
const CLOSE_WAIT_NS: u64 = 1_000_000_000;

/// A step of the wall clock that a reader of the log must know of.
const CLOCK_JUMP_NS: i64 = 1_000_000_000;

/// A loss that is an upper bound of what may have been lost, not a loss that is known.
const SKIPPED: &str = ": skipped by the kernel";

pub struct Correlate {
    lineage: Lineage,
    ssh: Ssh,
    deploys: Deploys,
    unconfirmed: Unconfirmed,
    /// Facts of lineage on their way; empty between events.
    facts: Vec<LineageFact>,
    /// Sessions whose start was recorded; empty between events.
    announced: Vec<SessionKey>,
    /// Boot time of the first event.
    began: u64,
    /// Time of the event at hand.
    now: u64,
    /// How the ring was drained, at the end.
    drains: Option<Drains>,
}

/// The machine of SSH, and what is below it.
macro_rules! ssh {
    ($self:ident, $out:ident, $method:ident ( $($argument:expr),* )) => {{
        let mut outlet = Outlet {
            lineage: &$self.lineage,
            deploys: &mut $self.deploys,
            unconfirmed: &mut $self.unconfirmed,
            out: $out,
            announced: &mut $self.announced,
            now: $self.now,
        };
        let answer = $self.ssh.$method($($argument,)* &mut outlet);
        for session in $self.announced.drain(..) {
            $self.lineage.announced(session);
        }
        answer
    }};
}

impl Correlate {
    pub fn new(limits: Limits, scope: Scope) -> Self {
        Self {
            lineage: Lineage::new(limits, scope),
            ssh: Ssh::new(limits),
            deploys: Deploys::new(),
            unconfirmed: Unconfirmed::default(),
            facts: Vec::new(),
            announced: Vec::new(),
            began: 0,
            now: 0,
            drains: None,
        }
    }

    /// Takes one event; appends the findings that it completes.
    pub fn observe(&mut self, event: &Event, out: &mut Vec<Finding>) {
        let time = event.time;
        self.now = time;
        match &event.what {
            EventKind::Host(host) => {
                self.lineage.set_boot(&host.boot);
                self.began = time;
            }
            EventKind::Clock { offset } => self.clock(time, *offset, out),
            EventKind::ProcessSnapshot(found) => self.found(time, found, out),
            EventKind::SnapshotComplete => {
                self.lineage.snapshot_complete(time, &mut self.facts);
                self.hand_on(out);
                ssh!(self, out, start_sessions(u64::MAX));
            }
            EventKind::Fork(fork) => {
                self.lineage.fork(time, fork, &mut self.facts);
                self.hand_on(out);
            }
            EventKind::Exec(exec) => self.exec(time, exec, out),
            EventKind::Exit(exit) => self.exit(time, exit, out),
            EventKind::Connect(connect) => ssh!(self, out, connect(time, connect)),
            EventKind::Tcp(change) => {
                let of_session = self.lineage.tcp(time, change, &mut self.facts);
                self.hand_on(out);
                if !of_session {
                    ssh!(self, out, tcp_changed(time, change));
                }
            }
            EventKind::Lost(lost) => {
                if matches!(lost.stage.as_str(), "kernel" | "queue" | "decode") && !lost.kind.ends_with(SKIPPED) {
                    self.deploys.missed();
                }
                out.push(self.lost(time, lost));
            }
            EventKind::Degraded(degraded) => out.push(health::degraded(self.lineage.time(time), degraded)),
            EventKind::Probes(probes) => {
                out.push(self.health(time, FindingKind::SensorStarted(probes.clone())));
            }
            EventKind::Reloaded { all, limits } => {
                self.lineage.reload(*all, *limits);
                self.ssh.set_limits(*limits);
                out.push(self.health(time, FindingKind::SensorConfigReloaded));
            }
            EventKind::Tick => self.tick(time, out),
            EventKind::Stop(programs) => self.stop(time, programs, out),
            EventKind::Ssh(packet) => {
                self.lineage.identified(time, packet, &mut self.facts);
                self.hand_on(out);
                ssh!(self, out, packet(time, packet));
            }
            EventKind::SshOwner(bound) => self.ssh.bound(time, bound),
            EventKind::SshAmbiguous(bound) => self.ssh.ambiguous(time, bound),
            EventKind::SshTunnelled(tunnelled) => self.ssh.tunnelled(time, tunnelled, &self.lineage),
            EventKind::ConfigFile(file) => {
                out.extend(config_files::finding(time, file, &self.lineage, &self.ssh, &self.deploys));
            }
            EventKind::KnownHosts(known) => ssh!(self, out, known_hosts(known)),
            EventKind::Labels(labels) => self.ssh.set_labels(labels),
            EventKind::DeployTools(own) => self.deploys.set_tools(own),
            EventKind::Deploy(facts) => self.deploys.note(facts),
            EventKind::LibraryProbed(process, since) => self.lineage.library_probed(*process, *since),
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
        let ((processes, sessions), (connections, _)) = (self.lineage.sizes(), self.ssh.sizes());
        (processes, sessions, connections)
    }

    /// SSH connections that are followed.
    pub fn ssh_connections(&self) -> usize {
        self.ssh.sizes().1
    }

    #[cfg(test)]
    pub(super) fn deploys_running(&self) -> usize {
        self.deploys.len()
    }

    /// Hands the facts of lineage to the machine of SSH, in their order.
    fn hand_on(&mut self, out: &mut Vec<Finding>) {
        while !self.facts.is_empty() {
            let mut facts = std::mem::take(&mut self.facts);
            for fact in facts.drain(..) {
                if let Some((process, command)) = ssh!(self, out, lineage_fact(fact)) {
                    self.lineage.mark_command(process, command);
                }
            }
            self.facts = facts;
            self.lineage.forget_over(&mut self.facts);
        }
    }

    fn found(&mut self, time: u64, found: &ProcessSnapshot, out: &mut Vec<Finding>) {
        self.lineage.found(time, found, &mut self.facts);
        self.hand_on(out);
        let id = found.task.id;
        if !self.lineage.process(id).is_some_and(|process| self.deploys.may_be(process, found)) {
            return;
        }
        let exec = found.as_exec(self.deploys.folder_of(id));
        let (mark, beginning) = self.deploys.begins(&exec, &self.lineage);
        if let Some(deploy) = mark {
            self.lineage.mark_deploy(id, deploy);
        }
        if self.lineage.process(id).is_none_or(|process| process.marks.deploy.is_none()) {
            return;
        }
        let program = self.lineage.program(&exec);
        self.lineage.found_in_deploy(id, &program);
        let began = id.start.saturating_mul(NS_PER_TICK);
        match beginning {
            Some(beginning) => {
                let about = self.process_started(began, &exec, &program);
                out.push(self.deploys.started(began, &exec, about, beginning.found(), &self.lineage));
            }
            None => self.child(began, &exec, &program),
        }
    }

    fn exec(&mut self, time: u64, exec: &Exec, out: &mut Vec<Finding>) {
        let id = exec.task.id;
        self.lineage.executes(time, exec, &mut self.facts);
        self.hand_on(out);
        let (mark, beginning) = self.deploys.begins(exec, &self.lineage);
        if let Some(deploy) = mark {
            self.lineage.mark_deploy(id, deploy);
        }
        let program = self.lineage.program(exec);
        let Some(emitted) = self.lineage.executed(time, exec, &program, &mut self.facts) else { return };
        self.hand_on(out);
        if let Some(beginning) = beginning {
            let about = self.process_started(time, exec, &program);
            out.push(self.deploys.started(time, exec, about, beginning, &self.lineage));
        }
        if emitted {
            out.push(self.process_started(time, exec, &program));
        }
        self.child(time, exec, &program);
    }

    fn process_started(&self, time: u64, exec: &Exec, program: &Program) -> Finding {
        process_started(time, exec, program, &self.lineage, &self.ssh, &self.deploys)
    }

    /// A process below a deploy may be a step of it.
    fn child(&mut self, time: u64, exec: &Exec, program: &Program) {
        let (lineage, ssh, deploys) = (&self.lineage, &self.ssh, &mut self.deploys);
        let line = program.command_line.as_deref();
        deploys.child(time, exec, line, |deploys| process_started(time, exec, program, lineage, ssh, deploys), lineage);
    }

    fn exit(&mut self, time: u64, exit: &Exit, out: &mut Vec<Finding>) {
        self.ssh.exited(time, exit.task.id, &self.lineage);
        let Some(process) = self.lineage.exit(exit) else { return };
        if process.emitted {
            let mut finding = self.lineage.process_ended(time, exit, &process);
            self.ssh.describe_membership(&mut finding.subject, process.session);
            self.deploys.label(Of::Process(&process), &mut finding.subject);
            out.push(finding);
        }
        self.deploys.exited(time, exit, &process, &self.lineage, out);
        self.lineage.left(time, exit, process, &mut self.facts);
        self.hand_on(out);
        // The last process of a session that was over.
        self.lineage.forget_over(&mut self.facts);
        self.hand_on(out);
    }

    fn tick(&mut self, time: u64, out: &mut Vec<Finding>) {
        ssh!(self, out, start_sessions(time.saturating_sub(START_WAIT_NS)));
        self.lineage.tick(time.saturating_sub(CLOSE_WAIT_NS), &mut self.facts);
        self.hand_on(out);
        ssh!(self, out, tcp_tick(time));
        self.unconfirmed.tick(time, out);
        ssh!(self, out, tick(time));
        self.deploys.tick(time, &self.lineage, out);
        self.refusals(time, out);
    }

    fn stop(&mut self, time: u64, programs: &[Counted], out: &mut Vec<Finding>) {
        self.tick(u64::MAX, out);
        self.refusals(time, out);
        let stopped = SensorStopped { programs: programs.to_vec(), drain: self.drains, records: None };
        out.push(self.health(time, FindingKind::SensorStopped(Box::new(stopped))));
    }

    /// What the limits refused since the last time.
    fn refusals(&mut self, time: u64, out: &mut Vec<Finding>) {
        let [evicted, session] = self.lineage.take_refused();
        let ssh = self.ssh.take_refused();
        for (kind, count) in [evicted, session].into_iter().chain(ssh).chain(self.deploys.take_refused()) {
            if count > 0 {
                let lost = Lost { stage: "correlate".into(), kind: kind.into(), count, since: self.began };
                let time = if time == u64::MAX { self.began } else { time };
                out.push(self.lost(time, &lost));
            }
        }
    }

    fn clock(&mut self, time: u64, offset: i64, out: &mut Vec<Finding>) {
        let Some(step) = self.lineage.set_clock(offset).filter(|step| step.saturating_abs() >= CLOCK_JUMP_NS) else {
            return;
        };
        let degraded = Degraded {
            what: "system clock".into(),
            why: format!("it was set by {} ms", step / 1_000_000),
            effect: "records before this one bear the old time".into(),
        };
        out.push(health::degraded(self.lineage.time(time), &degraded));
    }

    fn health(&self, time: u64, kind: FindingKind) -> Finding {
        Finding::new(self.lineage.time(time), Outcome::Success, kind)
    }

    fn lost(&self, time: u64, lost: &Lost) -> Finding {
        health::lost(self.lineage.time(lost.since), self.lineage.time(time), lost)
    }
}

/// `process-started`, with what each machine says of it.
fn process_started(
    time: u64,
    exec: &Exec,
    program: &Program,
    lineage: &Lineage,
    ssh: &Ssh,
    deploys: &Deploys,
) -> Finding {
    let mut finding = lineage.process_started(time, exec, program);
    if let Some(process) = lineage.process(exec.task.id) {
        ssh.describe_membership(&mut finding.subject, process.session);
        deploys.label(Of::Process(process), &mut finding.subject);
    }
    finding
}
