//! How a deploy ended: by what happened, and not by the tool's name or its exit code alone.
//!
//! In: its steps with their results, connections that were made or failed, and the tool's exit. Out: the evidence
//! (`deploy.evidence`), success, failure or unknown, a reason, and a sentence. The definition says which steps prove
//! that something was deployed, which may fail, and what a failing one means. A step that fails and later succeeds on
//! the same host (waiting for a lock) is no failure.
//!
//! Only what leaves the tool's process tree is evidence: a command over an SSH connection of its own, as the probes of
//! the client or sshd's session of the same `ssh.connection.id` have it. A local step is a program of any name that the
//! user chose. It fails towards "unknown": a run of which nothing was seen has no success, and its exit code makes no
//! failure either. What a host answers is that host's word: of a host that the user controls too.

use super::{run::Run, seen::is_judged};
use crate::{
    deploy::Acts,
    event::{deploy::Evidence, stream::Status},
    finding::Outcome,
};

/// Addresses that a sentence names.
const NAMED_MAX: usize = 3;

/// The verdict.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

impl Run {
    /// What shows that the tool did anything. None: it ran before the sensor or while events were lost, and nothing was
    /// seen since.
    pub(super) fn evidence(&self) -> Option<Evidence> {
        let seen = &self.seen;
        let proof = &self.invocation.tool.definition.outcome.proof;
        let connected = !seen.contacted.is_empty() || !self.connections.is_empty();
        let unread = match self.invocation.acts() {
            Acts::Ssh => false,
            Acts::Tcp => seen.executed && connected,
            Acts::Local => seen.executed,
        };
        // Of the strongest kind that was tried: a container that was booted serves no traffic where the switch failed.
        let tried = proof.iter().find(|kind| seen.done.contains_key(*kind) || seen.failure_of(kind).is_some());
        let evidence = if tried.is_some_and(|kind| seen.done.contains_key(kind)) {
            Evidence::TrafficSwitched
        } else if seen.commands || unread {
            Evidence::Commands
        } else if connected {
            Evidence::Connections
        } else {
            Evidence::None
        };
        (evidence != Evidence::None || !(self.found || seen.missed)).then_some(evidence)
    }

    /// What can be said where nothing shows that the tool did anything.
    fn nothing(&self, evidence: Option<Evidence>, status: Status) -> String {
        let tool = &self.invocation.tool.name;
        let how = match status {
            Status::Code(0) => String::new(),
            Status::Code(code) => format!(" and ended with {code}"),
            Status::Signal { number, .. } => format!(" and was ended by signal {number}"),
        };
        match evidence {
            None => format!(
                "a program named {tool} ran{how}; what it did before the sensor, or among lost events, is not known"
            ),
            Some(Evidence::Connections) => {
                let all = &self.seen.contacted;
                let named = all.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
                let more = if all.len() > NAMED_MAX { ", ..." } else { "" };
                format!(
                    "a program named {tool} ran{how}; it connected to {named}{more}, and the sensor saw no command of {tool}"
                )
            }
            Some(_) => format!("a program named {tool} ran{how}; it did nothing that the sensor saw"),
        }
    }
}

/// How a run ended.
pub(super) fn verdict(run: &Run, evidence: Option<Evidence>, status: Status) -> Verdict {
    let acted = evidence.is_some_and(|evidence| evidence > Evidence::None);
    let ended = |reason: &str, message: &str| match acted {
        true => failure(Some(reason), message),
        false => Verdict { reason: Some(reason.into()), ..unknown(run.nothing(evidence, status)) },
    };
    match status {
        // Ctrl-C, a closed terminal, a supervisor: the tools exit with 130 or are ended by it.
        Status::Code(130) | Status::Signal { number: 1 | 2 | 15, .. } => {
            ended("interrupted", "the tool was interrupted before it was done")
        }
        Status::Signal { number, .. } => ended("killed", &format!("the tool was ended by signal {number}")),
        Status::Code(0) => succeeded(run, evidence),
        Status::Code(code) => match run.seen.cause() {
            // A step and the tool ended with a failure: both are the kernel's facts, and claim no deploy.
            Some((reason, message)) => failure(Some(&reason), &message),
            None if acted => failure(Some("tool-failed"), &format!("the tool ended with {code}")),
            None => unknown(run.nothing(evidence, status)),
        },
    }
}

fn failure(reason: Option<&str>, message: &str) -> Verdict {
    Verdict { outcome: Outcome::Failure, reason: reason.map(str::to_owned), message: Some(message.to_owned()) }
}

fn unknown(message: String) -> Verdict {
    Verdict { outcome: Outcome::Unknown, reason: None, message: Some(message) }
}

/// The tool says that it succeeded.
fn succeeded(run: &Run, evidence: Option<Evidence>) -> Verdict {
    if evidence.is_none_or(|evidence| evidence < Evidence::Commands) {
        return unknown(run.nothing(evidence, Status::Code(0)));
    }
    let seen = &run.seen;
    let rules = &run.invocation.tool.definition.outcome;
    let success = Verdict { outcome: Outcome::Success, reason: None, message: None };
    if !is_judged(run.invocation.kind) || rules.proof.is_empty() {
        return success;
    }
    for proof in &rules.proof {
        if let Some(failed) = seen.failure_of(proof) {
            return failure(failed.reason.as_deref(), &format!("`{}` ended with {}", failed.line, failed.status));
        }
        if seen.done.contains_key(proof) {
            return success;
        }
    }
    if run.found || seen.missed {
        return unknown("what would prove it may have been done before the sensor, or among lost events".into());
    }
    match rules.nothing_done.get(run.invocation.kind.name()) {
        Some(reason) => failure(Some(reason), "the tool said success and changed nothing"),
        None => unknown("the tool said success, and no step that proves it was seen".into()),
    }
}
