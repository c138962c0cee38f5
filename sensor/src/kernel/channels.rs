//! What SSH channels moved so far, as the packet probe counts it (`sensor-ebpf/src/ssh/packet.rs`).
//!
//! A channel's EOF and CLOSE bring its count with them, and CLOSE takes it from the map. A connection that breaks off
//! has neither: then the loader asks, and takes the count away itself.

use std::collections::HashSet;

use aya::maps::{HashMap, Map, MapData, MapError};
use sensor_common::ssh::FLOW_READ;

use super::Error;

/// `Channel` of the probes: connection; number in the lower half (little endian, as the object is), direction in the
/// upper.
type Key = [u64; 2];

/// Bytes, and the connection that is carried.
type Flow = [u64; 2];

pub struct ChannelBytes {
    map: HashMap<MapData, Key, Flow>,
}

impl ChannelBytes {
    pub(super) fn new(map: Map) -> Result<Self, Error> {
        let used = |error: MapError| Error::MapUse { map: "FLOWS", why: error.to_string() };
        Ok(Self { map: HashMap::try_from(map).map_err(used)? })
    }

    /// Bytes of data in this direction whose receiver calls the channel by this number.
    pub fn get(&self, connection: u64, number: u32, direction: u8) -> u64 {
        // What is not there was never counted: no data came.
        self.map.get(&key(connection, number, direction), 0).map_or(0, |[bytes, _]| bytes)
    }

    pub fn remove(&mut self, connection: u64, number: u32, direction: u8) {
        // Gone already is as good.
        let _ = self.map.remove(&key(connection, number, direction));
    }

    /// Connections with a count.
    pub fn connections(&self) -> HashSet<u64> {
        // A key that goes away during the walk ends it; the next walk sees the rest.
        self.map.keys().map_while(Result::ok).map(|[connection, _]| connection).collect()
    }

    /// SSH connections that channels carry now.
    pub fn carried(&self) -> HashSet<u64> {
        // As above: a walk that ends early knows too few, and the caller waits for a second look.
        self.map
            .iter()
            .map_while(Result::ok)
            .map(|(_, [_, stream])| stream & !FLOW_READ)
            .filter(|id| *id != 0)
            .collect()
    }

    /// Removes all counts of these.
    pub fn forget(&mut self, connections: &HashSet<u64>) {
        let keys: Vec<Key> = self.map.keys().map_while(Result::ok).collect();
        for key in keys.iter().filter(|[connection, _]| connections.contains(connection)) {
            let _ = self.map.remove(key);
        }
    }
}

fn key(connection: u64, number: u32, direction: u8) -> Key {
    [connection, u64::from(number) | u64::from(direction) << 32]
}
