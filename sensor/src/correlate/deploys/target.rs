//! The other side: sessions that run what a deploy tool sends, on a host that does not see the tool.
//!
//! A command that only the tool would send (its lock, its labels, its proxy) makes a session a deploy's, as soon as one
//! names the service; what that client asked before waits for it and is recorded with it. Ordinary commands count only
//! where the client's software is the tool's. Sessions that are open at the same time are one deploy's: the same tool,
//! service and destination, from the same address as the same user, and no two versions. (A tool keeps its connections
//! to its end; what comes after the last of them is another deploy.) Who did it, which version and when is in each
//! record: by these the deployer's side is found where no connection id joins them.

use std::sync::Arc;

use super::{
    candidate::PendingStep,
    findings::claims,
    groups::Group,
    local::deploy_id,
    machine::{Deploys, StepOf},
};
use crate::{
    correlate::{
        facts::{CommandView, ConnectionView},
        lineage::Lineage,
    },
    deploy::{ClassifiedStep, Tool, classify},
    finding::{Finding, SessionId},
};

impl Deploys {
    /// A command in a session of this host.
    pub(super) fn target_command(
        &mut self,
        conn: &ConnectionView<'_>,
        command: &CommandView<'_>,
        line: &str,
        lineage: &Lineage,
        out: &mut Vec<Finding>,
    ) {
        let deploy = self.members.get(&conn.id).and_then(|member| member.deploy.clone());
        let Some((tool, mut step, client)) = self.tool_of(conn.peer_software, line, deploy.is_some()) else { return };
        let member = self.members.entry(conn.id).or_default();
        let candidate = member.candidate.get_or_insert_default();
        candidate.client |= client;
        candidate.marked |= step.marked;
        candidate.names.learn(&mut step);
        // What the project calls its secrets is known on the other side.
        step.secrets.retain(|name| !name.contains(':'));
        member.steps.insert(command.id.clone(), StepOf { tool: tool.clone(), step });
        match &deploy {
            Some(deploy) => self.groups.learn(deploy, &candidate.names),
            None if candidate.is_ripe() => self.is_deploy(conn, &tool, lineage, out),
            None => {}
        }
    }

    /// The tool that sends such a line to a client of this software; in a deploy's session whatever its client sends.
    fn tool_of(&self, software: &[u8], line: &str, deploys: bool) -> Option<(Arc<Tool>, ClassifiedStep, bool)> {
        let mut best: Option<(u8, Arc<Tool>, ClassifiedStep, bool)> = None;
        for tool in self.tools.iter().filter(|tool| !tool.remote.is_empty()) {
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

    /// This session is a deploy's: what waited becomes records.
    fn is_deploy(&mut self, conn: &ConnectionView<'_>, tool: &Tool, lineage: &Lineage, out: &mut Vec<Finding>) {
        let Some(member) = self.members.get_mut(&conn.id) else { return };
        let Some(candidate) = &mut member.candidate else { return };
        let of = conn.session_id.map(SessionId::as_str).unwrap_or_default();
        let wanted = Group {
            id: deploy_id(&format!("target {} {of}", lineage.boot())),
            tool: tool.name.clone(),
            service: candidate.names.service.clone(),
            destination: candidate.names.destination.clone(),
            version: candidate.names.version.clone(),
            peer: conn.endpoints.map(|(_, remote)| remote.ip()),
            user: conn.user.cloned(),
            open: vec![conn.id],
        };
        let id = self.groups.find(wanted);
        member.deploy = Some(id.clone());
        for PendingStep { mut description, ended, .. } in candidate.take_waiting() {
            description.service = description.service.take().or_else(|| candidate.names.service.clone());
            description.destination = description.destination.take().or_else(|| candidate.names.destination.clone());
            description.claimed = claims(&description, None, &[], &candidate.names);
            out.push(ended.finding(&id, description));
        }
        self.share(conn, &id, lineage);
    }

    /// The session is over and nothing named a service: what only the tool sends, or what its client ran that is enough
    /// (a login to a registry), was a deploy all the same.
    pub(super) fn session_over(&mut self, conn: &ConnectionView<'_>, lineage: &Lineage, out: &mut Vec<Finding>) {
        let Some(member) = self.members.get(&conn.id).filter(|member| member.deploy.is_none()) else { return };
        let tool = member.candidate.as_ref().and_then(|candidate| candidate.tool()).cloned();
        if let Some(tool) = tool {
            self.is_deploy(conn, &tool, lineage, out);
        }
    }
}
