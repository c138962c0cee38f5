//! A deploy tool that runs: what is known of it, and what its steps were.

use std::collections::HashMap;

use super::{about::About, names::Names, seen::Seen};
use crate::{
    deploy::{ClassifiedStep, Invocation},
    event::{deploy::Facts, stream::ProcessId},
    finding::{DeployId, SshConnectionId},
};

/// Names of secrets recorded of one deploy.
const SECRETS_MAX: usize = 256;

/// A deploy tool that runs.
pub(super) struct Run {
    pub(super) id: DeployId,
    pub(super) root: ProcessId,
    pub(super) began: u64,
    pub(super) invocation: Invocation,
    pub(super) facts: Option<Facts>,
    /// What its findings say of the tool's process.
    pub(super) about: About,
    pub(super) names: Names,
    pub(super) connections: Vec<SshConnectionId>,
    /// Commands seen on a connection: by the client, by the server on the same host.
    pub(super) commands: HashMap<SshConnectionId, (u64, u64)>,
    pub(super) local_steps: u64,
    /// Children that are steps, while they run.
    pub(super) children: HashMap<ProcessId, Child>,
    /// Names of the secrets that its steps handled.
    pub(super) secrets: Vec<String>,
    pub(super) seen: Seen,
    /// It ran before the sensor: not all of it was seen.
    pub(super) found: bool,
    /// The tool's own process, where the root only starts a container.
    pub(super) inner: Option<ProcessId>,
}

/// A child that is a step and runs.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) step: ClassifiedStep,
    /// Its command line, as its record shows it.
    pub(super) line: String,
    /// What its finding will say of the process.
    pub(super) about: Box<About>,
    pub(super) began: u64,
}

impl Run {
    /// Steps so far: what both ends of a connection saw counts once.
    pub(super) fn steps(&self) -> u64 {
        self.local_steps + self.commands.values().map(|(client, server)| client.max(server)).sum::<u64>()
    }

    /// The secrets of a step, by their names in the project.
    pub(super) fn handled(&mut self, step: &mut ClassifiedStep) {
        step.secrets = self.invocation.secrets_of(&step.secrets, self.facts.as_ref());
        self.add_secrets(step.secrets.clone());
    }

    pub(super) fn add_secrets(&mut self, secrets: Vec<String>) {
        for name in secrets {
            if !self.secrets.contains(&name) && self.secrets.len() < SECRETS_MAX {
                self.secrets.push(name);
            }
        }
    }
}
