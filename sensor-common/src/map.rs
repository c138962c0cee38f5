//! The maps: what the object declares and the loader opens, each key and value by its type.
//!
//! The loader compares `MAPS` with the object before it loads it (`sensor/src/kernel/abi.rs`). Keys and values of the
//! SSH probes are in `ssh_map`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Control, Counters,
    pin::{pin, pod},
    ssh_map::{
        Carrying, Channel, CipherContext, CiphertextHash, Connection, ConnectionKey, ContextKey, First, Flow, Process,
        Rekey, Rekeyed, Thread, ThreadId,
    },
};

/// A map of the object and the sizes of its keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLayout {
    pub name: &'static str,
    pub key: u32,
    pub value: u32,
}

const fn of<K, V>(name: &'static str) -> MapLayout {
    MapLayout { name, key: size_of::<K>() as u32, value: size_of::<V>() as u32 }
}

/// Every map that holds keys and values of ours. The key of an array is its index.
pub const MAPS: [MapLayout; 15] = [
    of::<u32, Control>(crate::CONTROL_MAP),
    of::<u32, Counters>("COUNTERS"),
    of::<SocketKey, SocketId>("TRACKED"),
    of::<DedupKey, Mark>("HANDLED"),
    of::<Tgid, Mark>("LISTENERS"),
    of::<ThreadId, Thread>("THREADS"),
    of::<Tgid, Process>("PROCESSES"),
    of::<ConnectionKey, Connection>("CONNECTIONS"),
    of::<Channel, Flow>("FLOWS"),
    of::<ContextKey, CipherContext>("CONTEXTS"),
    of::<u32, CipherContext>("BLANK"),
    of::<CiphertextHash, First>("FIRSTS"),
    of::<ContextKey, CiphertextHash>("UNBOUND"),
    of::<ThreadId, Carrying>("CARRYING"),
    of::<Rekey, Rekeyed>("REKEYED"),
];

/// The object's global that has its `VERSION`, as a u64.
pub const VERSION_SYMBOL: &str = "ABI_VERSION";

/// A TCP socket: the address of its `struct sock` or, for outgoing ones, its cookie (a cookie is small, a kernel
/// address is not, so the two cannot meet).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct SocketKey {
    pub place: u64,
}

/// `Socket::id` of a tracked socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct SocketId {
    pub id: u64,
}

/// What an event is about, unique for as long as both programs of its tracepoint need it: the address of an object and
/// what happens to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DedupKey {
    pub object: u64,
    pub what: u64,
}

/// The value of a map that is a set: nothing but that the key is there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Mark {
    pub pad: u8,
}

impl Mark {
    pub const SET: Self = Self { pad: 0 };
}

/// A thread group.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Tgid {
    pub tgid: u32,
}

pod!(SocketKey, SocketId, DedupKey, Mark, Tgid);

pin!(SocketKey, 8, { place: 0 });
pin!(SocketId, 8, { id: 0 });
pin!(DedupKey, 16, { object: 0, what: 8 });
pin!(Mark, 1, { pad: 0 });
pin!(Tgid, 4, { tgid: 0 });
