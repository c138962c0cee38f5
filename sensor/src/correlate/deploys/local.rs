//! The deployer's processes: which exec starts a deploy, which child is a step of one, and the end.
//!
//! An exec is examined twice: before its finding is made (does it start or belong to a deploy? what belongs to one is
//! emitted, in a session or not) and when its text is known. A child is a step if a rule of the tool knows it and no
//! step runs above it: what a hook starts is the hook's.
//!
//! A process that was there before the sensor enters in the same way, with what /proc has of it: its arguments, which
//! the process itself could have changed, and its project as it is now. What the tool did before is not known: no step
//! of then counts.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::{
    about::{About, EndedStep},
    machine::Deploys,
    names::Names,
    outcome::verdict,
    run::{Child, Run},
    seen::{Ended, Seen},
};
use crate::{
    correlate::{
        facts::Unreachable,
        lineage::{Lineage, Process, container_id, exit},
    },
    deploy::{self, Invocation, classify_local},
    event::{
        deploy::{Evidence, Facts},
        stream::{Exec, Exit, ProcessId, ProcessSnapshot, Status},
    },
    finding::{self, DeployId, Finding, FindingKind, Outcome, Time},
};

/// Processes between a child and the tool: a shell, `env`, a wrapper or two.
const ABOVE_MAX: usize = 32;
/// Children that are steps at a time.
const CHILDREN_MAX: usize = 256;

/// A deploy that an exec starts.
pub(in crate::correlate) struct Beginning {
    id: DeployId,
    invocation: Invocation,
    facts: Option<Facts>,
    found: bool,
}

impl Beginning {
    /// It began before the sensor did.
    pub(in crate::correlate) fn found(self) -> Self {
        Self { found: true, ..self }
    }
}

/// `deploy.id`: from the identity of what it began with, so it is the same on a replay and after a restart.
pub(super) fn deploy_id(of: &str) -> DeployId {
    let hash = Sha256::new().chain_update(b"deploy").chain_update(of.as_bytes()).finalize();
    hex::encode(hash.get(..8).unwrap_or_default()).into()
}

/// Is the program of this exec the tool itself?
fn is_executed(invocation: &Invocation, exec: &Exec) -> bool {
    let path = exec.executable.as_ref().filter(|path| !path.cut);
    path.and_then(|path| std::str::from_utf8(&path.bytes).ok()).is_some_and(|path| invocation.is_executed(path))
}

impl Deploys {
    /// Does this exec start a deploy, or continue one? The mark is for the process; what it inherits from its parent it
    /// has already.
    pub(in crate::correlate) fn begins(
        &mut self,
        exec: &Exec,
        lineage: &Lineage,
    ) -> (Option<DeployId>, Option<Beginning>) {
        let id = exec.task.id;
        let facts = self.facts.remove(&id);
        let Some(process) = lineage.process(id) else { return (None, None) };
        if let Some(run) = process.marks.deploy.as_ref().and_then(|deploy| self.runs.get_mut(deploy)) {
            let again = self.tools.read(exec, facts.as_ref());
            if let Some(again) = again.filter(|again| run.invocation.same_request(again)) {
                run.seen.executed |= is_executed(&again, exec);
                run.invocation.goes_on_as(&again);
                // `sudo kamal`, `timeout 1h kamal`: the tool itself is the child.
                if run.inner.is_none() && id != run.root {
                    run.inner = Some(id);
                }
            }
            if let Some(facts) = facts {
                run.note(facts);
            }
            return (None, None);
        }
        if self.is_remote_step(process, lineage) {
            return (None, None);
        }
        let Some(invocation) = self.tools.read(exec, facts.as_ref()) else { return (None, None) };
        let deploy = match self.outer(exec, &invocation) {
            Some(outer) => {
                if let Some(run) = self.get_mut(&outer) {
                    run.seen.executed |= is_executed(&invocation, exec);
                    run.inner = Some(id);
                }
                outer
            }
            None if self.is_full() => return (None, None),
            None => deploy_id(&lineage.entity(id)),
        };
        let begins = !self.runs.contains_key(&deploy);
        let beginning = begins.then(|| Beginning { id: deploy.clone(), invocation, facts, found: false });
        (Some(deploy), beginning)
    }

    /// Can a process that was there before the sensor be a deploy, or a step of one?
    pub(in crate::correlate) fn may_be(&self, process: &Process, found: &ProcessSnapshot) -> bool {
        let executable = found.executable.as_ref().map(|path| path.bytes.as_slice());
        process.marks.deploy.is_some() || self.tools.may_match(&found.args, executable)
    }

    /// The run that started the container in which this tool runs: the same command line, and not yet found inside.
    fn outer(&self, exec: &Exec, invocation: &Invocation) -> Option<DeployId> {
        exec.task.names.cgroup.as_deref().and_then(container_id)?;
        let same =
            |run: &&Run| run.invocation.container && run.inner.is_none() && run.invocation.same_request(invocation);
        let runs = self.runs.values().map(Box::as_ref).filter(same);
        runs.max_by_key(|run| (run.began, run.id.clone())).map(|run| run.id.clone())
    }

    /// A command of a session that a tool sent: its programs are steps, and start no deploy of their own.
    fn is_remote_step(&self, process: &Process, lineage: &Lineage) -> bool {
        let session = process.session.and_then(|key| lineage.session(key));
        let member = session.and_then(|session| session.socket).and_then(|socket| self.members.get(&socket));
        let (Some(member), Some(command)) = (member, &process.marks.command) else { return false };
        member.steps.contains_key(command)
    }

    /// The deploy begins. `about`: the finding of the tool's process.
    pub(in crate::correlate) fn started(
        &mut self,
        time: u64,
        exec: &Exec,
        about: Finding,
        beginning: Beginning,
        lineage: &Lineage,
    ) -> Finding {
        let Beginning { id, invocation, facts, found } = beginning;
        let mut about = About { subject: about.subject, quality: about.quality };
        about.quality.inferred = found;
        let mut names = Names::default();
        names.service = invocation.service(facts.as_ref());
        names.destination = invocation.destination(facts.as_ref());
        names.version = invocation.version(facts.as_ref());
        if let Some(project) = facts.as_ref().and_then(|facts| facts.project.as_ref()) {
            names.add_roles(&project.roles);
        }
        let mut seen = Seen::default();
        seen.executed = is_executed(&invocation, exec);
        let mut run = Run {
            id,
            root: exec.task.id,
            began: time,
            invocation,
            facts,
            about,
            names,
            connections: Vec::new(),
            commands: std::collections::HashMap::new(),
            local_steps: 0,
            children: std::collections::HashMap::new(),
            secrets: Vec::new(),
            seen,
            found,
            inner: None,
        };
        run.add_secrets(run.invocation.secrets(run.facts.as_ref()));
        let finding = run.started(lineage.time(time));
        self.add(run);
        finding
    }

    /// An exec below a deploy: is it a step?
    #[allow(clippy::collapsible_match, reason = "a guard would need an arm that does nothing")]
    pub(in crate::correlate) fn child(
        &mut self,
        time: u64,
        exec: &Exec,
        line: Option<&str>,
        about: impl FnOnce(&Self) -> Finding,
        lineage: &Lineage,
    ) {
        let id = exec.task.id;
        let Some(deploy) = lineage.process(id).and_then(|process| process.marks.deploy.clone()) else { return };
        let Some(run) = self.runs.get(&deploy) else { return };
        if run.root == id
            || run.inner == Some(id)
            || (!run.children.contains_key(&id) && below_a_step(run, id, lineage))
        {
            return;
        }
        let argv = deploy::texts(&exec.args);
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let executable = exec.executable.as_ref().and_then(|path| std::str::from_utf8(&path.bytes).ok());
        let mut step = classify_local(&run.invocation.tool, &argv, executable);
        if !step.known {
            return;
        }
        let line = line.unwrap_or_default().to_owned();
        let Finding { subject, quality, .. } = about(self);
        let about = Box::new(About { subject, quality });
        let Some(run) = self.get_mut(&deploy) else { return };
        let room = run.children.len() < CHILDREN_MAX;
        match run.children.get_mut(&id) {
            // In place: `sh -c`, `env`, then the program itself.
            Some(child) => {
                if step.kind == child.step.kind {
                    (child.line, child.about) = (line, about);
                }
            }
            None if room => {
                run.names.learn(&mut step);
                run.handled(&mut step);
                run.children.insert(id, Child { step, line, about, began: time });
            }
            None => {}
        }
    }

    /// A process made a TCP connection. What a hook connects to is the hook's, and says nothing of the hosts.
    pub(in crate::correlate) fn contacted(&mut self, id: ProcessId, address: IpAddr, lineage: &Lineage) {
        let Some(deploy) = lineage.process(id).and_then(|process| process.marks.deploy.clone()) else { return };
        let Some(run) = self.runs.get(&deploy) else { return };
        if step_above(run, Some(id), lineage).is_none_or(|child| child.step.hook.is_none()) {
            self.record_contacted(&deploy, address.to_canonical().to_string());
        }
    }

    /// A connection of a deploy was never made.
    pub(in crate::correlate) fn unreachable(&mut self, failed: &Unreachable<'_>) {
        let Some(run) = self.get_mut(failed.deploy) else { return };
        let own = [Some(run.root), run.inner].contains(&Some(failed.process));
        if own || failed.by_ssh {
            run.seen.unreachable.get_or_insert_with(|| (failed.remote.ip().to_string(), failed.why.to_owned()));
        }
    }

    /// A process of a deploy ended: a step, or the deploy.
    pub(in crate::correlate) fn exited(
        &mut self,
        time: u64,
        exit: &Exit,
        process: &Process,
        lineage: &Lineage,
        out: &mut Vec<Finding>,
    ) {
        let Some(deploy) = &process.marks.deploy else { return };
        let Some(run) = self.runs.get_mut(deploy) else { return };
        if let Some(child) = run.children.remove(&process.id) {
            out.push(run.child_ended(lineage.time(time), time, child, exit.status));
        }
        if run.root == process.id {
            self.finished(time, &deploy.clone(), Some(exit.status), lineage, out);
        }
    }

    fn finished(
        &mut self,
        time: u64,
        deploy: &DeployId,
        status: Option<Status>,
        lineage: &Lineage,
        out: &mut Vec<Finding>,
    ) {
        let Some(run) = self.runs.remove(deploy) else { return };
        let evidence = run.evidence().filter(|evidence| status.is_some() || *evidence != Evidence::None);
        let mut finished = run.finished();
        finished.evidence = evidence;
        let mut outcome = Outcome::Unknown;
        if let Some(status) = status {
            let verdict = verdict(&run, evidence, status);
            outcome = verdict.outcome;
            finished.reason = verdict.reason.map(Into::into);
            finished.message = verdict.message.map(Into::into);
            finished.exit = Some(exit(status));
        }
        let kind = FindingKind::DeployFinished(Box::new(finished));
        let duration = Some(time.saturating_sub(run.began));
        out.push(Finding { duration, ..run.finding(lineage.time(time), outcome, kind) });
    }

    /// Runs whose end was lost.
    pub(in crate::correlate) fn tick(&mut self, time: u64, lineage: &Lineage, out: &mut Vec<Finding>) {
        let lost = |run: &&Run| lineage.process(run.root).is_none();
        let runs = self.runs.values().map(Box::as_ref);
        let mut gone: Vec<DeployId> = runs.filter(lost).map(|run| run.id.clone()).collect();
        gone.sort_unstable();
        for deploy in gone {
            self.finished(time, &deploy, None, lineage, out);
        }
    }
}

fn below_a_step(run: &Run, id: ProcessId, lineage: &Lineage) -> bool {
    let parent = lineage.process(id).and_then(|process| process.parent);
    step_above(run, parent, lineage).is_some()
}

/// The step that this process is, or below which it runs.
fn step_above<'a>(run: &'a Run, mut at: Option<ProcessId>, lineage: &Lineage) -> Option<&'a Child> {
    for _ in 0..ABOVE_MAX {
        let above = at.filter(|above| *above != run.root)?;
        if let Some(child) = run.children.get(&above) {
            return Some(child);
        }
        at = lineage.process(above).and_then(|process| process.parent);
    }
    None
}

impl Run {
    fn note(&mut self, facts: Facts) {
        let own = self.facts.get_or_insert_with(|| Facts { project: None, variables: Vec::new(), ..facts.clone() });
        if own.project.is_none() && facts.tool == own.tool {
            own.project = facts.project;
        } else if let (Some(own), Some(project)) = (&mut own.project, facts.project) {
            own.tool_version = own.tool_version.take().or(project.tool_version);
        }
        for (name, value) in facts.variables {
            own.variables.retain(|(known, _)| *known != name);
            own.variables.push((name, value));
        }
    }

    fn child_ended(&mut self, now: Time, time: u64, child: Child, status: Status) -> Finding {
        let Child { step, line, about, began } = child;
        let code = u32::from(status.exit_code());
        self.local_steps += 1;
        let ended = Ended { step: &step, host: None, line: &line, status: Some(code), remote: false };
        self.seen.observe(&ended, &self.invocation.tool);
        let duration = time.saturating_sub(began);
        let ended =
            EndedStep { time: now, duration, about: *about, step, line: Some(line), host: None, status: Some(code) };
        let mut finding = ended.finding(&self.id, self.description_of_steps());
        if let FindingKind::DeployStep(step) = &mut finding.kind {
            step.exit = Some(finding::Exit { code: status.exit_code(), signal: None });
        }
        finding
    }
}
