//! How a deploy ended: by what happened, and not by the tool's exit code alone.
//!
//! In: its steps with their results, connections that failed, and the tool's exit. Out: success, failure or unknown, a reason, and a sentence. The definition says which steps prove that something was
//! deployed, which may fail, and what a failing one means. A step that fails and later succeeds on the same host (waiting for a lock) is no failure.

use std::collections::BTreeMap;

use super::Run;
use crate::event::{deploy::Kind, record::Outcome, stream::Status};

/// Failed steps remembered: the first one is the cause, the others follow from it.
const FAILED_MAX: usize = 64;

/// What the steps show.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Remote commands were seen.
    pub(super) remote: bool,
    /// Steps of a kind that ended well.
    done: BTreeMap<String, u64>,
    failed: Vec<Failed>,
    /// A step that is only taken after a failure: its reason.
    tail: Option<String>,
    /// The first connection that failed: where to, and why.
    pub(super) unreachable: Option<(String, String)>,
    /// The host that let nobody in.
    pub(super) refused: Option<String>,
    /// A hook that only runs after success has run.
    succeeded: bool,
}

#[derive(Debug)]
struct Failed {
    kind: String,
    host: Option<String>,
    reason: Option<String>,
    line: String,
    status: u32,
}

/// The end of a step.
pub(super) struct Ended<'a> {
    pub(super) step: &'a crate::deploy::Remote,
    pub(super) host: Option<&'a str>,
    pub(super) line: &'a str,
    /// None: it is not known how.
    pub(super) status: Option<u32>,
    pub(super) remote: bool,
}

/// The verdict.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

impl Evidence {
    pub(super) fn observe(&mut self, ended: &Ended<'_>, run: &crate::deploy::Tool) {
        let step = ended.step;
        let rules = &run.definition.outcome;
        self.remote |= ended.remote;
        if let Some(reason) = rules.failure_tail.get(&step.kind) {
            self.tail.get_or_insert_with(|| reason.clone());
        }
        match ended.status {
            Some(0) => {
                *self.done.entry(step.kind.clone()).or_default() += 1;
                self.succeeded |= step.hook.as_ref().is_some_and(|hook| rules.success_hooks.contains(hook));
                self.failed.retain(|failed| failed.kind != step.kind || failed.host.as_deref() != ended.host);
            }
            Some(status) if !step.may_fail && self.failed.len() < FAILED_MAX => self.failed.push(Failed {
                kind: step.kind.clone(),
                host: ended.host.map(str::to_owned),
                reason: step.reason.clone(),
                line: ended.line.to_owned(),
                status,
            }),
            _ => {}
        }
    }

    fn cause(&self) -> Option<(String, String)> {
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

/// How a run ended.
pub(super) fn verdict(run: &Run, status: Status) -> Verdict {
    let failure = |reason: &str, message: String| Verdict {
        outcome: Outcome::Failure,
        reason: Some(reason.into()),
        message: Some(message),
    };
    match status {
        // Ctrl-C, a closed terminal, a supervisor: the tools exit with 130 or are ended by it.
        Status::Code(130) | Status::Signal { number: 1 | 2 | 15, .. } => {
            failure("interrupted", "the tool was interrupted before it was done".into())
        }
        Status::Signal { number, .. } => failure("killed", format!("the tool was ended by signal {number}")),
        Status::Code(0) => succeeded(run),
        Status::Code(code) => match run.evidence.cause() {
            Some((reason, message)) => failure(&reason, message),
            None => failure("tool-failed", format!("the tool ended with {code}")),
        },
    }
}

/// The tool says that it succeeded.
fn succeeded(run: &Run) -> Verdict {
    let evidence = &run.evidence;
    let rules = &run.invocation.tool.definition.outcome;
    let kind = run.invocation.kind;
    let verdict = |outcome, reason: Option<&String>, message: Option<&str>| Verdict {
        outcome,
        reason: reason.cloned(),
        message: message.map(str::to_owned),
    };
    let success = || verdict(Outcome::Success, None, None);
    if !matches!(kind, Kind::Deploy | Kind::Rollback) || rules.proof.is_empty() {
        return success();
    }
    let tried = |proof: &String| {
        evidence.done.contains_key(proof) || evidence.failed.iter().any(|failed| failed.kind == *proof)
    };
    // What proves it may have been done before the sensor was there.
    let unseen = run.found && !rules.proof.iter().any(tried);
    if !evidence.remote || unseen {
        let unsure = rules.unsure.contains(&kind) && !evidence.succeeded;
        return if unsure { verdict(Outcome::Unknown, None, None) } else { success() };
    }
    for proof in &rules.proof {
        if let Some(failed) = evidence.failed.iter().find(|failed| failed.kind == *proof) {
            let message = format!("`{}` ended with {}", failed.line, failed.status);
            return verdict(Outcome::Failure, failed.reason.as_ref(), Some(&message));
        }
        if evidence.done.contains_key(proof) {
            return success();
        }
    }
    let reason = rules.nothing_done.get(kind.name());
    verdict(Outcome::Failure, reason, Some("the tool said success and changed nothing"))
}
