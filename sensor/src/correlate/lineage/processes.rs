//! The process table: who descends from whom, and what each process runs.
//!
//! Keyed by (tgid, start), so a reused pid is another process. An entry lives from fork (or /proc, at start) to exit.
//! Memory is bounded: over the limit the oldest process outside any session goes, counted; it is known again, without
//! its past, when it next execs.

use std::{cell::OnceCell, collections::VecDeque, sync::Arc};

use foldhash::HashMap;

use sha2::{Digest as _, Sha256};

use super::sessions::SessionKey;
use crate::{
    event::{
        ids::{NS_PER_TICK, ProcessId},
        stream::Task,
    },
    finding::{Application, CommandId, DeployId, EntityId},
};

/// Ended processes kept: a busy second's, and what changes a file is told of within a fraction of one.
const REMEMBERED: usize = 512;

/// What a process is a part of, and with it what descends from it. The machines below find it out; lineage hands it on
/// from parent to child and keeps such processes when it must evict one.
#[derive(Clone, Debug, Default)]
pub(in crate::correlate) struct Marks {
    pub command: Option<CommandId>,
    pub deploy: Option<DeployId>,
}

/// A process that is alive.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(in crate::correlate) struct Process {
    pub id: ProcessId,
    pub parent: Option<ProcessId>,
    /// What the parent was when it forked: it may be gone when a finding names it.
    pub parent_name: Option<Arc<str>>,
    pub parent_executable: Option<Arc<str>>,
    pub name: Option<Arc<str>>,
    pub executable: Option<Arc<str>>,
    pub command_line: Option<Arc<str>>,
    /// `args[0]`, where it is another name.
    pub title: Option<Arc<str>>,
    /// Boot time of its start, ns: exact from a fork, else as /proc knows it.
    pub began: u64,
    /// The SSH session that it belongs to.
    pub session: Option<SessionKey>,
    /// Runs an SSH server's own program.
    pub server: bool,
    /// Runs OpenSSH's ssh, by what is in the file.
    pub client: bool,
    /// One of the processes asked for, or descends from one.
    pub watched: bool,
    /// A `process-started` record was written.
    pub emitted: bool,
    /// What it runs, if its program is an interpreter.
    pub application: Option<Arc<Application>>,
    /// A library of its was probed at this time: what its connections encrypted before is not seen.
    pub readable_since: Option<u64>,
    /// What the machines below found it to be a part of.
    pub marks: Marks,
    /// Its real user when it executed its program: id and name.
    pub user: Option<(u32, Option<Arc<str>>)>,
    /// Its entity id, once a record has named it: most of what a record costs is what it says again.
    entity: OnceCell<EntityId>,
}

pub(super) struct Processes {
    table: HashMap<ProcessId, Process>,
    /// Insertion order, for eviction; may name processes that are gone.
    order: VecDeque<ProcessId>,
    /// The newest process with a tgid: for leaders known by number only.
    by_tgid: HashMap<u32, ProcessId>,
    limit: usize,
    evicted: u64,
    boot: String,
    /// Those that ended last, for what is learnt late.
    remembered: VecDeque<Process>,
}

impl Processes {
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    pub(super) fn new(limit: usize) -> Self {
        Self {
            table: HashMap::default(),
            order: VecDeque::new(),
            by_tgid: HashMap::default(),
            limit: limit.max(1),
            evicted: 0,
            boot: String::new(),
            remembered: VecDeque::new(),
        }
    }

    pub(super) fn set_boot(&mut self, boot: &str) {
        boot.clone_into(&mut self.boot);
        for process in self.table.values_mut() {
            process.entity.take();
        }
    }

    /// `process.entity_id`: the same from a probe, from /proc, after a restart and on replay.
    pub(super) fn entity(&self, id: ProcessId) -> EntityId {
        self.entity_of(id, self.table.get(&id))
    }

    /// The same, of a process at hand: it may have left the table.
    pub(super) fn entity_of(&self, id: ProcessId, known: Option<&Process>) -> EntityId {
        match known {
            Some(process) => process.entity.get_or_init(|| self.hash(id)).clone(),
            None => self.hash(id),
        }
    }

    fn hash(&self, id: ProcessId) -> EntityId {
        let mut hash = Sha256::new();
        hash.update(self.boot.as_bytes());
        hash.update(id.tgid.to_le_bytes());
        hash.update(id.start.to_le_bytes());
        hex::encode(hash.finalize().get(..12).unwrap_or_default()).into()
    }

    pub(super) fn get(&self, id: ProcessId) -> Option<&Process> {
        self.table.get(&id)
    }

    /// The process, also if it ended a moment ago.
    pub(super) fn get_or_remembered(&self, id: ProcessId) -> Option<&Process> {
        self.get(id).or_else(|| self.remembered.iter().rev().find(|process| process.id == id))
    }

    /// The process with this tgid that is, or that ended last.
    pub(super) fn by_tgid_or_remembered(&self, tgid: u32) -> Option<&Process> {
        // It ended: whoever has the number now is another.
        let ended = self.remembered.iter().rev().find(|process| process.id.tgid == tgid);
        ended.or_else(|| self.by_tgid(tgid).and_then(|id| self.get(id)))
    }

    /// Keeps a process that has ended for a moment.
    pub(super) fn remember(&mut self, process: Process) {
        if self.remembered.len() >= REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(process);
    }

    pub(super) fn get_mut(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.table.get_mut(&id)
    }

    pub(super) fn by_tgid(&self, tgid: u32) -> Option<ProcessId> {
        self.by_tgid.get(&tgid).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.table.values()
    }

    /// Adds a process: what its maker was, it is at first.
    pub(super) fn add(&mut self, task: &Task, maker: Option<ProcessId>) -> &mut Process {
        let maker = maker.and_then(|id| self.table.get(&id));
        let comm = || Some(String::from_utf8_lossy(&task.comm).as_ref().into());
        let process = Process {
            id: task.id,
            parent: task.parent,
            parent_name: maker.and_then(|p| p.name.clone()),
            parent_executable: maker.and_then(|p| p.executable.clone()),
            name: maker.map_or_else(comm, |p| p.name.clone()),
            executable: maker.and_then(|p| p.executable.clone()),
            command_line: maker.and_then(|p| p.command_line.clone()),
            title: maker.and_then(|p| p.title.clone()),
            began: task.id.start.saturating_mul(NS_PER_TICK),
            session: maker.and_then(|p| p.session),
            server: maker.is_some_and(|p| p.server),
            client: maker.is_some_and(|p| p.client),
            watched: maker.is_some_and(|p| p.watched),
            emitted: false,
            application: maker.and_then(|p| p.application.clone()),
            readable_since: maker.and_then(|p| p.readable_since),
            marks: maker.map(|p| p.marks.clone()).unwrap_or_default(),
            user: None,
            entity: OnceCell::new(),
        };
        self.make_room();
        self.order.push_back(task.id);
        self.by_tgid.insert(task.id.tgid, task.id);
        self.table.entry(task.id).insert_entry(process).into_mut()
    }

    pub(super) fn remove(&mut self, id: ProcessId) -> Option<Process> {
        let process = self.table.remove(&id)?;
        if self.by_tgid.get(&id.tgid) == Some(&id) {
            self.by_tgid.remove(&id.tgid);
        }
        Some(process)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Processes evicted since the last call.
    pub(super) fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    fn make_room(&mut self) {
        // Exited processes leave their place in the order: clear it when it is mostly those.
        if self.order.len() > 2 * self.table.len() + 1024 {
            let table = &self.table;
            self.order.retain(|id| table.contains_key(id));
        }
        let mut kept = 0;
        while self.table.len() >= self.limit {
            let Some(oldest) = self.order.pop_front() else { return };
            match self.table.get(&oldest) {
                None => {}
                // Sessions and deploys are what we are for: their processes go last, when nothing else is left.
                Some(process)
                    if (process.session.is_some() || process.marks.deploy.is_some()) && kept < self.order.len() =>
                {
                    kept += 1;
                    self.order.push_back(oldest);
                }
                Some(_) => {
                    self.remove(oldest);
                    self.evicted += 1;
                }
            }
        }
    }
}
