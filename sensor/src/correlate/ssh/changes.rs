//! `ssh.changed[]`: what an application and its server agreed on, compared with the last time that this application,
//! run by this user, spoke to this server.
//!
//! Kept in memory only, so the first connection after the sensor's start is compared with nothing; bounded, the oldest
//! goes.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    bounded::Bounded,
    finding::ssh::{Agreed, ByDirection, Handshake},
};

/// Pairs of application and server, some 500 bytes each.
const KEPT_MAX: usize = 2048;

/// Who with whom: user, application, server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pairing {
    pub(super) user: Option<u32>,
    pub(super) application: Arc<str>,
    pub(super) server: SocketAddr,
}

pub(super) struct Changes {
    last: Bounded<Pairing, [Option<String>; Agreed::ALL.len()]>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { last: Bounded::new(KEPT_MAX) }
    }
}

impl Changes {
    /// The fields that differ from the last time; none the first time.
    pub(super) fn compare(&mut self, pairing: Pairing, fields: &Handshake) -> Vec<Agreed> {
        let both = |both: &Option<ByDirection>| both.as_ref().map(|both| format!("{both:?}"));
        let now = [
            fields.client.clone(),
            fields.server.clone(),
            fields.kex.clone(),
            both(&fields.cipher),
            both(&fields.mac),
            both(&fields.compression),
            fields.host_key.as_ref().map(|key| format!("{} {:?}", key.kind, key.fingerprint)),
        ];
        let Some(before) = self.last.insert(pairing, now.clone()) else { return Vec::new() };
        let differ = before.iter().zip(&now).map(|(before, now)| before != now);
        Agreed::ALL.into_iter().zip(differ).filter_map(|(field, differs)| differs.then_some(field)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_application_with_the_same_server_is_compared() {
        let mut changes = Changes::default();
        let pairing = |user: u32, port| Pairing {
            user: Some(user),
            application: "app.py".into(),
            server: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let kex = |kex: &str| Handshake { kex: Some(kex.into()), ..Handshake::default() };
        assert!(changes.compare(pairing(1, 22), &kex("one")).is_empty());
        assert!(changes.compare(pairing(2, 22), &kex("two")).is_empty());
        assert!(changes.compare(pairing(1, 23), &kex("two")).is_empty());
        assert!(changes.compare(pairing(1, 22), &kex("one")).is_empty());
        assert_eq!(changes.compare(pairing(1, 22), &kex("two")), [Agreed::Kex]);
        assert!(changes.compare(pairing(1, 22), &kex("two")).is_empty());
        for port in 0..20_000 {
            changes.compare(pairing(3, port), &kex("x"));
        }
        assert!(changes.last.len() <= KEPT_MAX);
    }
}
