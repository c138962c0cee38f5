//! Processes of a deploy as trees: what forked from what, on whichever host.
//!
//! A child hangs from its parent if that is known and started earlier; so no cycle can be, whatever the log says. Trees
//! are as deep as `DEPTH_MAX`; what is deeper hangs there.

use std::collections::HashMap;

use super::{
    node::{Kind, Node},
    record::Record,
};
use crate::finding::{Action, FindingKind, Lineage};

/// Deeper than any build; and a renderer may recurse.
const DEPTH_MAX: usize = 32;

pub(super) struct Process {
    pub host: String,
    pub entity: String,
    /// The parent, if it came before.
    above: Option<usize>,
    /// The command of the session that started it.
    pub command: Option<String>,
    pub connection: Option<String>,
    pub of_deploy: bool,
    /// Of a command's shell: what it became after it had started others (`a && b`: it runs `a` and becomes `b`). Shown
    /// after them.
    became: Option<usize>,
    node: Node,
    /// Its place in the tree is taken: it is shown once.
    shown: bool,
}

#[derive(Default)]
pub(super) struct Processes {
    all: Vec<Process>,
    by_entity: HashMap<(String, String), usize>,
    /// By host and command.
    by_command: HashMap<(String, String), Vec<usize>>,
    children: Vec<Vec<usize>>,
}

impl Processes {
    /// Takes `process-started` and `process-ended`, in the order of time.
    pub(super) fn observe(&mut self, record: &Record) {
        let Some(process) = record.process() else { return };
        let key = (record.host.id.clone(), process.entity_id.to_string());
        if let Some(at) = self.by_entity.get(&key).copied() {
            return self.again(at, record);
        }
        let parent = process.parent.as_ref().map(|parent| (key.0.clone(), parent.entity_id.to_string()));
        let above = parent.and_then(|parent| self.by_entity.get(&parent).copied());
        let at = self.add(&key, above, record);
        if let Some(command) = record.command() {
            self.by_command.entry((key.0.clone(), command.to_owned())).or_default().push(at);
        }
        self.by_entity.insert(key, at);
    }

    fn add(&mut self, (host, entity): &(String, String), above: Option<usize>, record: &Record) -> usize {
        let mut process = Process {
            host: host.clone(),
            entity: entity.clone(),
            above,
            command: record.command().map(str::to_owned),
            connection: record.connection().map(str::to_owned),
            of_deploy: record.deploy().is_some(),
            became: None,
            node: Node::new(Kind::Process, ""),
            shown: false,
        };
        process.learn(record);
        let at = self.all.len();
        self.all.push(process);
        self.children.push(Vec::new());
        if let Some(children) = above.and_then(|above| self.children.get_mut(above)) {
            children.push(at);
        }
        at
    }

    /// Another record of a process that is known.
    fn again(&mut self, at: usize, record: &Record) {
        let has_children = self.children.get(at).is_some_and(|children| !children.is_empty());
        let Some(process) = self.all.get_mut(at) else { return };
        let became = process.became;
        let goes_on = has_children && process.command.is_some();
        let ended = record.action() == Action::ProcessEnded;
        if ended || (became.is_none() && !goes_on) {
            let line = became.map(|_| process.node.line.clone());
            process.learn(record);
            process.node.line = line.unwrap_or_else(|| std::mem::take(&mut process.node.line));
        } else if became.is_none() {
            let key = (process.host.clone(), process.entity.clone());
            let next = self.add(&key, Some(at), record);
            if let Some(process) = self.all.get_mut(at) {
                process.became = Some(next);
            }
        }
        if let Some(process) = became.and_then(|became| self.all.get_mut(became)) {
            process.learn(record);
            // Its own part of the time.
            let since = process.node.time.map(|time| record.time().saturating_sub(time.0).cast_unsigned());
            process.node.duration = since.filter(|_| ended);
        }
    }

    pub(super) fn find(&self, host: &str, entity: &str) -> Option<usize> {
        self.by_entity.get(&(host.to_owned(), entity.to_owned())).copied()
    }

    /// Those that fit and hang from none that does, not shown yet.
    pub(super) fn roots(&self, fits: impl Fn(&Process) -> bool) -> Vec<usize> {
        self.roots_among(0..self.all.len(), fits)
    }

    /// Those that a command of a session started.
    pub(super) fn of_command(&self, command: &(String, String)) -> Vec<usize> {
        let among = self.by_command.get(command).map(Vec::as_slice).unwrap_or_default();
        self.roots_among(among.iter().copied(), |process| process.command.as_ref() == Some(&command.1))
    }

    fn roots_among(&self, among: impl Iterator<Item = usize>, fits: impl Fn(&Process) -> bool) -> Vec<usize> {
        let fitting = |at: usize| self.all.get(at).is_some_and(|process| !process.shown && fits(process));
        let is_root =
            |at: usize| self.all.get(at).and_then(|process| process.above).is_none_or(|above| !fitting(above));
        among.filter(|at| fitting(*at) && is_root(*at)).collect()
    }

    pub(super) fn line(&self, at: usize) -> &str {
        self.all.get(at).map_or("", |process| &process.node.line)
    }

    /// The process and all below it, taken out.
    pub(super) fn take(&mut self, at: usize) -> Option<Node> {
        self.take_at(at, 0)
    }

    fn take_at(&mut self, at: usize, depth: usize) -> Option<Node> {
        let process = self.all.get_mut(at).filter(|process| !process.shown)?;
        process.shown = true;
        let mut node = std::mem::take(&mut process.node);
        let children = self.children.get_mut(at).map(std::mem::take).unwrap_or_default();
        if depth < DEPTH_MAX {
            node.children = children.into_iter().filter_map(|child| self.take_at(child, depth + 1)).collect();
            return Some(node);
        }
        // Everything below, one after the other.
        let mut below: Vec<usize> = children.into_iter().rev().collect();
        while let Some(next) = below.pop() {
            if let Some(deep) = self.all.get_mut(next).filter(|process| !process.shown) {
                deep.shown = true;
                node.children.push(std::mem::take(&mut deep.node));
                below.extend(self.children.get_mut(next).map(std::mem::take).unwrap_or_default().into_iter().rev());
            }
        }
        Some(node)
    }
}

impl Process {
    fn learn(&mut self, record: &Record) {
        let node = &mut self.node;
        // Executed in place: what it is in the end says what it did.
        let line = record.process().and_then(|process| {
            process.command_line.as_deref().or(process.executable.as_deref()).or(process.name.as_deref())
        });
        if let Some(line) = line {
            line.clone_into(&mut node.line);
        }
        self.of_deploy |= record.deploy().is_some();
        if record.finding.quality.lineage == Some(Lineage::Delegated) {
            node.note = Some("goes on in a daemon".into());
        }
        if let FindingKind::ProcessEnded(exit) = &record.finding.kind {
            node.duration = record.finding.duration;
            node.exit_status = Some(exit.code.into());
            node.exit_signal = exit.signal.map(|signal| signal.to_string());
            node.outcome = Some(record.outcome());
        }
        node.time = node.time.or(Some(record.finding.time));
    }
}
