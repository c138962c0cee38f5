//! What the SSH probes remember of connections and processes that are gone, taken out of the kernel's maps once a
//! minute.
//!
//! The probes forget a connection and its cipher contexts when its socket closes. They do not know of the end of these:
//! a connection that a channel carried (what it carried may be decrypted after the channel has closed), a context whose
//! keys were replaced before, or that came too late, keys that were to be replaced when their process ended. Whoever is
//! unknown in two looks in a row goes, so that nothing is taken between its two halves. In: the connections that
//! channels carry now. Out: those that go on. A look cannot fail: the maps were opened when the object was loaded, and
//! an entry that goes away during a walk ends it; the next one sees the rest.

use std::{collections::HashSet, hash::Hash, path::Path};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData},
};
use sensor_common::ssh_map::{CipherContext, Connection, ConnectionKey, ContextKey, Rekey, Rekeyed};

use super::{Error, abi::open};

pub(super) struct StaleEntryGc {
    connections: HashMap<MapData, ConnectionKey, Connection>,
    contexts: HashMap<MapData, ContextKey, CipherContext>,
    rekeyed: HashMap<MapData, Rekey, Rekeyed>,
    /// Unknown in the last look.
    stale_contexts: HashSet<ContextKey>,
    stale_connections: HashSet<ConnectionKey>,
}

impl StaleEntryGc {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            connections: open(ebpf, "CONNECTIONS")?,
            contexts: open(ebpf, "CONTEXTS")?,
            rekeyed: open(ebpf, "REKEYED")?,
            stale_contexts: HashSet::new(),
            stale_connections: HashSet::new(),
        })
    }

    pub(super) fn sweep(&mut self, carried: &HashSet<u64>, proc: &Path) -> HashSet<u64> {
        let lives = |tgid: u32| proc.join(tgid.to_string()).exists();
        let known = self.connections.iter().map_while(Result::ok).map(|(key, connection)| (key, connection.id));
        let (ended, known): (Vec<_>, Vec<_>) =
            known.partition(|(key, _)| !key.has_socket() && !carried.contains(&key.place));
        let ended = ended.into_iter().map(|(key, _)| key).collect();
        take(&mut self.connections, &mut self.stale_connections, ended);
        let ids: HashSet<u64> = known.into_iter().map(|(_, id)| id).collect();
        let stale = self
            .contexts
            .iter()
            .map_while(Result::ok)
            .filter(|(key, context)| !ids.contains(&context.connection) || !lives(key.tgid));
        let stale = stale.map(|(key, _)| key).collect();
        take(&mut self.contexts, &mut self.stale_contexts, stale);
        let stale: Vec<Rekey> = self.rekeyed.keys().map_while(Result::ok).filter(|key| !lives(key.tgid)).collect();
        for key in stale {
            // Gone meanwhile is as good.
            let _ = self.rekeyed.remove(&key);
        }
        ids
    }
}

/// Takes away what two looks in a row found stale.
fn take<K: Pod + Eq + Hash, V: Pod>(map: &mut HashMap<MapData, K, V>, before: &mut HashSet<K>, stale: HashSet<K>) {
    for key in stale.intersection(before) {
        let _ = map.remove(key);
    }
    *before = stale;
}
