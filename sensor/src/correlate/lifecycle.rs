//! fork, exec and exit: lineage, and the sessions that grow from it.

use super::{Correlate, processes::Process, sessions::Phase};
use crate::event::{
    record::{Account, Action, Outcome, Record},
    stream::{Exec, Exit, Fork, ProcessId, Role, Served, Status, Task},
};

impl Correlate {
    pub(super) fn fork(&mut self, time: u64, fork: &Fork, out: &mut Vec<Record>) {
        if self.processes.get(fork.task.id).is_some() {
            return; // found in /proc, forked after the probes were attached
        }
        let maker = self.processes.get(fork.creator).map(|p| (p.session, p.server));
        self.processes.add(&fork.task, Some(fork.creator)).began = time;
        let Some((session, server)) = maker else { return };
        if let Some(key) = session {
            self.joined(key, server);
            self.confirm_held(key, out);
        }
        // A listening server's child with a connection serves it. A server process of a session can listen too (port
        // forwarding): the connection that its children inherit is the session's own.
        if let Some(served) = fork.served {
            match server {
                true => self.serve(time, fork.task.id, served),
                false => self.may_serve(fork.task.id, served),
            }
        }
        if let Some(key) = session
            && let Some(session) = self.sessions.get_mut(key)
            && session.phase == Phase::Connected
            && session.net_child.is_none()
            && session.root == Some(fork.creator)
        {
            session.net_child = Some(fork.task.id);
        }
    }

    pub(super) fn exec(&mut self, time: u64, exec: &Exec, out: &mut Vec<Record>) {
        let id = exec.task.id;
        if self.processes.get(id).is_none() {
            // Its fork was lost, or it was evicted: its parent still tells where it belongs.
            let process = self.processes.add(&exec.task, exec.task.parent);
            if let (Some(key), server) = (process.session, process.server) {
                self.joined(key, server);
            }
        }
        let server = match (exec.role, exec.served) {
            // It serves a connection and was gone when its program was to be looked at: it is what it was. A server
            // executes itself for each connection, and a broken peer ends that within milliseconds.
            (None, Some(_)) => self.processes.get(id).is_some_and(|process| process.server),
            (role, _) => role.is_some_and(Role::is_server),
        };
        if let Some(served) = exec.served {
            match (server, exec.role) {
                (true, _) => self.serve(time, id, served),
                (false, None) => self.may_serve(id, served),
                (false, Some(_)) => self.serves_no_ssh(served),
            }
        }
        let beginning = self.deploy_begins(exec);
        let program = self.program(exec);
        let Some(process) = self.processes.get_mut(id) else { return };
        let (was_server, was_emitted) = (process.server, process.emitted);
        process.name.clone_from(&program.name);
        process.executable.clone_from(&program.executable);
        process.title.clone_from(&program.title);
        process.command_line = program.command_line.clone().map(Into::into);
        process.application.clone_from(&program.application);
        process.server = server;
        process.user = exec.task.credentials.map(|credentials| (credentials.uid, exec.task.names.user.clone()));
        process.watched |= self.scope.pids.contains(&id.tgid);
        process.emitted = self.scope.in_scope(process.session, process.deploy.is_some(), process.watched);
        let (session, emitted) = (process.session, process.emitted);
        if let Some(session) = session.and_then(|key| self.sessions.get_mut(key))
            && session.root == Some(id)
        {
            session.name.clone_from(&program.name);
            session.executable.clone_from(&program.executable);
        }
        if let Some(key) = session {
            self.executed(key, time, exec, was_server, server, was_emitted, out);
        }
        if let Some(beginning) = beginning {
            self.deploy_started(time, exec, &program, beginning, out);
        }
        if emitted {
            out.push(self.process_started(time, exec, &program));
        }
        self.deploy_child(time, exec, &program);
    }

    /// A process of a session executed a program.
    #[allow(clippy::too_many_arguments, reason = "one call, every argument another fact")]
    fn executed(
        &mut self,
        key: u64,
        time: u64,
        exec: &Exec,
        was_server: bool,
        server: bool,
        was_emitted: bool,
        out: &mut Vec<Record>,
    ) {
        let leads = exec.task.sid == Some(exec.task.id.tgid);
        self.confirm_held(key, out);
        let mut is_command = false;
        let Some(session) = self.sessions.get_mut(key) else { return };
        match (was_server, server) {
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
        if !was_emitted || was_server {
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
        if was_server && (leads || session.unseparated) {
            session.commands += 1;
            is_command = true;
            if session.phase == Phase::Connected {
                session.phase = Phase::Authenticated { since: time };
            }
            if session.user.is_none() {
                session.user = account(&exec.task);
            }
        }
        let starts = matches!(session.phase, Phase::Authenticated { .. });
        if starts {
            // PAM's helpers run as root before the command, but the login has set who it is.
            if session.user.is_none() {
                session.user.clone_from(&session.loginuid);
            }
            if session.user.is_some() {
                self.start_session(key, out);
            }
        }
        if is_command {
            let command = self.command_of(key, exec, out);
            if let Some(process) = self.processes.get_mut(exec.task.id).filter(|_| command.is_some()) {
                process.command = command;
            }
        }
    }

    /// Somebody logged in, as the protocol says.
    pub(super) fn authenticated(&mut self, key: u64, time: u64) {
        if let Some(session) = self.sessions.get_mut(key)
            && session.phase == Phase::Connected
        {
            session.phase = Phase::Authenticated { since: time };
        }
    }

    /// A session's processes act on what its connection said.
    fn confirm_held(&mut self, key: u64, out: &mut Vec<Record>) {
        let socket = self.sessions.get(key).and_then(|session| session.socket);
        self.confirm(socket, out);
    }

    pub(super) fn exit(&mut self, time: u64, exit: &Exit, out: &mut Vec<Record>) {
        // The second of two last threads, or a process that was never known.
        self.ssh_exited(time, exit.task.id);
        let Some(process) = self.processes.remove(exit.task.id) else { return };
        if process.emitted {
            out.push(self.process_ended(time, exit, &process));
        }
        self.deploy_exited(time, exit, &process, out);
        self.left_session(time, exit, &process, out);
        self.processes.remember(process);
    }

    fn left_session(&mut self, time: u64, exit: &Exit, process: &Process, out: &mut Vec<Record>) {
        let Some(key) = process.session else { return };
        let Some(session) = self.sessions.get_mut(key) else { return };
        note_audit(session, &exit.task);
        if session.net_child == Some(process.id) {
            session.net_child = None;
            if session.phase == Phase::Connected && exit.status == Status::Code(0) {
                session.phase = Phase::Authenticated { since: time };
            }
        } else if process.server && session.root != Some(process.id) && session.user.is_none() {
            // The user's own server process: a session without commands (forwarding only).
            session.user = account(&exit.task).filter(|_| session.phase != Phase::Connected);
        }
        self.left(key, time, process, out);
    }

    /// The process serves this connection from now on: a new session, unless it is its session's own connection.
    pub(super) fn serve(&mut self, time: u64, id: ProcessId, served: Served) {
        let Some(process) = self.processes.get(id) else { return };
        let (old, server) = (process.session, process.server);
        if let Some(session) = old.and_then(|key| self.sessions.get(key))
            && session.serves(&served)
        {
            return;
        }
        let entity = self.processes.entity(id);
        let Some(key) = self.sessions.open(super::build::session_id(&entity), Some(id), Some(served), time) else {
            return;
        };
        if let Some(old) = old {
            self.unjoined(old, server);
            self.sessions.forget_if_over(old);
        }
        if let Some(process) = self.processes.get_mut(id) {
            process.session = Some(key);
        }
        self.joined(key, server);
    }

    pub(super) fn joined(&mut self, key: u64, server: bool) {
        if let Some(session) = self.sessions.get_mut(key) {
            *(if server { &mut session.servers } else { &mut session.others }) += 1;
        }
    }

    fn unjoined(&mut self, key: u64, server: bool) {
        if let Some(session) = self.sessions.get_mut(key) {
            let count = if server { &mut session.servers } else { &mut session.others };
            *count = count.saturating_sub(1);
        }
    }

    fn left(&mut self, key: u64, time: u64, process: &Process, out: &mut Vec<Record>) {
        self.unjoined(key, process.server);
        if process.server
            && let Some(session) = self.sessions.get_mut(key)
            && session.servers == 0
        {
            session.closing = Some(time);
            // A connection that nobody tracks will not tell.
            if session.socket.is_none() {
                self.end_session(key, time, out);
            }
        }
        self.sessions.forget_if_over(key);
    }

    /// Writes `ssh-session-started`, once.
    pub(super) fn start_session(&mut self, key: u64, out: &mut Vec<Record>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Phase::Authenticated { since } = session.phase else { return };
        session.phase = Phase::Started;
        let session = session.clone();
        let mut record = Record::new(self.wall(since), Action::SshSessionStarted, Outcome::Success);
        self.describe_session(&mut record, &session);
        if let Some(login) = session.ssh.as_ref().and_then(|ssh| ssh.login.as_deref()) {
            super::ssh::describe_auth(&mut record, login, false);
        }
        out.push(record);
    }

    /// The connection is over: `ssh-session-ended`, or what remains to be said of one where nobody logged in.
    pub(super) fn end_session(&mut self, key: u64, time: u64, out: &mut Vec<Record>) {
        if let Some(socket) = self.sessions.get(key).and_then(|session| session.socket) {
            let left = self.ssh_ended(time, socket, None, out);
            out.extend(left);
        }
        self.start_session(key, out);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let before = std::mem::replace(&mut session.phase, Phase::Ended);
        let session = session.clone();
        match before {
            Phase::Started => out.push(self.session_ended(time, &session)),
            Phase::Connected => out.extend(self.login_failed(time, &session)),
            Phase::Authenticated { .. } | Phase::Ended => {}
        }
        self.sessions.forget_if_over(key);
    }
}

/// Real uid and its name.
pub(super) fn account(task: &Task) -> Option<Account> {
    let credentials = task.credentials?;
    Some(Account { id: Some(credentials.uid.to_string()), name: task.names.user.clone() })
}

/// Keeps the audit identity of the first task that has one.
pub(super) fn note_audit(session: &mut super::sessions::Session, task: &Task) {
    if session.audit_session.is_none() {
        session.audit_session = task.audit_session;
    }
    if session.loginuid.is_none() {
        session.loginuid = task.loginuid.map(|id| Account { id: Some(id.to_string()), name: task.names.audit.clone() });
    }
}
