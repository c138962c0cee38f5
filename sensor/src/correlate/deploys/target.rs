//! The other side: sessions that run what a deploy tool sends, on a host that does not see the tool.
//!
//! A command that only the tool would send (its lock, its labels, its proxy) makes a session a deploy's, as soon as one
//! names the service; what that client asked before waits for it and is told with it. Ordinary commands count only
//! where the client's software is the tool's. Sessions that are open at the same time are one deploy's: the same tool,
//! service and destination, from the same address as the same user, and no two versions. (A tool keeps its connections
//! to its end; what comes after the last of them is another deploy.) Who did it, which version and when is in each
//! record: by these the deployer's side is found where no connection id joins them.

use std::{net::IpAddr, sync::Arc};

use super::{
    super::{
        Correlate,
        ssh::{Command, SshConnection},
    },
    local::deploy_id,
    names::Names,
    records::claims,
    remote::StepOf,
};
use crate::{
    deploy::{ClassifiedStep, Tool, classify},
    event::{record::Record, ssh::ConnectionId},
};

/// Deploys that are open.
const GROUPS_MAX: usize = 256;
/// Commands of a session that wait for a mark: Kamal's first is its second command.
const WAITING_MAX: usize = 64;

/// What is known of a connection to this host that may be a deploy's.
#[derive(Debug, Default)]
pub(in crate::correlate) struct DeployCandidate {
    pub(super) names: Names,
    /// Steps that are not told yet, and whether one is enough to tell them all.
    waiting: Vec<(Record, bool)>,
    /// The client's software is the tool's.
    client: bool,
    /// A command was the tool's own.
    marked: bool,
}

impl DeployCandidate {
    pub(super) fn wait(&mut self, record: Record, enough: bool) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push((record, enough));
        }
    }

    /// It is known to be a deploy, and which; or it cannot wait any longer.
    fn is_ripe(&self) -> bool {
        self.marked && (self.names.service.is_some() || self.waiting.len() >= WAITING_MAX)
    }
}

/// Deploys by their sessions.
#[derive(Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
}

struct Group {
    id: Arc<str>,
    tool: Arc<str>,
    service: Option<String>,
    destination: Option<String>,
    version: Option<String>,
    peer: Option<IpAddr>,
    user: Option<Arc<str>>,
    /// Its connections.
    open: Vec<ConnectionId>,
}

impl Groups {
    /// The deploy of a session, or a new one.
    fn find(&mut self, wanted: Group) -> Arc<str> {
        let agrees = |own: &Option<String>, other: &Option<String>| own.is_none() || other.is_none() || own == other;
        let same = self.groups.iter_mut().rev().find(|group| {
            group.tool == wanted.tool
                && (group.peer, &group.user) == (wanted.peer, &wanted.user)
                && (wanted.service.is_none()
                    || (&group.service, &group.destination) == (&wanted.service, &wanted.destination))
                && agrees(&group.version, &wanted.version)
        });
        if let Some(group) = same {
            group.version = group.version.take().or(wanted.version);
            group.open.extend(wanted.open);
            return group.id.clone();
        }
        if self.groups.len() >= GROUPS_MAX {
            self.groups.remove(0);
        }
        let id = wanted.id.clone();
        self.groups.push(wanted);
        id
    }

    /// The deploy goes on.
    fn learn(&mut self, id: &str, names: &Names) {
        if let Some(group) = self.groups.iter_mut().find(|group| &*group.id == id)
            && group.version.is_none()
        {
            group.version.clone_from(&names.version);
        }
    }

    /// A connection is over, and with the last one the deploy.
    fn closed(&mut self, connection: ConnectionId) {
        for group in &mut self.groups {
            group.open.retain(|open| *open != connection);
        }
        self.groups.retain(|group| !group.open.is_empty());
    }
}

impl Correlate {
    /// A command in a session of this host.
    pub(super) fn target_command(
        &mut self,
        conn: &mut SshConnection,
        command: &mut Command,
        line: &str,
        out: &mut Vec<Record>,
    ) {
        let software = conn.software.incoming.clone().unwrap_or_default();
        let Some((tool, mut step, client)) = self.tool_of(&software, line, conn.deploy.is_some()) else { return };
        let target = conn.target.get_or_insert_default();
        target.client |= client;
        target.marked |= step.marked;
        target.names.learn(&mut step);
        // What the project calls its secrets is known on the other side.
        step.secrets.retain(|name| !name.contains(':'));
        let ripe = target.is_ripe();
        command.step = Some(Box::new(StepOf { tool: tool.clone(), step }));
        match &conn.deploy {
            Some(deploy) => self.deploys.groups.learn(deploy, &target.names),
            None if ripe => self.is_deploy(conn, &tool, out),
            None => {}
        }
    }

    /// The tool that sends such a line to a client of this software; in a deploy's session whatever its client sends.
    fn tool_of(&self, software: &[u8], line: &str, deploys: bool) -> Option<(Arc<Tool>, ClassifiedStep, bool)> {
        let mut best: Option<(u8, Arc<Tool>, ClassifiedStep, bool)> = None;
        for tool in self.deploys.tools.iter().filter(|tool| !tool.remote.is_empty()) {
            let clients = &tool.definition.target.clients;
            let client = clients.iter().any(|client| software.starts_with(client.as_bytes()));
            let step = classify(tool, line);
            let rank = match (step.marked, step.known, client) {
                (true, ..) => 3,
                (_, true, true) => 2,
                (_, known, client) if deploys && (known || client) => 1,
                (_, _, true) => 0,
                _ => continue,
            };
            if best.as_ref().is_none_or(|(best, ..)| rank > *best) {
                best = Some((rank, tool.clone(), step, client));
            }
        }
        best.map(|(_, tool, step, client)| (tool, step, client))
    }

    /// This session is a deploy's: what waited is told.
    fn is_deploy(&mut self, conn: &mut SshConnection, tool: &Tool, out: &mut Vec<Record>) {
        let Some(target) = &mut conn.target else { return };
        let of = conn.session_id.as_deref().unwrap_or_default();
        let wanted = Group {
            id: deploy_id(&format!("target {} {of}", self.host.boot)),
            tool: tool.name.clone(),
            service: target.names.service.clone(),
            destination: target.names.destination.clone(),
            version: target.names.version.clone(),
            peer: conn.endpoints.map(|(_, remote)| remote.ip()),
            user: conn.user.clone(),
            open: vec![conn.id],
        };
        let id = self.deploys.groups.find(wanted);
        conn.deploy = Some(id.clone());
        let names = target.names.clone();
        for (mut record, _) in std::mem::take(&mut target.waiting) {
            if let Some(deploy) = &mut record.deploy {
                deploy.id = id.clone();
                if let Some(fields) = &mut deploy.fields {
                    fields.service = fields.service.take().or_else(|| names.service.clone());
                    fields.destination = fields.destination.take().or_else(|| names.destination.clone());
                    fields.claimed = claims(fields, &names);
                }
            }
            self.emit(conn, record, out);
        }
        self.share(conn);
    }

    /// The session is over and nothing named a service: what only the tool sends, or what its client ran that is enough
    /// (a login to a registry), was a deploy all the same.
    pub(in crate::correlate) fn target_ended(&mut self, conn: &mut SshConnection, out: &mut Vec<Record>) {
        self.told_late(conn, out);
        self.deploys.groups.closed(conn.id);
    }

    fn told_late(&mut self, conn: &mut SshConnection, out: &mut Vec<Record>) {
        if conn.deploy.is_some() {
            return;
        }
        let name = conn.target.as_ref().and_then(|target| {
            let enough = target.waiting.iter().find(|(_, enough)| *enough && (target.marked || target.client));
            let waiting = enough.or_else(|| target.waiting.first().filter(|_| target.marked));
            waiting?.0.deploy.as_ref()?.fields.as_ref()?.tool.clone()
        });
        let tool = self.deploys.tools.iter().find(|tool| Some(&tool.name) == name.as_ref()).cloned();
        if let Some(tool) = tool {
            self.is_deploy(conn, &tool, out);
        }
    }
}
