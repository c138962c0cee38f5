//! What the SSH probes remember of connections and processes that are gone, taken out of the kernel's maps once a
//! minute.
//!
//! The probes forget a connection and its cipher contexts when its socket closes. They do not know of the end of these:
//! a connection that a channel carried (what it carried may be decrypted after the channel has closed), a context whose
//! keys were replaced before, or that came too late, keys that were to be replaced when their process ended. Whoever is
//! unknown in two looks in a row goes, so that nothing is taken between its two halves. In: the connections that
//! channels carry now. Out: those that go on.

use std::{collections::HashSet, hash::Hash, path::Path};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, MapError},
};

use super::Error;

/// `ContextKey` of the probes: the address, and the process in the lower half.
type ContextKey = [u64; 2];
/// `CipherContext`: the connection comes first.
type Context = [u64; 134];
/// `Connection`: its id comes first.
type Connection = [u64; 9];

#[derive(Default)]
pub(super) struct StaleEntryGc {
    contexts: HashSet<ContextKey>,
    carried: HashSet<u64>,
}

impl StaleEntryGc {
    pub(super) fn sweep(
        &mut self,
        ebpf: &mut Ebpf,
        carried: &HashSet<u64>,
        proc: &Path,
    ) -> Result<HashSet<u64>, Error> {
        let lives = |tgid: u64| proc.join(tgid.to_string()).exists();
        let mut connections = open::<u64, Connection>(ebpf, "CONNECTIONS")?;
        let known = connections.iter().map_while(Result::ok).map(|(key, [id, ..])| (key, id));
        // The keys of those with a socket are addresses in the kernel.
        let (ended, known): (Vec<_>, Vec<_>) =
            known.partition(|(key, _)| key.cast_signed() > 0 && !carried.contains(key));
        take(&mut connections, &mut self.carried, ended.into_iter().map(|(key, _)| key).collect());
        let ids: HashSet<u64> = known.into_iter().map(|(_, id)| id).collect();
        let mut contexts = open::<ContextKey, Context>(ebpf, "CONTEXTS")?;
        let stale = contexts
            .iter()
            .map_while(Result::ok)
            .filter(|([_, tgid], [connection, ..])| !ids.contains(connection) || !lives(tgid & u64::from(u32::MAX)));
        let stale = stale.map(|(key, _)| key).collect();
        take(&mut contexts, &mut self.contexts, stale);
        // By process, and direction in the lowest bit.
        let mut rekeyed = open::<u64, u64>(ebpf, "REKEYED")?;
        let stale: Vec<u64> = rekeyed.keys().map_while(Result::ok).filter(|key| !lives(key >> 1)).collect();
        for key in stale {
            // Gone meanwhile is as good.
            let _ = rekeyed.remove(&key);
        }
        Ok(ids)
    }
}

fn open<'a, K: Pod, V: Pod>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<HashMap<&'a mut MapData, K, V>, Error> {
    let map = ebpf.map_mut(name).ok_or(Error::Map(name))?;
    HashMap::try_from(map).map_err(|error: MapError| Error::MapUse { map: name, why: error.to_string() })
}

/// Takes away what two looks in a row found stale.
fn take<K: Pod + Eq + Hash, V: Pod>(map: &mut HashMap<&mut MapData, K, V>, before: &mut HashSet<K>, stale: HashSet<K>) {
    for key in stale.intersection(before) {
        let _ = map.remove(key);
    }
    *before = stale;
}
