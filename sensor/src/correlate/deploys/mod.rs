//! Deploys: a run of a deploy tool, and everything that hangs from it.
//!
//! What enters: execs and exits (by the tables of `processes`), facts about projects and hooks, and the commands of SSH
//! connections as `ssh` reads them. What leaves: `deploy-started`, `deploy-step`, `deploy-finished`, and the
//! `deploy.id` in the records of all its processes and connections. It rests on lineage: what descends from the tool
//! belongs to its deploy, and so does every SSH connection that such a process opens. An exec in place (shim, env,
//! ruby) is the same deploy, a tool below a running deploy is a step of it.
//!
//! On the other side, a session that runs what a tool sends is a deploy's too (`target`): the deployer's own, if that
//! is on this host and the connection's id says so, else one that this host knows by service, destination and who
//! connected. What a limit refuses is counted; a run whose root is lost ends unknown.
//!
//! A tool's name proves nothing: what was seen of its acts is `deploy.evidence` (`outcome`), and what only environment,
//! files or arguments say is named in `deploy.claimed` (`records`).

mod found;
mod local;
mod names;
mod outcome;
mod records;
mod remote;
mod target;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

pub(super) use records::describe_id;
pub(in crate::correlate) use remote::StepOf;
pub(in crate::correlate) use target::DeployCandidate;

use names::Names;
use outcome::Seen;
use target::Groups;

use crate::{
    bounded::Bounded,
    deploy::{ClassifiedStep, Invocation, Tools},
    event::{
        deploy::{Facts, ToolFile},
        record::Record,
        stream::{Path, ProcessId},
    },
};

/// Deploys at a time; a CI host has tens.
const RUNS_MAX: usize = 1024;
/// Facts that wait for their exec: it is the next event.
const FACTS_MAX: usize = 64;
/// Names of secrets told of one deploy.
const SECRETS_MAX: usize = 256;
/// Addresses that a deploy connected to: its inventory, and what its local steps fetch from.
const CONTACTED_MAX: usize = 4096;
/// Connections whose deploy is known after it ended.
const CONNECTIONS_MAX: usize = 8192;

/// A deploy tool that runs.
pub(in crate::correlate) struct Run {
    pub(super) id: Arc<str>,
    pub(super) root: ProcessId,
    pub(super) began: u64,
    pub(super) invocation: Invocation,
    pub(super) facts: Option<Facts>,
    /// What its records say of the tool's process.
    pub(super) about: Box<Record>,
    names: Names,
    pub(super) connections: Vec<Arc<str>>,
    /// Commands seen on a connection: by the client, by the server on the same host.
    pub(super) commands: HashMap<Arc<str>, (u64, u64)>,
    pub(super) local_steps: u64,
    /// Children that are steps, while they run.
    pub(super) children: HashMap<ProcessId, local::Child>,
    /// Names of the secrets that its steps handled.
    pub(super) secrets: Vec<String>,
    seen: Seen,
    /// It ran before the sensor: not all of it was seen.
    found: bool,
    /// The tool's own process, where the root only starts a container.
    pub(super) inner: Option<ProcessId>,
}

pub(super) struct Deploys {
    tools: Tools,
    facts: HashMap<ProcessId, Facts>,
    runs: HashMap<Arc<str>, Box<Run>>,
    /// `ssh.connection.id` to `deploy.id`.
    connections: Bounded<Arc<str>, Arc<str>>,
    groups: Groups,
    refused: u64,
    /// Addresses that were too many for a deploy's record.
    contacted_refused: u64,
}

impl Deploys {
    pub(super) fn new() -> Self {
        Self {
            tools: Tools::shipped(),
            facts: HashMap::new(),
            runs: HashMap::new(),
            connections: Bounded::new(CONNECTIONS_MAX),
            groups: Groups::default(),
            refused: 0,
            contacted_refused: 0,
        }
    }

    /// The user's definitions. What is wrong with them was said where they were read.
    pub(super) fn set_tools(&mut self, own: &[ToolFile]) {
        if let Ok(tools) = Tools::new(own) {
            self.tools = tools;
        }
    }

    pub(super) fn note(&mut self, facts: &Facts) {
        if self.facts.len() >= FACTS_MAX {
            self.facts.clear();
        }
        self.facts.insert(facts.process, facts.clone());
    }

    /// The working directory of a process that was there before, as it was read for its deploy.
    fn folder_of(&self, id: ProcessId) -> Option<Path> {
        self.facts.get(&id).and_then(|facts| facts.working_directory.clone())
    }

    fn add(&mut self, run: Run) {
        self.runs.insert(run.id.clone(), Box::new(run));
    }

    fn is_full(&mut self) -> bool {
        let full = self.runs.len() >= RUNS_MAX;
        self.refused += u64::from(full);
        full
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Run> {
        self.runs.get_mut(id).map(Box::as_mut)
    }

    /// The deploy whose connection this is.
    pub(super) fn by_connection(&self, connection: &str) -> Option<&Arc<str>> {
        self.connections.get(connection)
    }

    /// A connection that a deploy opened.
    pub(super) fn connected(&mut self, deploy: &Arc<str>, connection: &Arc<str>) {
        self.connections.insert(connection.clone(), deploy.clone());
        if let Some(run) = self.get_mut(deploy)
            && run.connections.len() < CONNECTIONS_MAX
            && !run.connections.contains(connection)
        {
            run.connections.push(connection.clone());
        }
    }

    /// A connection of this deploy was made.
    fn contacted(&mut self, deploy: &str, address: String) {
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
    pub(super) fn missed(&mut self) {
        for run in self.runs.values_mut() {
            run.seen.missed = true;
        }
    }

    pub(super) fn take_contacted_refused(&mut self) -> u64 {
        std::mem::take(&mut self.contacted_refused)
    }

    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }
}

impl Run {
    /// Steps so far: what both ends of a connection saw counts once.
    fn steps(&self) -> u64 {
        self.local_steps + self.commands.values().map(|(client, server)| client.max(server)).sum::<u64>()
    }

    /// The secrets of a step, by their names in the project.
    fn handled(&mut self, step: &mut ClassifiedStep) {
        step.secrets = self.invocation.secrets_of(&step.secrets, self.facts.as_ref());
        self.add_secrets(step.secrets.clone());
    }

    fn add_secrets(&mut self, secrets: Vec<String>) {
        for name in secrets {
            if !self.secrets.contains(&name) && self.secrets.len() < SECRETS_MAX {
                self.secrets.push(name);
            }
        }
    }
}
