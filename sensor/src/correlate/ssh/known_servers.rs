//! Where SSH was spoken.

use std::net::SocketAddr;

use crate::bounded::Bounded;

const SERVERS_MAX: usize = 4096;

/// The oldest goes.
pub(super) struct KnownServers(Bounded<SocketAddr, ()>);

impl Default for KnownServers {
    fn default() -> Self {
        Self(Bounded::new(SERVERS_MAX))
    }
}

impl KnownServers {
    pub(super) fn add(&mut self, server: SocketAddr) {
        self.0.insert(server, ());
    }

    pub(super) fn contains(&self, server: &SocketAddr) -> bool {
        self.0.contains_key(server)
    }
}
