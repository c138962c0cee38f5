//! Outgoing TCP connections: attempts joined with what became of them.
//!
//! An attempt is known before the kernel acts on it. SYN_SENT follows at once unless it fails on the spot (no route,
//! refused by policy), which no hook reports: the next close of the socket, or a second without SYN_SENT, tells.

use std::net::SocketAddr;

use foldhash::HashMap;

use crate::{
    event::ids::ProcessId,
    finding::{DeployId, Subject},
};

/// SYN_SENT comes within microseconds of the attempt; a second is beyond doubt.
pub(super) const AT_ONCE_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Attempted,
    SynSent,
    Established { at: u64 },
}

#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct TcpConnection {
    /// What every finding of it says: who connected, and where to. The process and its session can be gone when the
    /// rest is known.
    pub about: Box<Subject>,
    pub process: ProcessId,
    pub remote: SocketAddr,
    /// Its findings have an `ssh` part already: of the session that it was made in, or of the attempt.
    pub has_ssh: bool,
    /// The deploy that it belongs to.
    pub deploy: Option<DeployId>,
    /// The process runs OpenSSH's ssh.
    pub by_ssh: bool,
    /// Where it comes from, once the kernel has chosen. A closed socket knows its port no more.
    pub local: Option<SocketAddr>,
    pub attempted: u64,
    pub progress: Progress,
    /// SSH, by what is known of the process or the port.
    pub ssh: bool,
    /// Only its failure is emitted: the process is out of scope.
    pub quiet: bool,
}

pub(super) struct TcpConnections {
    table: HashMap<u64, TcpConnection>,
    limit: usize,
    refused: u64,
}

impl TcpConnections {
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    pub(super) fn new(limit: usize) -> Self {
        Self { table: HashMap::default(), limit: limit.max(1), refused: 0 }
    }

    pub(super) fn add(&mut self, socket: u64, connection: TcpConnection) {
        if self.table.len() >= self.limit {
            self.refused += 1;
        } else {
            self.table.insert(socket, connection);
        }
    }

    pub(super) fn get_mut(&mut self, socket: u64) -> Option<&mut TcpConnection> {
        self.table.get_mut(&socket)
    }

    pub(super) fn remove(&mut self, socket: u64) -> Option<TcpConnection> {
        self.table.remove(&socket)
    }

    /// Attempts that never got as far as a SYN, older than `time`, in order.
    pub(super) fn take_stuck(&mut self, time: u64) -> Vec<TcpConnection> {
        let mut sockets: Vec<u64> = self
            .table
            .iter()
            .filter(|(_, c)| c.progress == Progress::Attempted && c.attempted <= time)
            .map(|(socket, _)| *socket)
            .collect();
        sockets.sort_unstable();
        sockets.iter().filter_map(|socket| self.table.remove(socket)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}
