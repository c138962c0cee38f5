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

use std::collections::BTreeMap;

use super::Run;
use crate::{
    deploy::{Acts, ClassifiedStep, Invocation, Tool},
    event::{
        deploy::{Evidence, Kind},
        record::Outcome,
        stream::Status,
    },
};

/// Failed steps remembered: the first one is the cause, the others follow from it.
const FAILED_MAX: usize = 64;
/// Addresses that a sentence names.
const NAMED_MAX: usize = 3;

/// What was seen of a run.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The tool's own program was executed, and not another of its name.
    pub(super) executed: bool,
    /// Addresses that its connections were made to.
    pub(super) contacted: Vec<String>,
    /// Commands of the tool ran over its connections.
    commands: bool,
    /// Events were lost while it ran.
    pub(super) missed: bool,
    /// Remote steps of a kind that ended well.
    done: BTreeMap<String, u64>,
    failed: Vec<Failed>,
    /// A step that is only taken after a failure: its reason.
    tail: Option<String>,
    /// The first connection that failed: where to, and why.
    pub(super) unreachable: Option<(String, String)>,
    /// The host that let nobody in.
    pub(super) refused: Option<String>,
}

#[derive(Debug)]
struct Failed {
    kind: String,
    host: Option<String>,
    reason: Option<String>,
    line: String,
    status: u32,
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

/// The verdict.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
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

    fn failure_of(&self, kind: &str) -> Option<&Failed> {
        self.failed.iter().find(|failed| failed.remote && failed.kind == kind)
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

/// Actions that are judged by their steps.
fn is_judged(kind: Kind) -> bool {
    matches!(kind, Kind::Deploy | Kind::Rollback)
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
