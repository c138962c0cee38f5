//! Records of deploys: what they all say, which of it is only said (`deploy.claimed`), and what a step adds.

use std::sync::Arc;

use super::{names::Names, run::Run};
use crate::{
    deploy::ClassifiedStep,
    event::{
        deploy::FileState,
        record::{Action, Deploy, DeployConfig, DeployFields, DeployStep, Image, Outcome, Record},
    },
};

/// A step's line is cut here, as `process.command_line` is.
const LINE_MAX: usize = 4096;

/// A step of this deploy. `fields`: what is known of the deploy by then.
pub(super) fn describe_step(
    record: &mut Record,
    deploy: &Arc<str>,
    mut fields: DeployFields,
    step: &ClassifiedStep,
    line: Option<String>,
    host: Option<String>,
    status: Option<u32>,
) {
    let mut line = line;
    if let Some(line) = line.as_mut().filter(|line| line.len() > LINE_MAX) {
        line.truncate(line.floor_char_boundary(LINE_MAX));
        record.sensor.truncated.get_or_insert_default().push("deploy.step.line");
    }
    let image = Image { name: step.image.clone(), tag: step.tag.clone() };
    let image = (image.name.is_some() || image.tag.is_some()).then_some(image);
    if step.container.is_some() || image.is_some() {
        let container = record.container.get_or_insert_default();
        (container.name, container.image) = (step.container.clone(), image);
    }
    fields.step = Some(DeployStep {
        kind: step.kind.clone(),
        line,
        host,
        role: step.role.clone(),
        exit_status: status,
        secrets: step.secrets.clone(),
        registry: step.registry.clone(),
    });
    record.deploy = Some(Deploy { id: deploy.clone(), fields: Some(Box::new(fields)) });
}

/// What is known of a deploy by its commands.
pub(super) fn fields_of(names: &Names, tool: Arc<str>) -> DeployFields {
    DeployFields {
        tool: Some(tool),
        service: names.service.clone(),
        destination: names.destination.clone(),
        version: names.version.clone(),
        performer: names.performer.clone(),
        ..DeployFields::default()
    }
}

/// The fields that rest on what environment, files or arguments say, and on no act that was seen. Who really ran it is
/// in `user.*`; nothing that a tool does can confirm a performer.
pub(super) fn claims(fields: &DeployFields, names: &Names) -> Vec<&'static str> {
    let is = |field, value: &Option<String>| value.as_ref().is_some_and(|value| !names.is_confirmed(field, value));
    let all = |field, values: &[String]| values.iter().any(|value| !names.is_confirmed(field, value));
    let found = [
        ("deploy.destination", is("deploy.destination", &fields.destination)),
        ("deploy.hosts", fields.hosts.iter().any(|host| !fields.contacted.contains(host))),
        ("deploy.performer", fields.performer.is_some()),
        ("deploy.previous_version", is("deploy.previous_version", &fields.previous_version)),
        ("deploy.roles", all("deploy.roles", &fields.roles)),
        ("deploy.secrets", !fields.secrets.is_empty()),
        ("deploy.service", is("deploy.service", &fields.service)),
        ("deploy.tool_version", fields.tool_version.is_some()),
        ("deploy.version", is("deploy.version", &fields.version)),
    ];
    found.into_iter().filter(|(_, claimed)| *claimed).map(|(field, _)| field).collect()
}

impl Run {
    /// The same, by its command line, its project and its hooks too.
    pub(super) fn fields(&self) -> DeployFields {
        let (invocation, facts) = (&self.invocation, self.facts.as_ref());
        let names = &self.names;
        DeployFields {
            action: Some(invocation.kind.name()),
            verb: Some(invocation.verb.clone()).filter(|verb| !verb.is_empty()),
            service: invocation.service(facts).or_else(|| names.service.clone()),
            destination: invocation.destination(facts).or_else(|| names.destination.clone()),
            version: invocation.version(facts).or_else(|| names.version.clone()),
            previous_version: names.previous.clone(),
            performer: invocation.performer(facts).or_else(|| names.performer.clone()),
            tool_version: invocation.tool_version(facts),
            ..fields_of(names, invocation.tool.name.clone())
        }
    }

    /// A record of the deploy itself.
    pub(super) fn record(&self, time: i64, action: Action, outcome: Outcome) -> Record {
        let mut record = Record { time, action, outcome, ..Record::clone(&self.about) };
        let facts = self.facts.as_ref();
        let mut fields = self.fields();
        fields.hosts = self.invocation.hosts(facts);
        fields.roles = self.invocation.roles(facts);
        fields.secrets.clone_from(&self.secrets);
        fields.config = facts.and_then(|facts| facts.project.as_ref()).map(|project| DeployConfig {
            files: project
                .files
                .iter()
                .filter(|file| file.state == FileState::Read)
                .map(|file| file.path.clone())
                .collect(),
            unread: project
                .files
                .iter()
                .filter(|file| !matches!(file.state, FileState::Read | FileState::Missing))
                .map(|file| format!("{}: {}", file.path, file.state.name()))
                .collect(),
        });
        if action == Action::DeployFinished {
            fields.connections.clone_from(&self.connections);
            fields.contacted.clone_from(&self.seen.contacted);
            fields.steps = Some(self.steps());
        }
        fields.claimed = claims(&fields, &self.names);
        record.deploy = Some(Deploy { id: self.id.clone(), fields: Some(Box::new(fields)) });
        record
    }

    /// A step of this deploy.
    pub(super) fn describe_step(
        &self,
        record: &mut Record,
        step: &ClassifiedStep,
        line: Option<String>,
        host: Option<String>,
        status: Option<u32>,
    ) {
        let mut fields = self.fields();
        fields.claimed = claims(&fields, &self.names);
        describe_step(record, &self.id, fields, step, line, host, status);
    }
}
