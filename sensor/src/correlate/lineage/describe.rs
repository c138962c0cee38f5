//! Subjects, and the findings about processes, from what the tables of lineage know.

use std::{net::SocketAddr, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{
    machine::Lineage,
    processes::Process,
    program::Program,
    sessions::{Session, SessionKey},
};
use crate::{
    decode::ssh::fingerprint::community_id,
    event::{
        ids::{NS_PER_TICK, ProcessId},
        stream::{Exec, Exit, Status, Task},
    },
    finding::{
        self, Account, Capture, CommandId, Container, Destination, Direction, EntryLeader, Field, Finding, FindingKind,
        Flow, Leader, Network, Outcome, Parent, Protocol, Quality, Role, SessionId, Source, Ssh, Subject, Time, User,
        quality,
    },
};

/// Programs whose act continues in another daemon, where lineage cannot follow.
const DELEGATES: &[&str] = &[
    "docker",
    "docker-compose",
    "nerdctl",
    "ctr",
    "crictl",
    "kubectl",
    "systemctl",
    "systemd-run",
    "machinectl",
    "loginctl",
    "busctl",
    "dbus-send",
    "gdbus",
    "at",
    "batch",
    "crontab",
    "tmux",
    "screen",
    "pkexec",
    "lxc",
    "incus",
    "virsh",
];

/// `ssh.session.id`: from the serving process's entity id, so it is the same after a restart of the sensor.
pub(in crate::correlate) fn session_id(root: &str) -> SessionId {
    let hash = Sha256::new().chain_update(b"ssh.session").chain_update(root.as_bytes()).finalize();
    hex::encode(hash.get(..8).unwrap_or_default()).into()
}

/// An end of a flow. Port 0 is no port: the kernel had not chosen one.
pub(in crate::correlate) fn source(address: SocketAddr) -> Source {
    Source { ip: address.ip(), port: Some(address.port()).filter(|port| *port != 0), bytes: None }
}

pub(in crate::correlate) fn destination(address: SocketAddr) -> Destination {
    Destination { ip: Some(address.ip()), port: Some(address.port()), ..Destination::default() }
}

/// A flow over TCP that is SSH.
pub(in crate::correlate) fn ssh_flow(from: SocketAddr, to: SocketAddr, direction: Direction) -> Flow {
    let community_id = Some(community_id(to, from).into());
    let network = Network { direction, protocol: Some(Protocol::Ssh), community_id };
    Flow { source: Some(source(from)), destination: destination(to), network: Some(network) }
}

/// How a process ended.
pub(in crate::correlate) fn exit(status: Status) -> finding::Exit {
    let signal = match status {
        Status::Signal { number, .. } => Some(number),
        Status::Code(_) => None,
    };
    finding::Exit { code: status.exit_code(), signal }
}

impl Lineage {
    /// A time of the kernel (boot ns), as findings have it.
    pub(in crate::correlate) fn time(&self, boot: u64) -> Time {
        Time(self.wall(boot))
    }

    pub(in crate::correlate) fn process_started(&self, time: u64, exec: &Exec, program: &Program) -> Finding {
        let mut finding = Finding::new(self.time(time), Outcome::Success, FindingKind::ProcessStarted);
        let subject = &mut finding.subject;
        Self::describe_task(subject, &exec.task);
        let known = self.processes.get(exec.task.id);
        let mut process = self.process_fields(exec.task.id, exec.task.parent, known);
        process.name.clone_from(&program.name);
        process.title.clone_from(&program.title);
        process.executable.clone_from(&program.executable);
        process.args.clone_from(&program.args);
        process.args_count = (exec.argc > 0).then_some(exec.argc);
        process.command_line.clone_from(&program.command_line);
        process.working_directory.clone_from(&program.working_directory);
        process.session_leader = exec.task.sid.and_then(|sid| self.processes.by_tgid(sid)).map(|id| self.leader(id));
        process.thread = exec.thread;
        subject.process = Some(Box::new(process));
        self.describe_membership(subject, known.and_then(|p| p.session));
        describe_command(subject, known.and_then(|p| p.marks.command.as_ref()));
        let quality = &mut finding.quality;
        quality.sshd_internal = known.is_some_and(|p| p.server);
        if program.name.as_deref().is_some_and(|name| DELEGATES.contains(&name)) {
            quality.lineage = Some(quality::Lineage::Delegated);
        }
        if exec.args.redacted {
            quality.redacted.add(Field::ProcessArgs);
        }
        (quality.escaped, quality.truncated) = (program.escaped, program.truncated);
        quality.original_size = program.truncated.contains(Field::ProcessArgs).then_some(exec.args.total);
        finding
    }

    pub(in crate::correlate) fn process_ended(&self, time: u64, exit: &Exit, process: &Process) -> Finding {
        let outcome = if exit.status == Status::Code(0) { Outcome::Success } else { Outcome::Failure };
        let kind = FindingKind::ProcessEnded(self::exit(exit.status));
        let mut finding = Finding::new(self.time(time), outcome, kind);
        let subject = &mut finding.subject;
        Self::describe_task(subject, &exit.task);
        let mut fields = self.process_fields(process.id, exit.task.parent, Some(process));
        fields.name.clone_from(&process.name);
        fields.title.clone_from(&process.title);
        fields.executable.clone_from(&process.executable);
        fields.command_line.clone_from(&process.command_line);
        subject.process = Some(Box::new(fields));
        self.describe_membership(subject, process.session);
        describe_command(subject, process.marks.command.as_ref());
        finding.duration = Some(time.saturating_sub(process.began));
        finding.quality.sshd_internal = process.server;
        finding
    }

    /// What every finding of a session says. `user`: as whom the client logged in, by the protocol.
    pub(in crate::correlate) fn describe_session(
        &self,
        subject: &mut Subject,
        quality: &mut Quality,
        session: &Session,
        user: Option<Arc<str>>,
    ) {
        describe_ssh(subject, session);
        // The name that was logged in with, and the id that it got.
        let user = match (user, &session.user) {
            (Some(name), own) => Some(Account { id: own.as_ref().and_then(|own| own.id), name: Some(name) }),
            (None, own) => own.clone(),
        };
        if let Some((local, remote)) = session.endpoints {
            let mut flow = ssh_flow(remote, local, Direction::Ingress);
            flow.destination.login.clone_from(&user);
            subject.flow = Some(flow);
        }
        if let Some(root) = session.root {
            let process = self.processes.get(root);
            let mut fields = self.process_fields(root, None, process);
            fields.name = session.name.clone().or_else(|| process.and_then(|p| p.name.clone()));
            fields.executable = session.executable.clone().or_else(|| process.and_then(|p| p.executable.clone()));
            subject.process = Some(Box::new(fields));
        }
        if user.is_some() || session.loginuid.is_some() {
            let real = user.unwrap_or_default();
            subject.user = Some(User { real, effective: None, audit: session.loginuid.clone() });
        }
        subject.audit_session = session.audit_session;
        quality.adopted_by = session.adopted_by;
    }

    /// The session that a process belongs to, and where it came from.
    pub(in crate::correlate) fn describe_membership(&self, subject: &mut Subject, key: Option<SessionKey>) {
        let Some(session) = key.and_then(|key| self.sessions.get_or_remembered(key)) else { return };
        describe_ssh(subject, session);
        let Some(process) = &mut subject.process else { return };
        if let (Some(root), Some((_, remote))) = (session.root, session.endpoints) {
            process.entry_leader =
                Some(EntryLeader { pid: root.tgid, entity_id: self.processes.entity(root), source: remote.ip() });
        }
    }

    /// Who a task is.
    pub(in crate::correlate) fn describe_task(subject: &mut Subject, task: &Task) {
        let account =
            |id: Option<u32>, name: &Option<Arc<str>>| id.map(|id| Account { id: Some(id), name: name.clone() });
        let real = Account { id: task.credentials.map(|c| c.uid), name: task.names.user.clone() };
        subject.user = Some(User {
            real,
            effective: account(task.credentials.map(|c| c.euid), &task.names.effective),
            audit: account(task.loginuid, &task.names.audit),
        });
        subject.audit_session = task.audit_session;
        let id = task.names.cgroup.as_deref().and_then(container_id).map(Into::into);
        let claimed_user = task.names.container.clone();
        subject.container = (id.is_some() || claimed_user.is_some()).then_some(Container { id, claimed_user });
    }

    /// A process by its id, with what it runs.
    pub(in crate::correlate) fn describe_process(&self, subject: &mut Subject, id: ProcessId, known: Option<&Process>) {
        self.describe_with_parent(subject, id, None, known);
    }

    /// The process that a task is, with what it runs.
    pub(in crate::correlate) fn describe_owner(&self, subject: &mut Subject, task: &Task, known: Option<&Process>) {
        self.describe_with_parent(subject, task.id, task.parent, known);
    }

    fn describe_with_parent(
        &self,
        subject: &mut Subject,
        id: ProcessId,
        parent: Option<ProcessId>,
        known: Option<&Process>,
    ) {
        let mut fields = self.process_fields(id, parent, known);
        fields.name = known.and_then(|process| process.name.clone());
        fields.executable = known.and_then(|process| process.executable.clone());
        subject.process = Some(Box::new(fields));
    }

    fn process_fields(&self, id: ProcessId, parent: Option<ProcessId>, known: Option<&Process>) -> finding::Process {
        let parent = parent.or_else(|| known.and_then(|process| process.parent));
        let start = known.map_or(id.start.saturating_mul(NS_PER_TICK), |process| process.began);
        finding::Process {
            start: Some(self.time(start)),
            parent: parent.map(|parent| self.parent(parent, known)),
            ..finding::Process::new(id.tgid, self.processes.entity_of(id, known))
        }
    }

    fn parent(&self, id: ProcessId, child: Option<&Process>) -> Parent {
        let alive = self.processes.get(id);
        // What it was when it forked, if it is gone; not if the child was given to another parent.
        let then = child.filter(|child| child.parent == Some(id));
        Parent {
            pid: id.tgid,
            entity_id: self.processes.entity_of(id, alive),
            name: alive.map_or_else(|| then.and_then(|c| c.parent_name.clone()), |p| p.name.clone()),
            executable: alive.map_or_else(|| then.and_then(|c| c.parent_executable.clone()), |p| p.executable.clone()),
        }
    }

    fn leader(&self, id: ProcessId) -> Leader {
        Leader { pid: id.tgid, entity_id: self.processes.entity(id) }
    }
}

/// A session as lineage knows it; what the protocol knows comes on top.
fn describe_ssh(subject: &mut Subject, session: &Session) {
    subject.ssh = Some(Ssh {
        role: Some(Role::Server),
        capture: Some(Capture::Lineage),
        session: Some(finding::Session { id: session.id.clone(), parent: None, adopted: session.adopted_by.is_some() }),
        ..Ssh::default()
    });
}

/// The SSH command that a process belongs to.
fn describe_command(subject: &mut Subject, command: Option<&CommandId>) {
    if let (Some(ssh), Some(id)) = (&mut subject.ssh, command) {
        ssh.command = Some(id.clone());
    }
}

/// The container that a cgroup path names: 64 hex digits, as docker, containerd, cri-o and podman write them.
pub(in crate::correlate) fn container_id(cgroup: &str) -> Option<&str> {
    cgroup.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next()?;
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    })
}
