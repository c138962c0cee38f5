//! Commands over SSH: those of a deploy's own connections, and on the other side those of the sessions that it opened.
//!
//! A command is classified when it starts and becomes a step when it ends. On a host that has both ends each of them
//! has its own record; what they show and count is the same command.

use super::{
    about::{About, EndedStep},
    candidate::PendingStep,
    findings::{claims, described},
    machine::{Deploys, StepOf},
    seen::Ended,
};
use crate::{
    correlate::{
        facts::{CommandView, ConnectionView},
        lineage::Lineage,
    },
    deploy::{ClassifiedStep, classify},
    event::{ids::ConnectionId, text::escape},
    finding::{DeployId, Field, Finding, Quality, Role, Subject, Time, ssh::CommandKind},
};

/// A command without a line, as steps call it.
fn kind_name(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Exec => "exec",
        CommandKind::Shell => "shell",
        CommandKind::Subsystem => "subsystem",
    }
}

impl Deploys {
    /// The deploy that a connection belongs to, as soon as it can be known.
    pub(in crate::correlate) fn spoke(&mut self, conn: &ConnectionView<'_>, lineage: &Lineage) {
        let found = match conn.role {
            Some(Role::Server) => conn.connection_id.and_then(|id| self.by_connection(id)),
            _ => conn.process.and_then(|id| lineage.process(id)).and_then(|process| process.marks.deploy.as_ref()),
        };
        if found.is_none() && !self.members.contains_key(&conn.id) {
            return;
        }
        let found = found.cloned();
        let member = self.members.entry(conn.id).or_default();
        if member.deploy.is_none() {
            member.deploy = found;
        }
        let Some(deploy) = member.deploy.clone() else { return };
        if conn.role == Some(Role::Client)
            && let Some(connection) = conn.connection_id
            && !std::mem::replace(&mut member.noted, true)
        {
            self.connected(&deploy, connection);
            if let Some(host) = conn.host() {
                self.record_contacted(&deploy, host);
            }
        }
        self.share(conn, &deploy, lineage);
    }

    /// The session that lineage knows by the same socket is this deploy's.
    pub(super) fn share(&mut self, conn: &ConnectionView<'_>, deploy: &DeployId, lineage: &Lineage) {
        if conn.role != Some(Role::Client)
            && let Some((key, _)) = lineage.session_of(conn.id)
        {
            self.has_session(key, deploy);
        }
    }

    /// A command starts: which step is it? Appends steps of the session that waited for this one.
    pub(in crate::correlate) fn command_started(
        &mut self,
        conn: &ConnectionView<'_>,
        command: &CommandView<'_>,
        lineage: &Lineage,
        out: &mut Vec<Finding>,
    ) {
        let text = command.line.map(|line| escape(line).0.into_owned());
        let deploy = self.members.get(&conn.id).and_then(|member| member.deploy.clone());
        let Some(deploy) = deploy else {
            if let (Some(Role::Server), CommandKind::Exec, Some(line)) = (conn.role, command.kind, text) {
                self.target_command(conn, command, &line, lineage, out);
            }
            return;
        };
        let Some(run) = self.runs.get_mut(&deploy) else {
            // Known by its commands only, or over on the other side.
            if let Some(line) = text {
                self.target_command(conn, command, &line, lineage, out);
            }
            return;
        };
        let tool = run.invocation.tool.clone();
        let mut step = match (&text, command.kind) {
            (Some(line), CommandKind::Exec) => classify(&tool, line),
            (_, kind) => ClassifiedStep { kind: kind_name(kind).into(), ..ClassifiedStep::default() },
        };
        run.names.learn(&mut step);
        run.handled(&mut step);
        run.seen.commanded(&run.invocation, &step);
        if let Some(connection) = conn.connection_id {
            let (client, server) = run.commands.entry(connection.clone()).or_default();
            *(if conn.role == Some(Role::Server) { server } else { client }) += 1;
        } else {
            run.local_steps += 1;
        }
        self.members.entry(conn.id).or_default().steps.insert(command.id.clone(), StepOf { tool, step });
    }

    /// A command ended: `deploy-step`, or a step that waits until its session is known to be a deploy's. `about`: its
    /// connection.
    pub(in crate::correlate) fn command_ended(
        &mut self,
        time: Time,
        duration: u64,
        conn: &ConnectionView<'_>,
        command: &CommandView<'_>,
        status: Option<u32>,
        about: impl FnOnce() -> (Subject, Quality),
    ) -> Option<Finding> {
        let member = self.members.get_mut(&conn.id)?;
        let StepOf { tool, step } = member.steps.get(command.id)?.clone();
        let (mut subject, mut quality) = about();
        if let Some(process) = command.process {
            subject.process = Some(Box::new(process.clone()));
        }
        if let Some(ssh) = &mut subject.ssh {
            ssh.command = Some(command.id.clone());
        }
        if command.redacted {
            quality.redacted.add(Field::DeployStepLine);
        }
        let line = command.line.map(|line| {
            let (text, stray) = escape(line);
            if stray {
                quality.escaped.add(Field::DeployStepLine);
            }
            text.into_owned()
        });
        let about = About { subject, quality };
        let ended = EndedStep { time, duration, about, step, line, host: conn.host(), status };
        let step = &ended.step;
        if let Some(run) = member.deploy.as_ref().and_then(|deploy| self.runs.get_mut(deploy)) {
            let line = ended.line.as_deref().unwrap_or(kind_name(command.kind));
            run.seen.observe(&Ended { step, host: ended.host.as_deref(), line, status, remote: true }, &tool);
            if status == Some(0) {
                run.names.succeeded(step, &run.invocation.tool);
            }
            return Some(ended.finding(&run.id, run.description_of_steps()));
        }
        let candidate = member.candidate.as_mut()?;
        if status == Some(0) {
            candidate.names.succeeded(step, &tool);
        }
        let mut description = described(&candidate.names, tool.name.clone());
        description.previous_version.clone_from(&candidate.names.previous);
        let Some(deploy) = &member.deploy else {
            candidate.wait(PendingStep { tool, description, ended: ended.cut() });
            return None;
        };
        description.claimed = claims(&description, None, &[], &candidate.names);
        Some(ended.finding(deploy, description))
    }

    /// A connection is over. Appends the steps that waited, where they are a deploy's all the same.
    pub(in crate::correlate) fn connection_over(
        &mut self,
        conn: &ConnectionView<'_>,
        lineage: &Lineage,
        out: &mut Vec<Finding>,
    ) {
        self.session_over(conn, lineage, out);
        self.groups.closed(conn.id);
        // Nobody logged in.
        if conn.role == Some(Role::Client)
            && !conn.authenticated
            && conn.decrypted
            && let Some(host) = conn.host()
            && let Some(deploy) = self.members.get(&conn.id).and_then(|member| member.deploy.as_ref())
            && let Some(run) = self.runs.get_mut(deploy)
        {
            run.seen.refused.get_or_insert(host);
        }
    }

    /// Nothing more will be said of a connection.
    pub(in crate::correlate) fn forget(&mut self, connection: ConnectionId) {
        self.members.remove(&connection);
    }
}
