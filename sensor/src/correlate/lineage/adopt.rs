//! Sessions that were open before the sensor.
//!
//! A server process with a connection is a session's root, and what descends from it belongs to it. Orphans (their
//! parent is gone: nohup, setsid) are adopted by the kernel's audit session id, else by SSH_CONNECTION in their initial
//! environment, else not. The root's identity gives the session's id, so it is the same before and after a restart of
//! the sensor.

use super::{
    describe::session_id,
    facts::LineageFact,
    lifecycle::{account, note_audit},
    machine::Lineage,
    program::Program,
    sessions::{Session, SessionKey},
};
use crate::{
    event::stream::{ProcessId, ProcessSnapshot, Role},
    finding::AdoptedBy,
};

impl Lineage {
    pub(in crate::correlate) fn found(&mut self, time: u64, found: &ProcessSnapshot, facts: &mut Vec<LineageFact>) {
        let id = found.task.id;
        let parent = found.task.parent.and_then(|parent| self.processes.get(parent)).map(|p| (p.id, p.session));
        let program = Program::found(found, false);
        let server = found.role.is_server();
        let process = self.processes.add(&found.task, parent.map(|(id, _)| id));
        process.name = program.name;
        process.executable = program.executable;
        process.application = program.application;
        process.command_line = None;
        process.title = None;
        process.server = server;
        process.client = found.role == Role::Client;
        process.watched |= self.scope.pids.contains(&id.tgid);
        let inherited = process.session;
        let mut key = inherited;
        if server && let Some(served) = found.served {
            let own = inherited.and_then(|key| self.sessions.get(key)).is_some_and(|session| session.serves(&served));
            if !own {
                let entity = self.processes.entity(id);
                key = self.sessions.open(session_id(&entity), Some(id), Some(served), time);
                if let Some(session) = key.and_then(|key| self.sessions.get_mut(key)) {
                    session.adopted_by = Some(AdoptedBy::Connection);
                }
                self.belongs(id, key);
            }
        }
        let Some(key) = key else {
            if parent.is_none_or(|(parent, _)| parent.tgid == 1) {
                self.orphans.push(found.clone());
            }
            return;
        };
        self.member_found(key, found, facts);
    }

    /// Every process is found: now orphans can be matched.
    pub(in crate::correlate) fn snapshot_complete(&mut self, time: u64, facts: &mut Vec<LineageFact>) {
        for orphan in std::mem::take(&mut self.orphans) {
            if let Some((key, by)) = self.adopter(&orphan, time) {
                if let Some(session) = self.sessions.get_mut(key)
                    && session.root.is_none()
                {
                    session.adopted_by = Some(by);
                }
                self.adopt(key, &orphan, facts);
            }
        }
    }

    /// The deploy that a process was found to belong to makes it one whose acts become records.
    pub(in crate::correlate) fn found_in_deploy(&mut self, id: ProcessId, program: &Program) {
        if let Some(process) = self.processes.get_mut(id) {
            process.emitted = self.scope.in_scope(process.session.is_some(), true, process.watched);
            process.title.clone_from(&program.title);
            process.command_line.clone_from(&program.command_line);
        }
    }

    /// The session that an orphan came from, and how we know.
    fn adopter(&mut self, orphan: &ProcessSnapshot, time: u64) -> Option<(SessionKey, AdoptedBy)> {
        if orphan.task.audit_session.is_some() {
            let same = self.first_session(|session| session.audit_session == orphan.task.audit_session);
            if let Some(key) = same {
                return Some((key, AdoptedBy::AuditSession));
            }
        }
        let (client, server) = orphan.ssh_connection?;
        if let Some(key) = self.first_session(|session| session.endpoints == Some((server, client))) {
            return Some((key, AdoptedBy::SshConnection));
        }
        // The connection is over; its survivors have one id.
        let id = session_id(&format!("{client} {server}"));
        let key = self.sessions.open(id, None, None, time)?;
        if let Some(session) = self.sessions.get_mut(key) {
            session.endpoints = Some((server, client));
            session.over = true;
        }
        Some((key, AdoptedBy::SshConnection))
    }

    /// The oldest session of which something is true.
    fn first_session(&self, is: impl Fn(&Session) -> bool) -> Option<SessionKey> {
        self.sessions.iter().filter(|(_, session)| is(session)).map(|(key, _)| key).min()
    }

    /// The orphan and all that descends from it.
    fn adopt(&mut self, key: SessionKey, orphan: &ProcessSnapshot, facts: &mut Vec<LineageFact>) {
        let mut family = vec![orphan.task.id];
        self.member_found(key, orphan, facts);
        self.belongs(orphan.task.id, Some(key));
        // The table knows parents only; a few passes reach the grandchildren.
        for _ in 0..64 {
            let more: Vec<ProcessId> = self
                .processes
                .iter()
                .filter(|p| p.session.is_none() && p.parent.is_some_and(|parent| family.contains(&parent)))
                .map(|p| p.id)
                .collect();
            if more.is_empty() {
                return;
            }
            for id in &more {
                self.belongs(*id, Some(key));
                self.joined(key, false);
            }
            family = more;
        }
    }

    fn belongs(&mut self, id: ProcessId, key: Option<SessionKey>) {
        if let Some(process) = self.processes.get_mut(id) {
            process.session = key;
        }
    }

    fn member_found(&mut self, key: SessionKey, found: &ProcessSnapshot, facts: &mut Vec<LineageFact>) {
        self.joined(key, found.role.is_server());
        // What it runs has a record of an earlier run, or none: its end has one either way.
        if let Some(process) = self.processes.get_mut(found.task.id) {
            process.emitted = !found.role.is_server();
            let program = Program::found(found, true);
            process.title = program.title;
            process.command_line = program.command_line;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        note_audit(session, &found.task);
        if found.role.is_server() {
            let root = session.root == Some(found.task.id);
            if !root && session.net_child.is_none() && session.is_before_login() {
                session.net_child = Some(found.task.id);
            }
        } else if session.user.is_none() {
            session.user = account(&found.task);
        }
        // Somebody is logged in if a login set its audit identity or if a command runs.
        if session.is_before_login() && (session.loginuid.is_some() || !found.role.is_server()) {
            session.logs_in(key, session.connected, facts);
            session.net_child = None;
            if session.user.is_none() {
                session.user = session.loginuid.clone();
            }
        }
    }
}
