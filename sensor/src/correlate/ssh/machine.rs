//! The state of the machine of SSH.

use std::{collections::BTreeMap, sync::Arc};

use regex::bytes::RegexSet;

use super::{
    changes::Changes, connection::PendingHostKey, known_servers::KnownServers, served::Served, table::SshConnections,
    tcp::TcpConnections,
};
use crate::{
    bounded::Bounded,
    correlate::lineage::SessionKey,
    event::stream::{Limits, ProcessId},
};

/// Processes whose connections are counted: those that speak SSH and something else, at a time.
const SPEAKERS_MAX: usize = 16_384;

/// Outgoing connections of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Speaker {
    /// Those that were established.
    pub(super) connected: u32,
    /// Those that began with an identification of SSH.
    pub(super) spoken: u32,
}

pub(in crate::correlate) struct Ssh {
    /// TCP connections that processes make.
    pub(super) tcp: TcpConnections,
    pub(super) conns: SshConnections,
    /// Sessions of servers on this host, in lineage's order.
    pub(super) sessions: BTreeMap<SessionKey, Served>,
    /// Where SSH was spoken.
    pub(super) servers: KnownServers,
    pub(super) speakers: Bounded<ProcessId, Speaker>,
    /// What applications and their servers agreed on the last time.
    pub(super) changes: Changes,
    /// Host keys whose decision is known, and not yet what the files say.
    pub(super) undecided: Vec<PendingHostKey>,
    /// Labels of commands.
    pub(super) labels: Vec<(Arc<str>, RegexSet)>,
    pub(super) channels_refused: u64,
    /// That it happened is said once.
    pub(super) channels_full: bool,
}

impl Ssh {
    pub(in crate::correlate) fn new(limits: Limits) -> Self {
        Self {
            tcp: TcpConnections::new(limits.connections),
            conns: SshConnections::new(limits.sessions),
            sessions: BTreeMap::new(),
            servers: KnownServers::default(),
            speakers: Bounded::new(SPEAKERS_MAX),
            changes: Changes::default(),
            undecided: Vec::new(),
            labels: Vec::new(),
            channels_refused: 0,
            channels_full: false,
        }
    }

    pub(in crate::correlate) fn set_limits(&mut self, limits: Limits) {
        self.tcp.set_limit(limits.connections);
        self.conns.set_limit(limits.sessions);
    }

    /// (TCP connections, SSH connections) in the tables.
    pub(in crate::correlate) fn sizes(&self) -> (usize, usize) {
        (self.tcp.len(), self.conns.len())
    }

    /// (kind, count) of what the limits refused since the last call.
    pub(in crate::correlate) fn take_refused(&mut self) -> [(&'static str, u64); 3] {
        [
            ("connection-refused", self.tcp.take_refused()),
            ("ssh-connection-refused", self.conns.take_refused()),
            ("ssh-channel-refused", std::mem::take(&mut self.channels_refused)),
        ]
    }
}
