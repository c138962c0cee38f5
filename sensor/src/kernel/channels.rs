//! What SSH channels moved so far, as the packet probe counts it (`sensor-ebpf/src/ssh/packet.rs`).
//!
//! A channel's EOF and CLOSE bring its count with them, and CLOSE takes it from the map. A connection that breaks off
//! has neither: then the loader asks, and takes the count away itself.

use std::collections::HashSet;

use aya::maps::{HashMap, Map, MapData, MapError};
use sensor_common::ssh_map::{Channel, FLOW_READ, Flow};

use super::Error;

pub struct ChannelBytes {
    map: HashMap<MapData, Channel, Flow>,
}

impl ChannelBytes {
    pub(super) fn new(map: Map) -> Result<Self, Error> {
        let used = |error: MapError| Error::MapUse { map: "FLOWS", why: error.to_string() };
        Ok(Self { map: HashMap::try_from(map).map_err(used)? })
    }

    /// Bytes of data in this direction whose receiver calls the channel by this number.
    pub fn get(&self, connection: u64, number: u32, direction: u8) -> u64 {
        // What is not there was never counted: no data came.
        self.map.get(&key(connection, number, direction), 0).map_or(0, |flow| flow.bytes)
    }

    pub fn remove(&mut self, connection: u64, number: u32, direction: u8) {
        // Gone already is as good.
        let _ = self.map.remove(&key(connection, number, direction));
    }

    /// Connections with a count.
    pub fn connections(&self) -> HashSet<u64> {
        // A key that goes away during the walk ends it; the next walk sees the rest.
        self.map.keys().map_while(Result::ok).map(|channel| channel.connection).collect()
    }

    /// SSH connections that channels carry now.
    pub fn carried(&self) -> HashSet<u64> {
        // As above: a walk that ends early knows too few, and the caller waits for a second look.
        self.map.iter().map_while(Result::ok).map(|(_, flow)| flow.stream & !FLOW_READ).filter(|id| *id != 0).collect()
    }

    /// Removes all counts of these.
    pub fn forget(&mut self, connections: &HashSet<u64>) {
        let channels: Vec<Channel> = self.map.keys().map_while(Result::ok).collect();
        for channel in channels.iter().filter(|channel| connections.contains(&channel.connection)) {
            let _ = self.map.remove(channel);
        }
    }
}

fn key(connection: u64, number: u32, direction: u8) -> Channel {
    Channel { connection, number, direction: direction.into() }
}
