//! `ssh.changed[]`: what an application and its server agreed on, compared with the last time that this application,
//! run by this user, spoke to this server.
//!
//! Kept in memory only, so the first connection after the sensor's start is compared with nothing; bounded, the oldest
//! goes.

use std::{net::SocketAddr, sync::Arc};

use crate::bounded::Bounded;
use crate::event::record::Protocol;

/// Pairs of application and server, some 500 bytes each.
const KEPT_MAX: usize = 2048;

/// Who with whom: user, application, server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pairing {
    pub(super) user: Option<String>,
    pub(super) application: Arc<str>,
    pub(super) server: SocketAddr,
}

/// What is compared, each by the name of its field.
const FIELDS: [&str; 7] = [
    "ssh.client.software",
    "ssh.server.software",
    "ssh.kex",
    "ssh.cipher",
    "ssh.mac",
    "ssh.compression",
    "ssh.host_key",
];

pub(super) struct Changes {
    last: Bounded<Pairing, [Option<String>; FIELDS.len()]>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { last: Bounded::new(KEPT_MAX) }
    }
}

impl Changes {
    /// The fields that differ from the last time; none the first time.
    pub(super) fn compare(&mut self, pairing: Pairing, fields: &Protocol) -> Vec<&'static str> {
        let both = |both: &Option<crate::event::record::Both>| both.as_ref().map(|both| format!("{both:?}"));
        let software = |one: &Option<crate::event::record::Software>| one.as_ref().map(|one| one.software.clone());
        let now = [
            software(&fields.client),
            software(&fields.server),
            fields.kex.clone(),
            both(&fields.cipher),
            both(&fields.mac),
            both(&fields.compression),
            fields.host_key.as_ref().map(|key| format!("{} {:?}", key.kind, key.fingerprint)),
        ];
        let Some(before) = self.last.insert(pairing, now.clone()) else { return Vec::new() };
        let differ = before.iter().zip(&now).map(|(before, now)| before != now);
        FIELDS.into_iter().zip(differ).filter_map(|(field, differs)| differs.then_some(field)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_application_with_the_same_server_is_compared() {
        let mut changes = Changes::default();
        let pairing = |user: &str, port| Pairing {
            user: Some(user.into()),
            application: "app.py".into(),
            server: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let kex = |kex: &str| Protocol { kex: Some(kex.into()), ..Protocol::default() };
        assert!(changes.compare(pairing("a", 22), &kex("one")).is_empty());
        assert!(changes.compare(pairing("b", 22), &kex("two")).is_empty());
        assert!(changes.compare(pairing("a", 23), &kex("two")).is_empty());
        assert!(changes.compare(pairing("a", 22), &kex("one")).is_empty());
        assert_eq!(changes.compare(pairing("a", 22), &kex("two")), ["ssh.kex"]);
        assert!(changes.compare(pairing("a", 22), &kex("two")).is_empty());
        for port in 0..20_000 {
            changes.compare(pairing("c", port), &kex("x"));
        }
        assert!(changes.last.len() <= KEPT_MAX);
    }
}
