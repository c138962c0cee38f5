//! The parts of a deploy's tree that are not of one host: configuration, secrets, locks, and what ran on the deployer's
//! machine.
//!
//! What enters: records of the deploy, its commands and processes. What leaves: the nodes of each section.

use std::collections::HashMap;

use super::{
    deploy::{Deploy, add_all},
    local::{Process, Processes},
    marks,
    node::{Kind, Node},
    record::Record,
    remote::{Remote, Told},
};
use crate::finding::FindingKind;

/// A step of the deployer's own machine, and the process that it was.
pub(super) struct LocalStep {
    node: Node,
    entity: Option<String>,
    pub secrets: Vec<String>,
}

impl LocalStep {
    /// None: the record tells of a host.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let step = record.step()?;
        let is_hook = step.kind.contains("hook");
        if !is_hook && !step.kind.contains("local") && step.host.is_some() {
            return None;
        }
        let kind = if is_hook { Kind::Hook } else { Kind::Local };
        let mut node = Node::new(kind, step.line.clone().unwrap_or_default());
        node.time = Some(record.finding.time);
        node.learn_step(record);
        Some(Self { node, entity: record.entity().map(str::to_owned), secrets: step.secrets.clone() })
    }
}

/// Hooks and local children in the order of time, each process once. `is_ours` tells the deployer's processes from
/// those of targets.
pub(super) fn local(
    deploy: &Deploy,
    steps: Vec<LocalStep>,
    processes: &mut Processes,
    is_ours: impl Fn(&Process) -> bool,
) -> Vec<Node> {
    let host = &deploy.host.id;
    let is_tool = |process: &Process| deploy.entity.as_deref() == Some(process.entity.as_str());
    let mut roots = processes.roots(|process| process.host == *host && !is_tool(process) && is_ours(process));
    let mut nodes = Vec::new();
    for LocalStep { node: mut step, entity, .. } in steps {
        let entity = entity.filter(|entity| deploy.entity.as_ref() != Some(entity));
        let by_entity = entity.and_then(|entity| processes.find(host, &entity));
        let at = by_entity.or_else(|| roots.iter().copied().find(|at| processes.line(*at) == step.line));
        roots.retain(|root| Some(*root) != at);
        if let Some(process) = at.and_then(|at| processes.take(at)) {
            step.time = process.time.or(step.time);
            step.duration = step.duration.or(process.duration);
            step.exit_status = step.exit_status.or(process.exit_status);
            step.exit_signal = step.exit_signal.or(process.exit_signal);
            step.outcome = step.outcome.or(process.outcome);
            step.children = process.children;
        }
        nodes.push(step);
    }
    for at in roots {
        nodes.extend(processes.take(at).map(|node| Node { kind: Kind::Local, ..node }));
    }
    nodes.sort_by_key(|node| node.time.map_or(0, |time| time.0));
    nodes
}

/// Names of secrets that were handled: never values, which are in no record.
pub(super) fn secrets(deploy: &Deploy, remote: &Remote, of_steps: &[String], local: &[Node]) -> Vec<Node> {
    let files = deploy.config_files.iter().filter(|path| marks::is_secret_file(path));
    let mut names: Vec<String> = Vec::new();
    add_all(&mut names, &deploy.secrets);
    names.extend(files.cloned());
    add_all(&mut names, of_steps);
    for name in local.iter().filter_map(|node| marks::secret(None, &node.line)) {
        add_all(&mut names, &[name]);
    }
    for command in remote.commands() {
        add_all(&mut names, command.secrets);
        add_all(&mut names, marks::secret(command.kind, &command.node.line).as_slice());
    }
    names.into_iter().map(|name| Node::new(Kind::Secret, name)).collect()
}

pub(super) fn locks(remote: &Remote) -> Vec<Node> {
    let lock = |told: Told<'_>| {
        let done = match (marks::lock(told.kind, &told.node.line)?, told.node.has_failed()) {
            (marks::Lock::Taken, false) => "taken",
            (marks::Lock::Taken, true) => "not taken: it is held",
            (marks::Lock::Released, false) => "released",
            (marks::Lock::Released, true) => "not released",
        };
        let (time, outcome, host) = (told.node.time, told.node.outcome, Some(told.host.to_owned()));
        Some(Node { time, outcome, host, ..Node::new(Kind::Lock, done) })
    };
    let mut nodes: Vec<Node> = remote.commands().filter_map(lock).collect();
    nodes.sort_by_key(|node| node.time.map_or(0, |time| time.0));
    nodes
}

/// Files of configuration that changed, by path.
#[derive(Default)]
pub(super) struct Changes(HashMap<String, Node>);

impl Changes {
    pub(super) fn observe(&mut self, record: &Record) {
        let FindingKind::DeployConfigChanged(change) = &record.finding.kind else { return };
        let mut note = String::from("changed");
        if record.finding.quality.inferred {
            note.push_str(" (inferred)");
        }
        let short = |hash: &[u8; 32]| hex::encode(hash.get(..6).unwrap_or_default());
        if let Some(now) = &change.now {
            note = format!("{note}: sha256 {}", short(&now.sha256));
        }
        if let Some(before) = &change.previous {
            note = format!("{note}, before {}", short(before));
        }
        let path = change.path.clone();
        let node =
            Node { time: Some(record.finding.time), note: Some(note), ..Node::new(Kind::ConfigFile, path.clone()) };
        self.0.insert(path, node);
    }

    /// All files of the deploy, and what changed of them.
    pub(super) fn nodes(mut self, deploy: &Deploy) -> Vec<Node> {
        let mut files: Vec<Node> = Vec::new();
        for path in &deploy.config_files {
            // The deploy names its files as it was given them, a change names them in full.
            let full = self.0.keys().find(|full| *full == path || full.ends_with(&format!("/{path}"))).cloned();
            let changed = full.and_then(|full| self.0.remove(&full));
            files.push(changed.unwrap_or_else(|| Node::new(Kind::ConfigFile, path.clone())));
        }
        files.extend(deploy.config_unread.iter().map(|unread| {
            let (path, why) = unread.rsplit_once(": ").unwrap_or((unread, "not read"));
            Node { note: Some(format!("not read: {why}")), ..Node::new(Kind::ConfigFile, path) }
        }));
        let mut others: Vec<Node> = self.0.into_values().collect();
        others.sort_by(|a, b| a.line.cmp(&b.line));
        files.extend(others);
        files
    }
}
