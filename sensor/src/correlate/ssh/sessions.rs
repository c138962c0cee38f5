//! Sessions of servers on this host: what the protocol says of those that lineage found.
//!
//! What enters: facts of lineage, and what the connection of a session says. What leaves: `ssh-session-started`, once
//! it can be seen who logged in, and `ssh-session-ended`, once each, whoever saw it first; of a connection on which
//! nobody logged in `connection-closed`.

use std::sync::Arc;

use super::{
    machine::Ssh,
    records::{describe_auth, named, protocol},
    served::{Facts, Phase, Served},
};
use crate::{
    correlate::{
        deploys::Of,
        lineage::{Lineage, LineageFact, Session, SessionKey},
        outlet::Outlet,
    },
    event::{
        record::{Action, Error, Id, Outcome, Record},
        stream::ProcessId,
    },
};

impl Ssh {
    /// What lineage found out. A command that ran gets its id, for the process and what descends from it.
    pub(in crate::correlate) fn lineage_fact(
        &mut self,
        fact: LineageFact,
        out: &mut Outlet<'_>,
    ) -> Option<(ProcessId, Arc<str>)> {
        match fact {
            LineageFact::Acted { session } => {
                if let Some(socket) = out.lineage().session(session).and_then(|session| session.socket) {
                    out.confirmed(socket);
                }
            }
            LineageFact::LoggedIn { session, since } => self.logs_in(session, since),
            LineageFact::Named { session } => self.start_session(session, out),
            LineageFact::CommandRan { session, process } => {
                return self.command_ran(session, process, out).map(|id| (process, id));
            }
            LineageFact::Closed { session, at, bytes } => self.end_session(session, at, bytes, out),
            LineageFact::Forgotten { session } => {
                self.sessions.remove(&session);
            }
        }
        None
    }

    /// Somebody logged in.
    pub(super) fn logs_in(&mut self, key: SessionKey, since: u64) {
        let served = self.sessions.entry(key).or_default();
        if served.phase == Phase::Connected {
            served.phase = Phase::Authenticated { since };
        }
    }

    /// Sessions that have waited since before `time` for somebody to show who logged in.
    pub(in crate::correlate) fn start_sessions(&mut self, time: u64, out: &mut Outlet<'_>) {
        let waits = |served: &Served| matches!(served.phase, Phase::Authenticated { since } if since <= time);
        let waiting: Vec<SessionKey> =
            self.sessions.iter().filter(|(_, served)| waits(served)).map(|(key, _)| *key).collect();
        for key in waiting {
            self.start_session(key, out);
        }
    }

    /// Writes `ssh-session-started`, once.
    pub(super) fn start_session(&mut self, key: SessionKey, out: &mut Outlet<'_>) {
        let Some(session) = out.lineage().session_or_remembered(key) else { return };
        let Some(served) = self.sessions.get_mut(&key) else { return };
        let Phase::Authenticated { since } = served.phase else { return };
        served.phase = Phase::Started;
        let mut record = Record::new(out.lineage().wall(since), Action::SshSessionStarted, Outcome::Success);
        self.describe_session(&mut record, key, session, out.lineage());
        if let Some(login) = self.facts(key).and_then(|facts| facts.login.as_deref()) {
            describe_auth(&mut record, login, false);
        }
        out.push(out.label(Of::Session(key), record));
        out.announced(key);
    }

    /// The connection is over: `ssh-session-ended`, or what remains to be said of one where nobody logged in.
    fn end_session(&mut self, key: SessionKey, time: u64, bytes: Option<(u64, u64)>, out: &mut Outlet<'_>) {
        if let Some(socket) = out.lineage().session_or_remembered(key).and_then(|session| session.socket) {
            let left = self.ended(time, socket, None, out);
            if let Some(left) = left {
                out.push(left);
            }
        }
        self.start_session(key, out);
        let Some(session) = out.lineage().session_or_remembered(key) else { return };
        let before = std::mem::replace(&mut self.sessions.entry(key).or_default().phase, Phase::Ended);
        let record = match before {
            Phase::Started => Some(self.session_ended(time, key, session, bytes, out)),
            Phase::Connected => self.login_failed(time, key, session, out),
            Phase::Authenticated { .. } | Phase::Ended => None,
        };
        if let Some(record) = record {
            out.push(out.label(Of::Session(key), record));
        }
    }

    fn session_ended(
        &self,
        time: u64,
        key: SessionKey,
        session: &Session,
        bytes: Option<(u64, u64)>,
        out: &Outlet<'_>,
    ) -> Record {
        let mut record = Record::new(out.lineage().wall(time), Action::SshSessionEnded, Outcome::Success);
        self.describe_session(&mut record, key, session, out.lineage());
        record.duration = Some(time.saturating_sub(session.connected));
        self.describe_disconnect(&mut record, key);
        if let Some(ssh) = &mut record.ssh {
            let read = self.facts(key).and_then(|facts| facts.commands);
            ssh.session.commands = Some(read.unwrap_or(session.commands));
            ssh.session.processes = Some(session.processes);
            ssh.session.processes_surviving = Some(session.others);
            ssh.session.bytes_in = bytes.map(|(bytes_in, _)| bytes_in);
            ssh.session.bytes_out = bytes.map(|(_, bytes_out)| bytes_out);
        }
        record
    }

    /// A connection to an SSH server on which nobody logged in.
    fn login_failed(&self, time: u64, key: SessionKey, session: &Session, out: &Outlet<'_>) -> Option<Record> {
        session.endpoints?;
        let mut record = Record::new(out.lineage().wall(time), Action::ConnectionClosed, Outcome::Failure);
        self.describe_session(&mut record, key, session, out.lineage());
        record.duration = Some(time.saturating_sub(session.connected));
        record.error =
            Some(Error { code: None, message: Some("the connection ended before anybody had logged in".into()) });
        self.describe_disconnect(&mut record, key);
        Some(record)
    }

    /// Who ended it, and why.
    fn describe_disconnect(&self, record: &mut Record, key: SessionKey) {
        if let Some(disconnect) = self.facts(key).and_then(|facts| facts.disconnect.clone()) {
            protocol(record).disconnect = Some(disconnect);
        }
    }

    fn facts(&self, key: SessionKey) -> Option<&Facts> {
        self.sessions.get(&key)?.facts.as_ref()
    }

    /// What every record of a session says, by lineage and by the protocol.
    pub(super) fn describe_session(&self, record: &mut Record, key: SessionKey, session: &Session, lineage: &Lineage) {
        let user = self.facts(key).and_then(|facts| facts.user.as_ref()).map(named);
        lineage.describe_session(record, session, user);
        self.describe_membership(record, Some(key));
    }

    /// The SSH part of a record of a session or of its processes, beside what lineage says.
    pub(in crate::correlate) fn describe_membership(&self, record: &mut Record, key: Option<SessionKey>) {
        if let (Some(ssh), Some(facts)) = (&mut record.ssh, key.and_then(|key| self.facts(key))) {
            ssh.capture = facts.capture;
            ssh.connection = facts.connection.clone().map(|id| Id { id });
        }
    }
}
