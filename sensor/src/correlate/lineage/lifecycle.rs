//! fork, exec and exit: lineage, and the sessions that grow from it.

use super::{
    facts::LineageFact,
    machine::Lineage,
    processes::Process,
    program::Program,
    sessions::{Session, SessionKey},
};
use crate::{
    event::stream::{Exec, Exit, Fork, ProcessId, Role, Served, Status, Task, TcpChange, TcpState},
    finding::Account,
};

/// What a process was before an exec.
#[derive(Clone, Copy)]
struct Before {
    /// It ran a server's program.
    server: bool,
    /// Its acts became records.
    emitted: bool,
}

impl Lineage {
    pub(in crate::correlate) fn fork(&mut self, time: u64, fork: &Fork, facts: &mut Vec<LineageFact>) {
        if self.processes.get(fork.task.id).is_some() {
            return; // found in /proc, forked after the probes were attached
        }
        let maker = self.processes.get(fork.creator).map(|p| (p.session, p.server));
        self.processes.add(&fork.task, Some(fork.creator)).began = time;
        let Some((session, server)) = maker else { return };
        if let Some(key) = session {
            self.joined(key, server);
            facts.push(LineageFact::Acted { session: key });
        }
        // A listening server's child with a connection serves it. A server process of a session can listen too (port
        // forwarding): the connection that its children inherit is the session's own.
        if let Some(served) = fork.served {
            match server {
                true => self.serve(time, fork.task.id, served, facts),
                false => self.may_serve(fork.task.id, served),
            }
        }
        if let Some(session) = session.and_then(|key| self.sessions.get_mut(key))
            && session.is_before_login()
            && session.net_child.is_none()
            && session.root == Some(fork.creator)
        {
            session.net_child = Some(fork.task.id);
        }
    }

    /// An exec, before anybody has looked at what it is to a deploy: the process is in the table, and in its session.
    pub(in crate::correlate) fn executes(&mut self, time: u64, exec: &Exec, facts: &mut Vec<LineageFact>) {
        let id = exec.task.id;
        if self.processes.get(id).is_none() {
            // Its fork was lost, or it was evicted: its parent still says where it belongs.
            let process = self.processes.add(&exec.task, exec.task.parent);
            if let (Some(key), server) = (process.session, process.server) {
                self.joined(key, server);
            }
        }
        if let Some(served) = exec.served {
            match (self.runs_server(exec), exec.role) {
                (true, _) => self.serve(time, id, served, facts),
                (false, None) => self.may_serve(id, served),
                (false, Some(_)) => self.serves_no_ssh(served),
            }
        }
    }

    /// Does the process run a server's program now?
    fn runs_server(&self, exec: &Exec) -> bool {
        match (exec.role, exec.served) {
            // It serves a connection and was gone when its program was to be examined: it is what it was. A server
            // executes itself for each connection, and a broken peer ends that within milliseconds.
            (None, Some(_)) => self.processes.get(exec.task.id).is_some_and(|process| process.server),
            (role, _) => role.is_some_and(Role::is_server),
        }
    }

    /// The same exec, with its text, when it is known whether it belongs to a deploy. Returns whether the acts of the
    /// process become records.
    pub(in crate::correlate) fn executed(
        &mut self,
        time: u64,
        exec: &Exec,
        program: &Program,
        facts: &mut Vec<LineageFact>,
    ) -> Option<bool> {
        let id = exec.task.id;
        let server = self.runs_server(exec);
        let process = self.processes.get_mut(id)?;
        let (was_server, was_emitted) = (process.server, process.emitted);
        process.name.clone_from(&program.name);
        process.executable.clone_from(&program.executable);
        process.title.clone_from(&program.title);
        process.command_line.clone_from(&program.command_line);
        process.application.clone_from(&program.application);
        process.server = server;
        process.client = exec.role == Some(Role::Client);
        process.user = exec.task.credentials.map(|credentials| (credentials.uid, exec.task.names.user.clone()));
        process.watched |= self.scope.pids.contains(&id.tgid);
        let deploy = process.marks.deploy.is_some();
        process.emitted = self.scope.in_scope(process.session.is_some(), deploy, process.watched);
        let (session, emitted) = (process.session, process.emitted);
        if let Some(session) = session.and_then(|key| self.sessions.get_mut(key))
            && session.root == Some(id)
        {
            session.name.clone_from(&program.name);
            session.executable.clone_from(&program.executable);
        }
        let before = Before { server: was_server, emitted: was_emitted };
        if let Some(key) = session {
            self.executed_in(key, time, exec, server, before, facts);
        }
        Some(emitted)
    }

    /// A process of a session executed a program.
    fn executed_in(
        &mut self,
        key: SessionKey,
        time: u64,
        exec: &Exec,
        server: bool,
        before: Before,
        facts: &mut Vec<LineageFact>,
    ) {
        let leads = exec.task.sid == Some(exec.task.id.tgid);
        facts.push(LineageFact::Acted { session: key });
        let mut is_command = false;
        let Some(session) = self.sessions.get_mut(key) else { return };
        match (before.server, server) {
            (true, false) => {
                session.servers -= session.servers.min(1);
                session.others += 1;
            }
            (false, true) => {
                session.others -= session.others.min(1);
                session.servers += 1;
            }
            _ => {}
        }
        if server {
            return;
        }
        // Counted once: the first exec of a process, or the one by which it stops being the server's.
        if !before.emitted || before.server {
            session.processes += 1;
        }
        note_audit(session, &exec.task);
        // A server's first child that runs a command is no net child: this server does not separate privileges
        // (dropbear).
        if session.net_child == Some(exec.task.id) {
            session.net_child = None;
            session.unseparated = true;
        }
        // sshd makes each command the leader of a POSIX session of its own; helpers of PAM and AuthorizedKeysCommand
        // are not.
        if before.server && (leads || session.unseparated) {
            session.commands += 1;
            is_command = true;
            session.logs_in(key, time, facts);
            if session.user.is_none() {
                session.user = account(&exec.task);
            }
        }
        if session.logged_in.is_some() && !session.announced && !session.over {
            // PAM's helpers run as root before the command, but the login has set who it is.
            if session.user.is_none() {
                session.user.clone_from(&session.loginuid);
            }
            if session.user.is_some() {
                facts.push(LineageFact::Named { session: key });
            }
        }
        if is_command {
            facts.push(LineageFact::CommandRan { session: key, process: exec.task.id });
        }
    }

    /// The process is gone. It is remembered for a moment after `left`.
    pub(in crate::correlate) fn exit(&mut self, exit: &Exit) -> Option<Process> {
        // None: the second of two last threads, or a process that was never known.
        self.processes.remove(exit.task.id)
    }

    /// What the end of a process means for its session.
    pub(in crate::correlate) fn left(
        &mut self,
        time: u64,
        exit: &Exit,
        process: Process,
        facts: &mut Vec<LineageFact>,
    ) {
        if let Some(key) = process.session {
            self.left_session(key, time, exit, &process, facts);
        }
        self.processes.remember(process);
    }

    fn left_session(
        &mut self,
        key: SessionKey,
        time: u64,
        exit: &Exit,
        process: &Process,
        facts: &mut Vec<LineageFact>,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        note_audit(session, &exit.task);
        if session.net_child == Some(process.id) {
            session.net_child = None;
            if exit.status == Status::Code(0) {
                session.logs_in(key, time, facts);
            }
        } else if process.server && session.root != Some(process.id) && session.user.is_none() {
            // The user's own server process: a session without commands (forwarding only).
            session.user = account(&exit.task).filter(|_| !session.is_before_login());
        }
        self.unjoined(key, process.server);
        if process.server
            && let Some(session) = self.sessions.get_mut(key)
            && session.servers == 0
        {
            session.closing = Some(time);
            // A connection that is not tracked has no end of its own.
            if session.socket.is_none() {
                self.close(key, time, None, facts);
            }
        }
        self.over.push(key);
    }

    /// The process serves this connection from now on: a new session, unless it is its session's own connection.
    pub(super) fn serve(&mut self, time: u64, id: ProcessId, served: Served, facts: &mut Vec<LineageFact>) {
        let Some(process) = self.processes.get(id) else { return };
        let (old, server) = (process.session, process.server);
        if let Some(session) = old.and_then(|key| self.sessions.get(key))
            && session.serves(&served)
        {
            return;
        }
        let entity = self.processes.entity(id);
        let Some(key) = self.sessions.open(super::session_id(&entity), Some(id), Some(served), time) else {
            return;
        };
        if let Some(old) = old {
            self.unjoined(old, server);
            self.forget_if_over(old, facts);
        }
        if let Some(process) = self.processes.get_mut(id) {
            process.session = Some(key);
        }
        self.joined(key, server);
    }

    pub(super) fn joined(&mut self, key: SessionKey, server: bool) {
        if let Some(session) = self.sessions.get_mut(key) {
            *(if server { &mut session.servers } else { &mut session.others }) += 1;
        }
    }

    fn unjoined(&mut self, key: SessionKey, server: bool) {
        if let Some(session) = self.sessions.get_mut(key) {
            let count = if server { &mut session.servers } else { &mut session.others };
            *count = count.saturating_sub(1);
        }
    }

    /// Is the socket that of a session's connection? Then its end is the session's.
    pub(in crate::correlate) fn tcp(&mut self, time: u64, change: &TcpChange, facts: &mut Vec<LineageFact>) -> bool {
        let Some(key) = self.sessions.by_socket(change.socket) else { return false };
        change.new != TcpState::Close || self.close(key, time, Some((change.bytes_in, change.bytes_out)), facts)
    }

    /// Sessions whose connection should have closed since before `time`.
    pub(in crate::correlate) fn tick(&mut self, time: u64, facts: &mut Vec<LineageFact>) {
        for key in self.sessions.overdue(time) {
            let since = self.sessions.get(key).and_then(|session| session.closing);
            self.close(key, since.unwrap_or(time), None, facts);
        }
    }

    /// The connection is over, if it was not. It stays in the tables until that is handled (`forget_over`).
    fn close(&mut self, key: SessionKey, at: u64, bytes: Option<(u64, u64)>, facts: &mut Vec<LineageFact>) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if std::mem::replace(&mut session.over, true) {
            return false;
        }
        facts.push(LineageFact::Closed { session: key, at, bytes });
        self.over.push(key);
        true
    }

    /// Forgets sessions that ended and have no process: their ends were handled by now.
    pub(in crate::correlate) fn forget_over(&mut self, facts: &mut Vec<LineageFact>) {
        for key in std::mem::take(&mut self.over) {
            self.forget_if_over(key, facts);
        }
    }

    fn forget_if_over(&mut self, key: SessionKey, facts: &mut Vec<LineageFact>) {
        facts.extend(self.sessions.forget_if_over(key).map(|session| LineageFact::Forgotten { session }));
    }
}

impl Session {
    /// As far as lineage shows.
    pub(super) fn is_before_login(&self) -> bool {
        self.logged_in.is_none() && !self.announced && !self.over
    }

    /// Somebody has logged in: a fact, the first time.
    pub(super) fn logs_in(&mut self, key: SessionKey, since: u64, facts: &mut Vec<LineageFact>) {
        if self.logged_in.is_none() && !self.over {
            self.logged_in = Some(since);
            facts.push(LineageFact::LoggedIn { session: key, since });
        }
    }
}

/// Real uid and its name.
pub(super) fn account(task: &Task) -> Option<Account> {
    let credentials = task.credentials?;
    Some(Account { id: Some(credentials.uid), name: task.names.user.clone() })
}

/// Keeps the audit identity of the first task that has one.
pub(super) fn note_audit(session: &mut Session, task: &Task) {
    if session.audit_session.is_none() {
        session.audit_session = task.audit_session;
    }
    if session.loginuid.is_none() {
        session.loginuid = task.loginuid.map(|id| Account { id: Some(id), name: task.names.audit.clone() });
    }
}
