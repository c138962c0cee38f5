//! Sessions of servers on this host: what the protocol says of those that lineage found.
//!
//! What enters: facts of lineage, and what the connection of a session says. What leaves: `ssh-session-started`, once
//! it can be seen who logged in, and `ssh-session-ended`, once each, whoever saw it first; of a connection on which
//! nobody logged in `connection-closed`.

use super::{
    findings::auth,
    machine::Ssh,
    served::{Facts, Phase, Served},
};
use crate::{
    correlate::{
        deploys::Of,
        lineage::{Lineage, LineageFact, Session, SessionKey},
        outlet::Outlet,
    },
    event::ids::ProcessId,
    finding::{
        CommandId, ConnectionClosed, Failure, Finding, FindingKind, Outcome, Quality, Subject,
        ssh::{Disconnect, SessionEnded},
    },
};

impl Ssh {
    /// What lineage found out. A command that ran gets its id, for the process and what descends from it.
    pub(in crate::correlate) fn lineage_fact(
        &mut self,
        fact: LineageFact,
        out: &mut Outlet<'_>,
    ) -> Option<(ProcessId, CommandId)> {
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
                out.forget_session(session);
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
        let lineage = out.lineage();
        let (mut subject, mut quality) = (Subject::default(), Quality::default());
        self.describe_session(&mut subject, &mut quality, key, session, lineage);
        let login = self.facts(key).and_then(|facts| facts.login.as_deref());
        let kind = FindingKind::SshSessionStarted(login.map(|login| Box::new(auth(login, false, &mut quality))));
        let finding = Finding { subject, quality, ..Finding::new(lineage.time(since), Outcome::Success, kind) };
        out.push(out.label(Of::Session(key), finding));
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
        let Some((outcome, kind)) = (match before {
            Phase::Started => Some((Outcome::Success, self.session_ended(key, session, bytes))),
            // A connection to an SSH server on which nobody logged in.
            Phase::Connected if session.endpoints.is_some() => Some((Outcome::Failure, self.login_failed(key))),
            _ => None,
        }) else {
            return;
        };
        let lineage = out.lineage();
        let mut finding = Finding::new(lineage.time(time), outcome, kind);
        finding.duration = Some(time.saturating_sub(session.connected));
        self.describe_session(&mut finding.subject, &mut finding.quality, key, session, lineage);
        out.push(out.label(Of::Session(key), finding));
    }

    fn session_ended(&self, key: SessionKey, session: &Session, bytes: Option<(u64, u64)>) -> FindingKind {
        let read = self.facts(key).and_then(|facts| facts.commands);
        FindingKind::SshSessionEnded(Box::new(SessionEnded {
            login: None,
            commands: Some(read.unwrap_or(session.commands)),
            processes: Some(session.processes),
            processes_surviving: Some(session.others),
            bytes_in: bytes.map(|(bytes_in, _)| bytes_in),
            bytes_out: bytes.map(|(_, bytes_out)| bytes_out),
            disconnect: self.disconnect(key),
        }))
    }

    fn login_failed(&self, key: SessionKey) -> FindingKind {
        FindingKind::ConnectionClosed(ConnectionClosed {
            failure: Some(Failure {
                code: None,
                message: Some("the connection ended before anybody had logged in".into()),
            }),
            disconnect: self.disconnect(key).map(Box::new),
            tried_user: None,
        })
    }

    /// Who ended it, and why.
    fn disconnect(&self, key: SessionKey) -> Option<Disconnect> {
        self.facts(key).and_then(|facts| facts.disconnect.clone())
    }

    fn facts(&self, key: SessionKey) -> Option<&Facts> {
        self.sessions.get(&key)?.facts.as_ref()
    }

    /// What every finding of a session says, by lineage and by the protocol.
    pub(super) fn describe_session(
        &self,
        subject: &mut Subject,
        quality: &mut Quality,
        key: SessionKey,
        session: &Session,
        lineage: &Lineage,
    ) {
        let user = self.facts(key).and_then(|facts| facts.user.clone());
        lineage.describe_session(subject, quality, session, user);
        self.describe_membership(subject, Some(key));
    }

    /// The SSH part of a finding of a session or of its processes, beside what lineage says.
    pub(in crate::correlate) fn describe_membership(&self, subject: &mut Subject, key: Option<SessionKey>) {
        if let (Some(ssh), Some(facts)) = (&mut subject.ssh, key.and_then(|key| self.facts(key))) {
            ssh.capture = Some(facts.capture);
            ssh.connection.clone_from(&facts.connection);
        }
    }
}
