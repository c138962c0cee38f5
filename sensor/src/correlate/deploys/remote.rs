//! Commands over SSH: those of a deploy's own connections, and on the other side those of the sessions that it opened.
//!
//! A command is classified when it starts and becomes a step when it ends. On a host that has both ends each of them has
//! its own record; what they show and count is the same command.

use std::sync::Arc;

use super::{
    candidate::PendingStep,
    machine::{Deploys, StepOf},
    records::{claims, describe_step, fields_of},
    seen::Ended,
};
use crate::{
    correlate::{
        facts::{CommandView, ConnectionView, Role},
        lineage::Lineage,
    },
    deploy::{ClassifiedStep, classify},
    event::{
        record::{Action, Command as CommandFields, Outcome, Record},
        text::escape,
    },
};

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
    pub(super) fn share(&mut self, conn: &ConnectionView<'_>, deploy: &Arc<str>, lineage: &Lineage) {
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
        out: &mut Vec<Record>,
    ) {
        let text = command.line.map(|line| escape(line).0.into_owned());
        let deploy = self.members.get(&conn.id).and_then(|member| member.deploy.clone());
        let Some(deploy) = deploy else {
            if let (Some(Role::Server), "exec", Some(line)) = (conn.role, command.kind, text) {
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
            (Some(line), "exec") => classify(&tool, line),
            (_, kind) => ClassifiedStep { kind: kind.into(), ..ClassifiedStep::default() },
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

    /// A command ended: `deploy-step`, or a step that waits until its session is known to be a deploy's. `about`: the
    /// record of the connection.
    pub(in crate::correlate) fn command_ended(
        &mut self,
        time: u64,
        conn: &ConnectionView<'_>,
        command: &CommandView<'_>,
        status: Option<u32>,
        about: impl FnOnce(Action, Outcome) -> Record,
    ) -> Option<Record> {
        let member = self.members.get_mut(&conn.id)?;
        let StepOf { tool, step } = member.steps.get(command.id)?.clone();
        let outcome = match status {
            Some(0) => Outcome::Success,
            Some(_) => Outcome::Failure,
            None => Outcome::Unknown,
        };
        let mut record = about(Action::DeployStep, outcome);
        record.duration = Some(time.saturating_sub(command.time));
        if let Some(process) = command.process {
            record.process = Some(Box::new(process.clone()));
        }
        if command.redacted {
            record.sensor.redacted.get_or_insert_default().push("deploy.step.line");
        }
        if let Some(ssh) = &mut record.ssh {
            ssh.command = Some(CommandFields { id: command.id.clone(), ..CommandFields::default() });
        }
        let line = command.line.map(|line| {
            let (text, stray) = escape(line);
            if stray {
                record.sensor.escaped.get_or_insert_default().push("deploy.step.line");
            }
            text.into_owned()
        });
        let host = conn.host();
        if let Some(run) = member.deploy.as_ref().and_then(|deploy| self.runs.get_mut(deploy)) {
            let shown = line.as_deref().unwrap_or(command.kind);
            let ended = Ended { step: &step, host: host.as_deref(), line: shown, status, remote: true };
            run.seen.observe(&ended, &tool);
            if status == Some(0) {
                run.names.succeeded(&step, &run.invocation.tool);
            }
            run.describe_step(&mut record, &step, line, host, status);
            return Some(record);
        }
        let candidate = member.candidate.as_mut()?;
        if status == Some(0) {
            candidate.names.succeeded(&step, &tool);
        }
        let mut fields = fields_of(&candidate.names, tool.name.clone());
        fields.previous_version.clone_from(&candidate.names.previous);
        let Some(deploy) = &member.deploy else {
            candidate.wait(PendingStep { tool, step, fields, about: Box::new(record), line, host, status });
            return None;
        };
        fields.claimed = claims(&fields, &candidate.names);
        describe_step(&mut record, deploy, fields, &step, line, host, status);
        Some(record)
    }

    /// A connection is over. Appends the steps that waited, where they are a deploy's all the same.
    pub(in crate::correlate) fn connection_over(
        &mut self,
        conn: &ConnectionView<'_>,
        lineage: &Lineage,
        out: &mut Vec<Record>,
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
    pub(in crate::correlate) fn forget(&mut self, connection: crate::event::ids::ConnectionId) {
        self.members.remove(&connection);
    }
}
