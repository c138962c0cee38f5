//! Findings that are still to be made: who and where, and a step that has ended.

use crate::{
    deploy::ClassifiedStep,
    finding::{
        DeployId, Field, Finding, FindingKind, Outcome, Quality, Subject, Time,
        deploy::{DeployStep, Description, Image},
    },
};

/// A step's line is cut here, as `process.command_line` is.
const LINE_MAX: usize = 4096;

/// Who and where, of a finding that is still to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) subject: Subject,
    pub(super) quality: Quality,
}

/// A step that has ended.
#[derive(Debug)]
pub(super) struct EndedStep {
    pub(super) time: Time,
    /// ns
    pub(super) duration: u64,
    pub(super) about: About,
    pub(super) step: ClassifiedStep,
    pub(super) line: Option<String>,
    pub(super) host: Option<String>,
    pub(super) status: Option<u32>,
}

impl EndedStep {
    /// Cuts the line to what a record shows.
    pub(super) fn cut(mut self) -> Self {
        if let Some(line) = self.line.as_mut().filter(|line| line.len() > LINE_MAX) {
            line.truncate(line.floor_char_boundary(LINE_MAX));
            self.about.quality.truncated.add(Field::DeployStepLine);
        }
        self
    }

    /// The step of this deploy, with what is known of that by then.
    pub(super) fn finding(self, deploy: &DeployId, description: Description) -> Finding {
        let Self { time, duration, about: About { mut subject, quality }, step, line, host, status } = self.cut();
        let image = Image { name: step.image, tag: step.tag };
        let kind = FindingKind::DeployStep(Box::new(DeployStep {
            description,
            kind: step.kind,
            line,
            host,
            role: step.role,
            exit_status: status,
            secrets: step.secrets,
            registry: step.registry,
            container: step.container,
            image: (image != Image::default()).then_some(image),
            exit: None,
        }));
        let outcome = match status {
            Some(0) => Outcome::Success,
            Some(_) => Outcome::Failure,
            None => Outcome::Unknown,
        };
        subject.deploy = Some(deploy.clone());
        Finding { duration: Some(duration), subject, quality, ..Finding::new(time, outcome, kind) }
    }
}
