//! Findings of deploys: what they all say, which of it is only said (`Description::claimed`), and what a step adds.

use std::sync::Arc;

use super::{about::About, names::Names, run::Run};
use crate::{
    event::deploy::{FileState, Project},
    finding::{
        Finding, FindingKind, Outcome, Time,
        deploy::{Claim, ConfigFiles, DeployFinished, DeployStarted, Description, Extent},
    },
};

/// What is known of a deploy by its commands.
pub(super) fn described(names: &Names, tool: Arc<str>) -> Description {
    Description {
        tool: Some(tool),
        service: names.service.clone(),
        destination: names.destination.clone(),
        version: names.version.clone(),
        performer: names.performer.clone(),
        ..Description::default()
    }
}

/// What rests on what environment, files or arguments say, and on no act that was seen. Who really ran it is in
/// `user.*`; nothing that a tool does can confirm a performer. `contacted`: addresses that it connected to.
pub(super) fn claims(
    description: &Description,
    extent: Option<&Extent>,
    contacted: &[String],
    names: &Names,
) -> Vec<Claim> {
    let is = |claim, value: &Option<String>| value.as_ref().is_some_and(|value| !names.is_confirmed(claim, value));
    let is_claimed = |claim: &Claim| match claim {
        Claim::Destination => is(*claim, &description.destination),
        Claim::Hosts => extent.is_some_and(|extent| extent.hosts.iter().any(|host| !contacted.contains(host))),
        Claim::Performer => description.performer.is_some(),
        Claim::PreviousVersion => is(*claim, &description.previous_version),
        Claim::Roles => extent.is_some_and(|extent| extent.roles.iter().any(|role| !names.is_confirmed(*claim, role))),
        Claim::Secrets => extent.is_some_and(|extent| !extent.secrets.is_empty()),
        Claim::Service => is(*claim, &description.service),
        Claim::ToolVersion => description.tool_version.is_some(),
        Claim::Version => is(*claim, &description.version),
    };
    Claim::ALL.into_iter().filter(is_claimed).collect()
}

fn config_files(project: &Project) -> ConfigFiles {
    let files = project.files.iter();
    ConfigFiles {
        files: files.clone().filter(|file| file.state == FileState::Read).map(|file| file.path.clone()).collect(),
        unread: files
            .filter(|file| !matches!(file.state, FileState::Read | FileState::Missing))
            .map(|file| format!("{}: {}", file.path, file.state.name()))
            .collect(),
    }
}

impl Run {
    /// The same as `described`, by its command line, its project and its hooks too.
    fn description(&self) -> Description {
        let (invocation, facts) = (&self.invocation, self.facts.as_ref());
        let names = &self.names;
        Description {
            action: Some(invocation.kind),
            verb: Some(invocation.verb.clone()).filter(|verb| !verb.is_empty()),
            service: invocation.service(facts).or_else(|| names.service.clone()),
            destination: invocation.destination(facts).or_else(|| names.destination.clone()),
            version: invocation.version(facts).or_else(|| names.version.clone()),
            previous_version: names.previous.clone(),
            performer: invocation.performer(facts).or_else(|| names.performer.clone()),
            tool_version: invocation.tool_version(facts),
            ..described(names, invocation.tool.name.clone())
        }
    }

    /// What its steps say of it.
    pub(super) fn description_of_steps(&self) -> Description {
        let mut description = self.description();
        description.claimed = claims(&description, None, &[], &self.names);
        description
    }

    /// What it says of itself; of its hosts those count as seen that it has contacted.
    fn described_in_full(&self, contacted: &[String]) -> (Description, Extent) {
        let facts = self.facts.as_ref();
        let mut description = self.description();
        let extent = Extent {
            hosts: self.invocation.hosts(facts),
            roles: self.invocation.roles(facts),
            secrets: self.secrets.clone(),
            config: facts.and_then(|facts| facts.project.as_deref()).map(config_files),
            connections: self.connections.clone(),
        };
        description.claimed = claims(&description, Some(&extent), contacted, &self.names);
        (description, extent)
    }

    pub(super) fn started(&self, time: Time) -> Finding {
        let (description, extent) = self.described_in_full(&[]);
        let kind = FindingKind::DeployStarted(Box::new(DeployStarted { description, extent }));
        self.finding(time, Outcome::Unknown, kind)
    }

    /// The end, but for the verdict.
    pub(super) fn finished(&self) -> DeployFinished {
        let (description, extent) = self.described_in_full(&self.seen.contacted);
        DeployFinished {
            description,
            extent,
            contacted: self.seen.contacted.clone(),
            steps: Some(self.steps()),
            ..DeployFinished::default()
        }
    }

    /// A finding about the tool's process.
    pub(super) fn finding(&self, time: Time, outcome: Outcome, kind: FindingKind) -> Finding {
        let About { mut subject, quality } = self.about.clone();
        subject.deploy = Some(self.id.clone());
        Finding { subject, quality, ..Finding::new(time, outcome, kind) }
    }
}
