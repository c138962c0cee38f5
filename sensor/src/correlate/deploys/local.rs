//! The deployer's processes: which exec starts a deploy, which child is a step of one, and the end.
//!
//! An exec is looked at twice: before it is told (does it start or belong to a deploy? what belongs to one is told, in
//! a session or not) and when its text is known. A child is a step if a rule of the tool knows it and no step runs
//! above it: what a hook starts is the hook's.

use std::{net::IpAddr, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{
    super::{Correlate, processes::Process, program::Program},
    Run,
    names::Names,
    outcome::{Ended, Seen, verdict},
};
use crate::{
    deploy::{self, ClassifiedStep, Invocation, classify_local},
    event::{
        deploy::{Evidence, Facts},
        record::{Action, Error, Outcome, Record},
        stream::{Exec, Exit, ProcessId, Status},
    },
};

/// Processes between a child and the tool: a shell, `env`, a wrapper or two.
const ABOVE_MAX: usize = 32;
/// Children that are steps at a time.
const CHILDREN_MAX: usize = 256;

/// A child that is a step and runs.
#[derive(Debug)]
pub(in crate::correlate) struct Child {
    step: ClassifiedStep,
    /// What its record will say of the process.
    about: Box<Record>,
    began: u64,
}

/// A deploy that an exec starts.
pub(in crate::correlate) struct Beginning {
    id: Arc<str>,
    invocation: Invocation,
    facts: Option<Facts>,
    found: bool,
}

impl Beginning {
    /// It began before the sensor did.
    pub(super) fn found(self) -> Self {
        Self { found: true, ..self }
    }
}

/// `deploy.id`: from the identity of what it began with, so it is the same on a replay and after a restart.
pub(super) fn deploy_id(of: &str) -> Arc<str> {
    let hash = Sha256::new().chain_update(b"deploy").chain_update(of.as_bytes()).finalize();
    hex::encode(hash.get(..8).unwrap_or_default()).into()
}

/// Is the program of this exec the tool itself?
fn is_executed(invocation: &Invocation, exec: &Exec) -> bool {
    let path = exec.executable.as_ref().filter(|path| !path.cut);
    path.and_then(|path| std::str::from_utf8(&path.bytes).ok()).is_some_and(|path| invocation.is_executed(path))
}

impl Correlate {
    /// Does this exec start a deploy? What it inherits from its parent it has already.
    pub(in crate::correlate) fn deploy_begins(&mut self, exec: &Exec) -> Option<Beginning> {
        let id = exec.task.id;
        let facts = self.deploys.facts.remove(&id);
        let process = self.processes.get(id)?;
        if let Some(run) = process.deploy.clone().and_then(|deploy| self.deploys.runs.get_mut(&deploy)) {
            let again = self.deploys.tools.read(exec, facts.as_ref());
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
            return None;
        }
        if self.is_remote_step(process) {
            return None;
        }
        let invocation = self.deploys.tools.read(exec, facts.as_ref())?;
        let deploy = match self.outer(exec, &invocation) {
            Some(outer) => {
                if let Some(run) = self.deploys.get_mut(&outer) {
                    run.seen.executed |= is_executed(&invocation, exec);
                    run.inner = Some(id);
                }
                outer
            }
            None if self.deploys.is_full() => return None,
            None => deploy_id(&self.processes.entity(id)),
        };
        if let Some(process) = self.processes.get_mut(id) {
            process.deploy = Some(deploy.clone());
        }
        let begins = !self.deploys.runs.contains_key(&deploy);
        begins.then_some(Beginning { id: deploy, invocation, facts, found: false })
    }

    /// The run that started the container in which this tool runs: the same command line, and not yet found inside.
    fn outer(&self, exec: &Exec, invocation: &Invocation) -> Option<Arc<str>> {
        exec.task.names.cgroup.as_deref().and_then(super::super::build::container_id)?;
        let same =
            |run: &&Run| run.invocation.container && run.inner.is_none() && run.invocation.same_request(invocation);
        let runs = self.deploys.runs.values().map(Box::as_ref).filter(same);
        runs.max_by_key(|run| (run.began, run.id.clone())).map(|run| run.id.clone())
    }

    /// A command of a session that a tool sent: its programs are steps, and start no deploy of their own.
    fn is_remote_step(&self, process: &Process) -> bool {
        let session = process.session.and_then(|key| self.sessions.get(key));
        let conn = session.and_then(|session| session.socket).and_then(|socket| self.conns.get(socket));
        let (Some(conn), Some(command)) = (conn, &process.command) else { return false };
        conn.channels
            .iter()
            .filter_map(|channel| channel.command.as_ref())
            .any(|own| own.id == *command && own.step.is_some())
    }

    /// The deploy begins.
    pub(in crate::correlate) fn deploy_started(
        &mut self,
        time: u64,
        exec: &Exec,
        program: &Program,
        beginning: Beginning,
        out: &mut Vec<Record>,
    ) {
        let Beginning { id, invocation, facts, found } = beginning;
        let mut about = self.process_started(time, exec, program);
        (about.action, about.outcome) = (Action::DeployStarted, Outcome::Unknown);
        about.sensor.inferred = found.then_some(true);
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
            about: Box::new(about),
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
        out.push(run.record(self.wall(time), Action::DeployStarted, Outcome::Unknown));
        self.deploys.add(run);
    }

    /// An exec below a deploy: is it a step?
    #[allow(clippy::collapsible_match, reason = "a guard would need an arm that does nothing")]
    pub(in crate::correlate) fn deploy_child(&mut self, time: u64, exec: &Exec, program: &Program) {
        let id = exec.task.id;
        let Some(deploy) = self.processes.get(id).and_then(|process| process.deploy.clone()) else { return };
        let Some(run) = self.deploys.runs.get(&deploy) else { return };
        if run.root == id || run.inner == Some(id) || (!run.children.contains_key(&id) && self.below_a_step(run, id)) {
            return;
        }
        let argv = deploy::texts(&exec.args);
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let executable = exec.executable.as_ref().and_then(|path| std::str::from_utf8(&path.bytes).ok());
        let mut step = classify_local(&run.invocation.tool, &argv, executable);
        let mut about = self.process_started(time, exec, program);
        about.action = Action::DeployStep;
        let Some(run) = self.deploys.get_mut(&deploy) else { return };
        let room = run.children.len() < CHILDREN_MAX;
        match run.children.get_mut(&id) {
            // In place: `sh -c`, `env`, then the program itself.
            Some(child) => {
                if step.known && step.kind == child.step.kind {
                    *child.about = about;
                }
            }
            None if step.known && room => {
                run.names.learn(&mut step);
                run.handled(&mut step);
                run.children.insert(id, Child { step, about: Box::new(about), began: time });
            }
            None => {}
        }
    }

    fn below_a_step(&self, run: &Run, id: ProcessId) -> bool {
        let parent = self.processes.get(id).and_then(|process| process.parent);
        self.step_above(run, parent).is_some()
    }

    /// The step that this process is, or below which it runs.
    fn step_above<'a>(&self, run: &'a Run, mut at: Option<ProcessId>) -> Option<&'a Child> {
        for _ in 0..ABOVE_MAX {
            let above = at.filter(|above| *above != run.root)?;
            if let Some(child) = run.children.get(&above) {
                return Some(child);
            }
            at = self.processes.get(above).and_then(|process| process.parent);
        }
        None
    }

    /// A process made a TCP connection. What a hook connects to is the hook's, and says nothing of the hosts.
    pub(in crate::correlate) fn deploy_contacted(&mut self, id: ProcessId, address: IpAddr) {
        let Some(deploy) = self.processes.get(id).and_then(|process| process.deploy.clone()) else { return };
        let Some(run) = self.deploys.runs.get(&deploy) else { return };
        if self.step_above(run, Some(id)).is_none_or(|child| child.step.hook.is_none()) {
            self.deploys.contacted(&deploy, address.to_canonical().to_string());
        }
    }

    /// A process of a deploy ended: a step, or the deploy.
    pub(in crate::correlate) fn deploy_exited(
        &mut self,
        time: u64,
        exit: &Exit,
        process: &Process,
        out: &mut Vec<Record>,
    ) {
        let Some(deploy) = &process.deploy else { return };
        let Some(run) = self.deploys.runs.get_mut(deploy) else { return };
        if let Some(child) = run.children.remove(&process.id) {
            let now = (time as i64).wrapping_add(self.offset);
            out.push(run.child_ended(now, time, child, exit.status));
        }
        if run.root == process.id {
            self.deploy_finished(time, &deploy.clone(), Some(exit.status), out);
        }
    }

    fn deploy_finished(&mut self, time: u64, deploy: &str, status: Option<Status>, out: &mut Vec<Record>) {
        let Some(run) = self.deploys.runs.remove(deploy) else { return };
        let mut record = run.record(self.wall(time), Action::DeployFinished, Outcome::Unknown);
        let evidence = run.evidence().filter(|evidence| status.is_some() || *evidence != Evidence::None);
        if let Some(fields) = record.deploy.as_mut().and_then(|deploy| deploy.fields.as_mut()) {
            fields.evidence = evidence.map(Evidence::name);
        }
        record.duration = Some(time.saturating_sub(run.began));
        if let Some(status) = status {
            let verdict = verdict(&run, evidence, status);
            record.outcome = verdict.outcome;
            record.error = verdict.message.map(|message| Error { code: None, message: Some(message) });
            if let Some(fields) = record.deploy.as_mut().and_then(|deploy| deploy.fields.as_mut()) {
                fields.reason = verdict.reason;
            }
            if let Some(process) = &mut record.process {
                process.exit_code = Some(status.exit_code());
                if let Status::Signal { number, .. } = status {
                    process.exit_signal = Some(number);
                }
            }
        }
        out.push(record);
    }

    /// Runs whose end was lost.
    pub(in crate::correlate) fn deploys_tick(&mut self, time: u64, out: &mut Vec<Record>) {
        let lost = |run: &&Run| self.processes.get(run.root).is_none();
        let runs = self.deploys.runs.values().map(Box::as_ref);
        let mut gone: Vec<Arc<str>> = runs.filter(lost).map(|run| run.id.clone()).collect();
        gone.sort_unstable();
        for deploy in gone {
            self.deploy_finished(time, &deploy, None, out);
        }
    }
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

    fn child_ended(&mut self, now: i64, time: u64, child: Child, status: Status) -> Record {
        let Child { step, about, began } = child;
        let code = u32::from(status.exit_code());
        let line = about.process.as_ref().and_then(|process| process.command_line.clone()).unwrap_or_default();
        self.local_steps += 1;
        let ended = Ended { step: &step, host: None, line: &line, status: Some(code), remote: false };
        self.seen.observe(&ended, &self.invocation.tool);
        let outcome = if status == Status::Code(0) { Outcome::Success } else { Outcome::Failure };
        let mut record = Record { time: now, outcome, duration: Some(time.saturating_sub(began)), ..*about };
        if let Some(process) = &mut record.process {
            process.exit_code = Some(status.exit_code());
        }
        self.describe_step(&mut record, &step, Some(line), None, Some(code));
        record
    }
}
