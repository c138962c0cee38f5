//! Processes that serve a connection with a program of which nothing is known, by that connection.

use crate::{
    bounded::Bounded,
    event::{
        ids::ConnectionId,
        stream::{ProcessId, Served},
    },
};

/// Connections that may turn out to be SSH: it is known within a round trip.
const CANDIDATES_MAX: usize = 1024;

/// By the socket: the first process that serves a connection is its server, whoever inherits it.
pub(super) struct Candidates(Bounded<ConnectionId, (ProcessId, Served)>);

impl Default for Candidates {
    fn default() -> Self {
        Self(Bounded::new(CANDIDATES_MAX))
    }
}

impl Candidates {
    pub(super) fn add(&mut self, process: ProcessId, served: Served) {
        if let Some(socket) = served.socket.filter(|socket| !self.0.contains_key(socket)) {
            self.0.insert(socket, (process, served));
        }
    }

    pub(super) fn take(&mut self, socket: ConnectionId) -> Option<(ProcessId, Served)> {
        self.0.remove(&socket)
    }
}
