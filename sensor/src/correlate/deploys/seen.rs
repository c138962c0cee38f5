//! What was seen of a run: connections, steps with their results.

use std::collections::BTreeMap;

use crate::{
    deploy::{ClassifiedStep, Invocation, Tool},
    event::deploy::Kind,
};

/// Failed steps remembered: the first one is the cause, the others follow from it.
const FAILED_MAX: usize = 64;
/// What was seen of a run.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The tool's own program was executed, and not another of its name.
    pub(super) executed: bool,
    /// Addresses that its connections were made to.
    pub(super) contacted: Vec<String>,
    /// Commands of the tool ran over its connections.
    pub(super) commands: bool,
    /// Events were lost while it ran.
    pub(super) missed: bool,
    /// Remote steps of a kind that ended well.
    pub(super) done: BTreeMap<String, u64>,
    failed: Vec<Failed>,
    /// A step that is only taken after a failure: its reason.
    tail: Option<String>,
    /// The first connection that failed: where to, and why.
    pub(super) unreachable: Option<(String, String)>,
    /// The host that let nobody in.
    pub(super) refused: Option<String>,
}

#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kind: String,
    host: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) line: String,
    pub(super) status: u32,
    remote: bool,
}

/// The end of a step.
pub(super) struct Ended<'a> {
    pub(super) step: &'a ClassifiedStep,
    pub(super) host: Option<&'a str>,
    pub(super) line: &'a str,
    /// None: it is not known how.
    pub(super) status: Option<u32>,
    pub(super) remote: bool,
}

impl Seen {
    /// A command runs over a connection of the run: is it one of the tool?
    pub(super) fn commanded(&mut self, invocation: &Invocation, step: &ClassifiedStep) {
        self.commands |= match invocation.tool.remote.is_empty() {
            // What Ansible or Fabric sends has no form of its own: whose command it is depends on who sends it.
            true => self.executed,
            false => step.known || !is_judged(invocation.kind),
        };
    }

    pub(super) fn observe(&mut self, ended: &Ended<'_>, tool: &Tool) {
        let step = ended.step;
        let rules = &tool.definition.outcome;
        if let Some(reason) = rules.failure_tail.get(&step.kind) {
            self.tail.get_or_insert_with(|| reason.clone());
        }
        match ended.status {
            Some(0) => {
                if ended.remote {
                    *self.done.entry(step.kind.clone()).or_default() += 1;
                }
                self.failed.retain(|failed| failed.kind != step.kind || failed.host.as_deref() != ended.host);
            }
            Some(status) if !step.may_fail && self.failed.len() < FAILED_MAX => self.failed.push(Failed {
                kind: step.kind.clone(),
                host: ended.host.map(str::to_owned),
                reason: step.reason.clone(),
                line: ended.line.to_owned(),
                status,
                remote: ended.remote,
            }),
            _ => {}
        }
    }

    pub(super) fn failure_of(&self, kind: &str) -> Option<&Failed> {
        self.failed.iter().find(|failed| failed.remote && failed.kind == kind)
    }

    pub(super) fn cause(&self) -> Option<(String, String)> {
        if let Some(failed) = self.failed.first() {
            let place = failed.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
            let message = format!("`{}` ended with {}{place}", failed.line, failed.status);
            return Some((failed.reason.clone().unwrap_or_else(|| "step-failed".into()), message));
        }
        if let Some(reason) = &self.tail {
            return Some((reason.clone(), "the tool gave up on a container that did not become healthy".into()));
        }
        if let Some((host, why)) = &self.unreachable {
            return Some(("unreachable".into(), format!("{host} could not be reached: {why}")));
        }
        let host = self.refused.as_ref()?;
        Some(("authentication-failed".into(), format!("{host} refused every way to log in")))
    }
}

/// Actions that are judged by their steps.
pub(super) fn is_judged(kind: Kind) -> bool {
    matches!(kind, Kind::Deploy | Kind::Rollback)
}
