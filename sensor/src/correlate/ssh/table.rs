//! The SSH connections that are open, within a limit; who made those that have not spoken yet.

use std::collections::VecDeque;

use foldhash::{HashMap, HashSet};

use super::connection::SshConnection;
use crate::bounded::Bounded;
use crate::event::{
    ssh::ConnectionId,
    stream::{ProcessId, Task},
};

/// The connections that are open.
pub(super) struct SshConnections {
    table: HashMap<ConnectionId, Box<SshConnection>>,
    /// Who made an outgoing connection, until it is seen to be SSH or forgotten.
    owners: Bounded<ConnectionId, Box<Task>>,
    /// Processes that may have a connection here: most of those that exit have none.
    processes: HashSet<ProcessId>,
    /// Sockets that closed a moment ago, the oldest first.
    ended: VecDeque<ConnectionId>,
    limit: usize,
    refused: u64,
}

/// A program may still encrypt for a socket that its peer has closed: that is no new connection. Such packets come
/// within milliseconds.
const ENDED_MAX: usize = 256;
/// Processes remembered; above it only those of connections that are open.
const PROCESSES_MAX: usize = 65_536;
/// Owners remembered: an SSH client sends its identification as soon as it is connected.
const OWNERS_MAX: usize = 1024;

impl SshConnections {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            table: HashMap::default(),
            owners: Bounded::new(OWNERS_MAX),
            processes: HashSet::default(),
            ended: VecDeque::new(),
            limit: limit.max(1),
            refused: 0,
        }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    pub(super) fn connects(&mut self, socket: ConnectionId, task: &Task) {
        self.owners.insert(socket, Box::new(task.clone()));
    }

    /// Who made an outgoing connection that has not spoken SSH.
    pub(super) fn owner(&self, socket: ConnectionId) -> Option<ProcessId> {
        self.owners.get(&socket).map(|task| task.id)
    }

    /// The connection, to be put back. A new one if it is not known and there is room.
    pub(super) fn take_or_new(&mut self, id: ConnectionId, time: u64) -> Option<Box<SshConnection>> {
        if let Some(conn) = self.table.remove(&id) {
            return Some(conn);
        }
        if self.ended.contains(&id) {
            return None;
        }
        if self.table.len() >= self.limit {
            self.refused += 1;
            return None;
        }
        let owner = self.owners.remove(&id);
        Some(Box::new(SshConnection::new(id, time, owner)))
    }

    pub(super) fn take(&mut self, id: ConnectionId) -> Option<Box<SshConnection>> {
        self.table.remove(&id)
    }

    /// Takes a connection that is over.
    pub(super) fn end(&mut self, id: ConnectionId) -> Option<Box<SshConnection>> {
        let conn = self.table.remove(&id)?;
        // Over pipes the id is the process's, who may begin another one.
        if conn.endpoints.is_some() {
            if self.ended.len() >= ENDED_MAX {
                self.ended.pop_front();
            }
            self.ended.push_back(id);
        }
        Some(conn)
    }

    pub(super) fn put(&mut self, conn: Box<SshConnection>) {
        if self.processes.len() >= PROCESSES_MAX {
            self.processes = self.table.values().filter_map(|conn| conn.process).collect();
        }
        self.processes.extend(conn.process);
        self.table.insert(conn.id, conn);
    }

    /// A process has exited: may it have had a connection?
    pub(super) fn exited(&mut self, process: ProcessId) -> bool {
        self.processes.remove(&process)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&SshConnection> {
        self.table.get(&id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut SshConnection> {
        self.table.get_mut(&id).map(Box::as_mut)
    }

    /// Ids of the connections of which something is true, in order.
    pub(super) fn which(&self, is: impl Fn(&SshConnection) -> bool) -> Vec<ConnectionId> {
        let mut ids: Vec<ConnectionId> = self.table.values().filter(|conn| is(conn)).map(|conn| conn.id).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}
