//! The tree of a deploy: nodes that a renderer draws and JSON shows as they are. Names are a contract, as in `deploy`.

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::{deploy::Outcome, record::Record};
use crate::finding::Time;

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Node {
    pub kind: Kind,
    /// What is to be read: a command line, a path, a name.
    pub line: String,
    pub time: Option<Time>,
    /// ns
    pub duration: Option<u64>,
    pub outcome: Option<Outcome>,
    pub exit_status: Option<u64>,
    pub exit_signal: Option<String>,
    pub host: Option<String>,
    pub role: Option<String>,
    pub container: Option<String>,
    pub image: Option<String>,
    /// What else a reader must know.
    pub note: Option<String>,
    /// This is what made the deploy fail.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failing: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A heading: what it groups is in `line`.
    #[default]
    Section,
    ConfigFile,
    Secret,
    Lock,
    Hook,
    /// A local child of the deploy tool.
    Local,
    Host,
    Connection,
    /// A command on a host.
    Remote,
    Process,
}

impl Node {
    pub(super) fn new(kind: Kind, line: impl Into<String>) -> Self {
        Self { kind, line: line.into(), ..Self::default() }
    }

    pub(super) fn section(line: &str, children: Vec<Self>) -> Self {
        Self { children, ..Self::new(Kind::Section, line) }
    }

    pub fn has_failed(&self) -> bool {
        self.outcome == Some(Outcome::Failure)
    }

    /// What a step's record says, where it is not known yet.
    pub(super) fn learn_step(&mut self, record: &Record) {
        self.duration = self.duration.or(record.finding.duration);
        self.learn_outcome(record.outcome());
        let Some(step) = record.step() else { return };
        self.exit_status = self.exit_status.or(step.exit_status.map(u64::from));
        if step.exit_status.is_some_and(|status| status != 0) {
            self.outcome = Some(Outcome::Failure);
        }
        let image = step.image.as_ref().and_then(|image| {
            let name = image.name.as_ref()?;
            Some(image.tag.as_ref().map_or_else(|| name.clone(), |tag| format!("{name}:{tag}")))
        });
        for (known, new) in [
            (&mut self.role, step.role.as_ref()),
            (&mut self.container, step.container.as_ref()),
            (&mut self.image, image.as_ref()),
        ] {
            if known.is_none() {
                *known = new.cloned();
            }
        }
    }

    /// Failure is the worst that is known, and stays.
    pub(super) fn learn_outcome(&mut self, outcome: Outcome) {
        if outcome != Outcome::Unknown && self.outcome != Some(Outcome::Failure) {
            self.outcome = Some(outcome);
        }
    }
}
