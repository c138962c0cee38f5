//! The state of the machine of deploys.

use std::{collections::HashMap, sync::Arc};

use super::{candidate::Candidate, groups::Groups, run::Run};
use crate::{
    bounded::Bounded,
    correlate::lineage::{Process, SessionKey},
    deploy::{ClassifiedStep, Tool, Tools},
    event::{
        deploy::{Facts, ToolFile},
        ids::ConnectionId,
        stream::{Path, ProcessId},
    },
    finding::{CommandId, DeployId, SshConnectionId, Subject},
};

/// Deploys at a time; a CI host has tens.
const RUNS_MAX: usize = 1024;
/// Facts that wait for their exec: it is the next event.
const FACTS_MAX: usize = 64;
/// Addresses that a deploy connected to: its inventory, and what its local steps fetch from.
const CONTACTED_MAX: usize = 4096;
/// Connections whose deploy is known after it ended.
const CONNECTIONS_MAX: usize = 8192;

/// Sessions whose deploy is known: those of a busy day that are open or have survivors.
const SESSIONS_MAX: usize = 4096;
/// Commands of one connection that are steps: as many as it has open sessions at most.
const STEPS_MAX: usize = 256;

/// What a command is to a tool.
#[derive(Clone, Debug)]
pub(super) struct StepOf {
    pub(super) tool: Arc<Tool>,
    pub(super) step: ClassifiedStep,
}

/// An SSH connection that is a deploy's, or may be one's.
pub(super) struct Member {
    pub(super) deploy: Option<DeployId>,
    /// The deploy knows of it.
    pub(super) noted: bool,
    /// What a session's commands say of a deploy.
    pub(super) candidate: Option<Candidate>,
    pub(super) steps: Bounded<CommandId, StepOf>,
}

impl Default for Member {
    fn default() -> Self {
        Self { deploy: None, noted: false, candidate: None, steps: Bounded::new(STEPS_MAX) }
    }
}

/// What a finding is about, for the deploy that it belongs to.
#[derive(Clone, Copy)]
pub(in crate::correlate) enum Of<'a> {
    Connection(ConnectionId),
    Session(SessionKey),
    Process(&'a Process),
}

pub(in crate::correlate) struct Deploys {
    pub(super) tools: Tools,
    pub(super) facts: HashMap<ProcessId, Facts>,
    pub(super) runs: HashMap<DeployId, Box<Run>>,
    connections: Bounded<SshConnectionId, DeployId>,
    pub(super) groups: Groups,
    /// Connections that are open.
    pub(super) members: HashMap<ConnectionId, Member>,
    sessions: Bounded<SessionKey, DeployId>,
    refused: u64,
    /// Addresses that were too many for a deploy's record.
    contacted_refused: u64,
}

impl Deploys {
    pub(in crate::correlate) fn new() -> Self {
        Self {
            tools: Tools::shipped(),
            facts: HashMap::new(),
            runs: HashMap::new(),
            connections: Bounded::new(CONNECTIONS_MAX),
            groups: Groups::default(),
            members: HashMap::new(),
            sessions: Bounded::new(SESSIONS_MAX),
            refused: 0,
            contacted_refused: 0,
        }
    }

    /// The user's definitions. What is wrong with them is reported where they are read.
    pub(in crate::correlate) fn set_tools(&mut self, own: &[ToolFile]) {
        if let Ok(tools) = Tools::new(own) {
            self.tools = tools;
        }
    }

    pub(in crate::correlate) fn note(&mut self, facts: &Facts) {
        if self.facts.len() >= FACTS_MAX {
            self.facts.clear();
        }
        self.facts.insert(facts.process, facts.clone());
    }

    /// The working directory of a process that was there before, as it was read for its deploy.
    pub(in crate::correlate) fn folder_of(&self, id: ProcessId) -> Option<Path> {
        self.facts.get(&id).and_then(|facts| facts.working_directory.clone())
    }

    pub(super) fn add(&mut self, run: Run) {
        self.runs.insert(run.id.clone(), Box::new(run));
    }

    pub(super) fn is_full(&mut self) -> bool {
        let full = self.runs.len() >= RUNS_MAX;
        self.refused += u64::from(full);
        full
    }

    pub(super) fn get_mut(&mut self, id: &DeployId) -> Option<&mut Run> {
        self.runs.get_mut(id).map(Box::as_mut)
    }

    /// The deploy whose connection this is.
    pub(super) fn by_connection(&self, connection: &SshConnectionId) -> Option<&DeployId> {
        self.connections.get(connection)
    }

    /// A connection that a deploy opened.
    pub(super) fn connected(&mut self, deploy: &DeployId, connection: &SshConnectionId) {
        self.connections.insert(connection.clone(), deploy.clone());
        if let Some(run) = self.get_mut(deploy)
            && run.connections.len() < CONNECTIONS_MAX
            && !run.connections.contains(connection)
        {
            run.connections.push(connection.clone());
        }
    }

    /// A connection of this deploy was made.
    pub(super) fn record_contacted(&mut self, deploy: &DeployId, address: String) {
        let Some(run) = self.runs.get_mut(deploy) else { return };
        if run.seen.contacted.contains(&address) {
            return;
        }
        if run.seen.contacted.len() < CONTACTED_MAX {
            run.seen.contacted.push(address);
        } else {
            self.contacted_refused += 1;
        }
    }

    /// Events of the kernel were lost: that nothing was seen of a deploy that runs does not say that it did nothing.
    pub(in crate::correlate) fn missed(&mut self) {
        for run in self.runs.values_mut() {
            run.seen.missed = true;
        }
    }

    /// (kind, count) of what the limits refused since the last call.
    pub(in crate::correlate) fn take_refused(&mut self) -> [(&'static str, u64); 2] {
        [
            ("deploy-refused", std::mem::take(&mut self.refused)),
            ("deploy-contacted-refused", std::mem::take(&mut self.contacted_refused)),
        ]
    }

    /// Names the deploy that a finding belongs to.
    pub(in crate::correlate) fn label(&self, of: Of<'_>, subject: &mut Subject) {
        let id = match of {
            Of::Connection(id) => self.members.get(&id).and_then(|member| member.deploy.as_ref()),
            Of::Session(key) => self.sessions.get(&key),
            Of::Process(process) => process.marks.deploy.as_ref().or_else(|| self.sessions.get(&process.session?)),
        };
        subject.deploy = id.cloned();
    }

    /// A command's channel is gone, and with it what the command was to a tool.
    pub(in crate::correlate) fn command_gone(&mut self, connection: ConnectionId, command: &CommandId) {
        if let Some(member) = self.members.get_mut(&connection) {
            member.steps.remove(command);
        }
    }

    pub(in crate::correlate) fn forget_session(&mut self, session: SessionKey) {
        self.sessions.remove(&session);
    }

    /// A session's connection belongs to this deploy.
    pub(super) fn has_session(&mut self, key: SessionKey, deploy: &DeployId) {
        self.sessions.insert(key, deploy.clone());
    }

    #[cfg(test)]
    pub(in crate::correlate) fn len(&self) -> usize {
        self.runs.len()
    }
}
