//! The state of lineage, and what others may ask of it.

use super::{
    candidates::Candidates,
    processes::{Process, Processes},
    sessions::{Session, SessionKey, Sessions},
};
use crate::{
    correlate::{clock::Clock, scope::Scope},
    event::stream::{Limits, ProcessId, ProcessSnapshot},
    finding::{CommandId, DeployId, EntityId},
};

pub(in crate::correlate) struct Lineage {
    pub(super) scope: Scope,
    pub(super) clock: Clock,
    boot: String,
    pub(super) processes: Processes,
    pub(super) sessions: Sessions,
    /// Who may turn out to be an SSH server.
    pub(super) candidates: Candidates,
    /// Sessions that may be forgotten when their facts are handled.
    pub(super) over: Vec<SessionKey>,
    /// Found at start without a living parent, until all processes are found.
    pub(super) orphans: Vec<ProcessSnapshot>,
}

impl Lineage {
    pub(in crate::correlate) fn new(limits: Limits, scope: Scope) -> Self {
        Self {
            scope,
            clock: Clock::default(),
            boot: String::new(),
            processes: Processes::new(limits.processes),
            sessions: Sessions::new(limits.sessions),
            candidates: Candidates::default(),
            over: Vec::new(),
            orphans: Vec::new(),
        }
    }

    pub(in crate::correlate) fn set_boot(&mut self, boot: &str) {
        boot.clone_into(&mut self.boot);
        self.processes.set_boot(boot);
    }

    /// Sets the wall clock; returns by how much it was moved (ns).
    pub(in crate::correlate) fn set_clock(&mut self, offset: i64) -> Option<i64> {
        self.clock.set(offset)
    }

    pub(in crate::correlate) fn reload(&mut self, all: bool, limits: Limits) {
        self.scope.all = all;
        self.processes.set_limit(limits.processes);
        self.sessions.set_limit(limits.sessions);
    }

    /// A library of the process is read since then; of what its connections encrypted before, nothing is.
    pub(in crate::correlate) fn library_probed(&mut self, id: ProcessId, since: u64) {
        if let Some(process) = self.processes.get_mut(id) {
            process.readable_since = Some(since);
        }
    }

    /// The start of the session is recorded: who logged in needs no guess any more.
    pub(in crate::correlate) fn announced(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.announced = true;
        }
    }

    /// The process belongs to this SSH command, and what descends from it.
    pub(in crate::correlate) fn mark_command(&mut self, id: ProcessId, command: CommandId) {
        if let Some(process) = self.processes.get_mut(id) {
            process.marks.command = Some(command);
        }
    }

    /// The process belongs to this deploy, and what descends from it.
    pub(in crate::correlate) fn mark_deploy(&mut self, id: ProcessId, deploy: DeployId) {
        if let Some(process) = self.processes.get_mut(id) {
            process.marks.deploy = Some(deploy);
        }
    }

    /// (kind, count) of what the limits refused since the last call.
    pub(in crate::correlate) fn take_refused(&mut self) -> [(&'static str, u64); 2] {
        [("process-evicted", self.processes.take_evicted()), ("session-refused", self.sessions.take_refused())]
    }
}

/// The view: nothing here changes anything.
impl Lineage {
    /// Boot time (ns) to ns since the epoch.
    pub(in crate::correlate) fn wall(&self, boot: u64) -> i64 {
        self.clock.wall(boot)
    }

    pub(in crate::correlate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The machine's boot id.
    pub(in crate::correlate) fn boot(&self) -> &str {
        &self.boot
    }

    pub(in crate::correlate) fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get(id)
    }

    /// The process, also if it ended a moment ago.
    pub(in crate::correlate) fn process_or_remembered(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get_or_remembered(id)
    }

    /// The process with this tgid that is, or that ended last.
    pub(in crate::correlate) fn by_tgid_or_remembered(&self, tgid: u32) -> Option<&Process> {
        self.processes.by_tgid_or_remembered(tgid)
    }

    pub(in crate::correlate) fn entity(&self, id: ProcessId) -> EntityId {
        self.processes.entity(id)
    }

    /// The same, of a process at hand: it may have left the table.
    pub(in crate::correlate) fn entity_of(&self, id: ProcessId, known: Option<&Process>) -> EntityId {
        self.processes.entity_of(id, known)
    }

    pub(in crate::correlate) fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key)
    }

    /// The session, also if it was over a moment ago.
    pub(in crate::correlate) fn session_or_remembered(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get_or_remembered(key)
    }

    /// The session that is about this socket's connection.
    pub(in crate::correlate) fn session_of(&self, socket: u64) -> Option<(SessionKey, &Session)> {
        let key = self.sessions.by_socket(socket)?;
        Some((key, self.sessions.get(key)?))
    }

    /// (processes, sessions) in the tables.
    pub(in crate::correlate) fn sizes(&self) -> (usize, usize) {
        (self.processes.len(), self.sessions.len())
    }
}
