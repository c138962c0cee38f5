//! Commands over SSH: those of a deploy's own connections, and on the other side those of the sessions that it opened.
//!
//! A command is classified when it starts and told as a step when it ends. On a host that has both ends each of them
//! tells its own; what they show and count is the same command.

use std::sync::Arc;

use super::{
    super::{
        Correlate,
        connections::Connection,
        ssh::{Command, Role, SshConnection},
    },
    outcome::Ended,
    records::{claims, describe_step, fields_of},
};
use crate::{
    deploy::{ClassifiedStep, Tool, classify},
    event::{
        record::{Action, Command as CommandFields, Deploy, Outcome, Record},
        text::escape,
    },
};

/// What a command is to a tool.
#[derive(Clone, Debug)]
pub(in crate::correlate) struct StepOf {
    pub(super) tool: Arc<Tool>,
    pub(super) step: ClassifiedStep,
}

impl Correlate {
    /// The deploy that a connection belongs to, as soon as it can be known.
    pub(in crate::correlate) fn deploy_of_talk(&mut self, conn: &mut SshConnection) {
        if conn.deploy.is_none() {
            conn.deploy = match conn.role {
                Some(Role::Server) => {
                    conn.connection_id.as_deref().and_then(|id| self.deploys.by_connection(id)).cloned()
                }
                _ => conn.process.and_then(|id| self.processes.get(id)).and_then(|process| process.deploy.clone()),
            };
        }
        if conn.role == Some(Role::Client)
            && let (Some(deploy), Some(connection)) = (&conn.deploy, &conn.connection_id)
            && !std::mem::replace(&mut conn.deploy_emitted, true)
        {
            self.deploys.connected(deploy, connection);
            if let Some(host) = host(conn) {
                self.deploys.contacted(deploy, host);
            }
        }
    }

    /// A command starts: which step is it?
    pub(in crate::correlate) fn deploy_command(
        &mut self,
        conn: &mut SshConnection,
        command: &mut Command,
        out: &mut Vec<Record>,
    ) {
        let text = command.line.as_deref().map(|line| escape(line).0.into_owned());
        let Some(deploy) = conn.deploy.clone() else {
            if let (Some(Role::Server), "exec", Some(line)) = (conn.role, command.kind, text) {
                self.target_command(conn, command, &line, out);
            }
            return;
        };
        let Some(run) = self.deploys.get_mut(&deploy) else {
            // Known by its commands only, or over on the other side.
            if let Some(line) = text {
                self.target_command(conn, command, &line, out);
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
        if let Some(connection) = &conn.connection_id {
            let (client, server) = run.commands.entry(connection.clone()).or_default();
            *(if conn.role == Some(Role::Server) { server } else { client }) += 1;
        } else {
            run.local_steps += 1;
        }
        command.step = Some(Box::new(StepOf { tool, step }));
    }

    /// A command ended: `deploy-step`.
    pub(in crate::correlate) fn deploy_command_ended(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        command: &Command,
        status: Option<u32>,
        out: &mut Vec<Record>,
    ) {
        let Some(StepOf { tool, step }) = command.step.as_deref() else { return };
        let outcome = match status {
            Some(0) => Outcome::Success,
            Some(_) => Outcome::Failure,
            None => Outcome::Unknown,
        };
        let mut record = self.ssh_record(time, Action::DeployStep, outcome, conn);
        record.duration = Some(time.saturating_sub(command.time));
        if command.process.is_some() {
            record.process.clone_from(&command.process);
        }
        if command.redacted {
            record.sensor.redacted.get_or_insert_default().push("deploy.step.line");
        }
        if let Some(ssh) = &mut record.ssh {
            ssh.command = Some(CommandFields { id: command.id.clone(), ..CommandFields::default() });
        }
        let line = command.line.as_deref().map(|line| {
            let (text, stray) = escape(line);
            if stray {
                record.sensor.escaped.get_or_insert_default().push("deploy.step.line");
            }
            text.into_owned()
        });
        let host = host(conn);
        if let Some(run) = conn.deploy.as_deref().and_then(|deploy| self.deploys.get_mut(deploy)) {
            let shown = line.as_deref().unwrap_or(command.kind);
            let ended = Ended { step, host: host.as_deref(), line: shown, status, remote: true };
            run.seen.observe(&ended, tool);
            if status == Some(0) {
                run.names.confirm(step);
                run.names.served |= run.invocation.tool.definition.outcome.proof.contains(&step.kind);
                if step.retires {
                    run.names.retired(step);
                }
            }
            run.describe_step(&mut record, step, line, host, status);
            return self.emit(conn, record, out);
        }
        let Some(target) = &mut conn.target else { return };
        if status == Some(0) {
            target.names.confirm(step);
            target.names.served |= tool.definition.outcome.proof.contains(&step.kind);
            if step.retires {
                target.names.retired(step);
            }
        }
        let mut fields = fields_of(&target.names, tool.name.clone());
        fields.previous_version.clone_from(&target.names.previous);
        fields.claimed = claims(&fields, &target.names);
        let id = conn.deploy.clone().unwrap_or_default();
        record.deploy = Some(Deploy { id, fields: Some(Box::new(fields)) });
        describe_step(&mut record, step, line, host, status);
        if conn.deploy.is_some() {
            self.emit(conn, record, out);
        } else {
            target.wait(record, step.marked || step.standalone);
        }
    }

    /// A connection of a deploy was never made.
    pub(in crate::correlate) fn deploy_unreachable(&mut self, connection: &Connection, why: &str) {
        let about = &connection.about;
        let Some(run) = about.deploy.as_ref().and_then(|deploy| self.deploys.get_mut(&deploy.id)) else { return };
        let Some(process) = &about.process else { return };
        let own = [Some(run.root), run.inner].into_iter().flatten().any(|id| id.tgid == process.pid);
        if !own && process.name.as_deref() != Some("ssh") {
            return;
        }
        let Some(host) = about.destination.as_ref().and_then(|destination| destination.ip.clone()) else { return };
        run.seen.unreachable.get_or_insert((host, why.to_owned()));
    }

    /// A deploy's connection is over: did anybody log in?
    pub(in crate::correlate) fn deploy_disconnected(&mut self, conn: &SshConnection) {
        if conn.role != Some(Role::Client) || conn.authenticated || !conn.decrypted {
            return;
        }
        let Some(host) = host(conn) else { return };
        if let Some(run) = conn.deploy.as_deref().and_then(|deploy| self.deploys.get_mut(deploy)) {
            run.seen.refused.get_or_insert(host);
        }
    }
}

/// The server's address, seen from either end.
fn host(conn: &SshConnection) -> Option<String> {
    let (local, remote) = conn.endpoints?;
    Some(if conn.role == Some(Role::Server) { local.ip() } else { remote.ip() }.to_canonical().to_string())
}
