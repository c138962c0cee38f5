//! Records from what the tables know: one function per kind of record, and the parts they share.

use std::{net::IpAddr, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{
    machine::Lineage,
    processes::Process,
    program::Program,
    sessions::{Session, SessionKey},
};
use crate::decode::ssh::fingerprint::community_id;
use crate::event::{
    record::{
        Account, Action, Auditd, Command, Container, ContainerUser, Destination, Endpoint, EntryLeader, EntryMeta,
        IpOnly, Leader, Network, Outcome, Parent, Process as ProcessFields, Record, Related, Ssh, SshSession, Thread,
        Time, User,
    },
    stream::{Exec, Exit, NS_PER_TICK, ProcessId, Status, Task},
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
pub(in crate::correlate) fn session_id(root: &str) -> Arc<str> {
    let hash = Sha256::new().chain_update(b"ssh.session").chain_update(root.as_bytes()).finalize();
    hex::encode(hash.get(..8).unwrap_or_default()).into()
}

pub(in crate::correlate) fn network(ip: IpAddr, direction: &'static str, protocol: Option<&'static str>) -> Network {
    let kind = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    Network { transport: "tcp", protocol, kind, direction, community_id: None }
}

impl Lineage {
    pub(in crate::correlate) fn process_started(&self, time: u64, exec: &Exec, program: &Program) -> Record {
        let mut record = Record::new(self.wall(time), Action::ProcessStarted, Outcome::Success);
        Self::describe_task(&mut record, &exec.task);
        let known = self.processes.get(exec.task.id);
        let mut fields = self.process_fields(exec.task.id, exec.task.parent, known);
        fields.name.clone_from(&program.name);
        fields.title.clone_from(&program.title);
        fields.executable.clone_from(&program.executable);
        fields.args = (!program.args.is_empty()).then(|| program.args.clone());
        fields.args_count = (exec.argc > 0).then_some(exec.argc);
        fields.command_line.clone_from(&program.command_line);
        fields.working_directory.clone_from(&program.working_directory);
        fields.session_leader = exec.task.sid.and_then(|sid| self.processes.by_tgid(sid)).map(|id| self.leader(id));
        fields.thread = exec.thread.map(|id| Thread { id });
        record.process = Some(Box::new(fields));
        self.describe_membership(&mut record, known.and_then(|p| p.session));
        Self::describe_command(&mut record, known.and_then(|p| p.marks.command.as_ref()));
        let sensor = &mut record.sensor;
        sensor.sshd_internal = known.is_some_and(|p| p.server);
        if program.name.as_deref().is_some_and(|name| DELEGATES.contains(&name)) {
            sensor.lineage = Some("delegated");
        }
        sensor.redacted = exec.args.redacted.then(|| vec!["process.args"]);
        sensor.escaped = (!program.escaped.is_empty()).then(|| program.escaped.clone());
        sensor.truncated = (!program.truncated.is_empty()).then(|| program.truncated.clone());
        sensor.original_size = program.truncated.contains(&"process.args").then_some(exec.args.total);
        record
    }

    pub(in crate::correlate) fn process_ended(&self, time: u64, exit: &Exit, process: &Process) -> Record {
        let outcome = if exit.status == Status::Code(0) { Outcome::Success } else { Outcome::Failure };
        let mut record = Record::new(self.wall(time), Action::ProcessEnded, outcome);
        Self::describe_task(&mut record, &exit.task);
        let mut fields = self.process_fields(process.id, exit.task.parent, Some(process));
        fields.name.clone_from(&process.name);
        fields.title.clone_from(&process.title);
        fields.executable.clone_from(&process.executable);
        fields.command_line = process.command_line.as_deref().map(str::to_owned);
        fields.end = Some(Time(self.wall(time)));
        fields.exit_code = Some(exit.status.exit_code());
        if let Status::Signal { number, .. } = exit.status {
            fields.exit_signal = Some(number);
        }
        record.process = Some(Box::new(fields));
        record.duration = Some(time.saturating_sub(process.began));
        record.sensor.sshd_internal = process.server;
        self.describe_membership(&mut record, process.session);
        Self::describe_command(&mut record, process.marks.command.as_ref());
        record
    }

    /// What every record of a session says. `user`: as whom the client logged in, by the protocol.
    pub(in crate::correlate) fn describe_session(&self, record: &mut Record, session: &Session, user: Option<Account>) {
        Self::describe_ssh(record, session);
        // The name that was logged in with, and the id that it got.
        let user = match (user, &session.user) {
            (Some(named), Some(user)) => Some(Account { id: user.id.clone(), ..named }),
            (named, user) => named.or_else(|| user.clone()),
        };
        if let Some((local, remote)) = session.endpoints {
            record.source = Some(Endpoint::of(remote));
            record.destination = Some(Destination {
                ip: Some(local.ip().to_string()),
                port: Some(local.port()),
                bytes: None,
                domain: None,
                user: user.clone(),
            });
            let community_id = Some(community_id(local, remote));
            record.network = Some(Network { community_id, ..network(remote.ip(), "ingress", Some("ssh")) });
            let name = user.as_ref().and_then(|user| user.name.clone());
            let mut ip = vec![remote.ip().to_string(), local.ip().to_string()];
            ip.dedup();
            record.related = Some(Related { ip, user: name.into_iter().collect(), ..Related::default() });
        }
        if let Some(root) = session.root {
            let mut fields = self.process_fields(root, None, self.processes.get(root));
            let process = self.processes.get(root);
            fields.name = session.name.clone().or_else(|| process.and_then(|p| p.name.clone()));
            fields.executable = session.executable.clone().or_else(|| process.and_then(|p| p.executable.clone()));
            record.process = Some(Box::new(fields));
        }
        if user.is_some() || session.loginuid.is_some() {
            let user = user.unwrap_or_default();
            record.user = Some(User { id: user.id, name: user.name, effective: None, audit: session.loginuid.clone() });
        }
        record.auditd = session.audit_session.map(|session| Auditd { session: session.to_string() });
        record.sensor.adopted_by = session.adopted_by;
    }

    fn describe_ssh(record: &mut Record, session: &Session) {
        record.ssh = Some(Ssh {
            role: Some("server"),
            capture: "lineage",
            session: SshSession {
                id: session.id.clone(),
                adopted: session.adopted_by.map(|_| true),
                ..SshSession::default()
            },
            ..Ssh::default()
        });
    }

    /// The SSH command that a process belongs to.
    fn describe_command(record: &mut Record, command: Option<&Arc<str>>) {
        if let (Some(ssh), Some(id)) = (&mut record.ssh, command) {
            ssh.command = Some(Command { id: id.clone(), ..Command::default() });
        }
    }

    /// The session that a process's record belongs to, and where it came from.
    pub(in crate::correlate) fn describe_membership(&self, record: &mut Record, key: Option<SessionKey>) {
        let Some(session) = key.and_then(|key| self.sessions.get_or_remembered(key)) else { return };
        Self::describe_ssh(record, session);
        let Some(process) = &mut record.process else { return };
        if let (Some(root), Some((_, remote))) = (session.root, session.endpoints) {
            let source = IpOnly { ip: remote.ip().to_string() };
            process.entry_leader = Some(EntryLeader {
                pid: root.tgid,
                entity_id: self.processes.entity(root),
                entry_meta: EntryMeta { kind: "sshd", source },
            });
        }
    }

    /// Who a task is.
    pub(in crate::correlate) fn describe_task(record: &mut Record, task: &Task) {
        let account = |id: Option<u32>, name: &Option<Arc<str>>| {
            id.map(|id| Account { id: Some(id.to_string()), name: name.clone() })
        };
        let uid = task.credentials.map(|c| c.uid);
        let euid = task.credentials.map(|c| c.euid);
        record.user = Some(User {
            id: uid.map(|uid| uid.to_string()),
            name: task.names.user.clone(),
            effective: account(euid, &task.names.effective),
            audit: account(task.loginuid, &task.names.audit),
        });
        record.auditd = task.audit_session.map(|session| Auditd { session: session.to_string() });
        let id = task.names.cgroup.as_deref().and_then(container_id).map(str::to_owned);
        let user = task.names.container.as_deref().map(|name| ContainerUser { name: name.into() });
        record.container = (id.is_some() || user.is_some()).then(|| Container { id, user, ..Container::default() });
    }

    /// A process by its id, with what it runs.
    pub(in crate::correlate) fn describe_process(&self, record: &mut Record, id: ProcessId, known: Option<&Process>) {
        let mut fields = self.process_fields(id, None, known);
        fields.name = known.and_then(|process| process.name.clone());
        fields.executable = known.and_then(|process| process.executable.clone());
        record.process = Some(Box::new(fields));
    }

    /// The process that a task is, with what it runs.
    pub(in crate::correlate) fn describe_owner(&self, record: &mut Record, task: &Task, known: Option<&Process>) {
        let mut fields = self.process_fields(task.id, task.parent, known);
        fields.name = known.and_then(|process| process.name.clone());
        fields.executable = known.and_then(|process| process.executable.clone());
        record.process = Some(Box::new(fields));
    }

    fn process_fields(&self, id: ProcessId, parent: Option<ProcessId>, known: Option<&Process>) -> ProcessFields {
        let parent = parent.or_else(|| known.and_then(|process| process.parent));
        ProcessFields {
            pid: id.tgid,
            entity_id: self.processes.entity_of(id, known),
            start: Some(Time(self.wall(known.map_or(id.start.saturating_mul(NS_PER_TICK), |process| process.began)))),
            parent: parent.map(|parent| self.parent(parent, known)),
            ..ProcessFields::default()
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

/// The container that a cgroup path names: 64 hex digits, as docker, containerd, cri-o and podman write them.
pub(in crate::correlate) fn container_id(cgroup: &str) -> Option<&str> {
    cgroup.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next()?;
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    })
}
