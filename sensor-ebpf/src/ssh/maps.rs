//! State of the SSH probes. Plain hashes, but for the two whose entries live for microseconds: an LRU forgets silently.
//! Preallocated, as tracing programs need it before 6.1.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};
use sensor_common::{
    map::Tgid,
    ssh_map::{
        Carrying, Channel, CipherContext, CiphertextHash, Connection, ConnectionKey, ContextKey, First, Flow, Process,
        Rekey, Rekeyed, Thread, ThreadId,
    },
};

#[map]
pub static THREADS: HashMap<ThreadId, Thread> = HashMap::with_max_entries(16_384, 0);

#[map]
pub static PROCESSES: HashMap<Tgid, Process> = HashMap::with_max_entries(16_384, 0);

#[map]
pub static CONNECTIONS: HashMap<ConnectionKey, Connection> = HashMap::with_max_entries(32_768, 0);

#[map]
pub static FLOWS: HashMap<Channel, Flow> = HashMap::with_max_entries(16_384, 0);

#[map]
pub static CONTEXTS: HashMap<ContextKey, CipherContext> = HashMap::with_max_entries(2_048, 0);

/// One entry of zeroes: a new context, which has no room on the stack.
#[map]
pub static BLANK: Array<CipherContext> = Array::with_max_entries(1, 0);

/// An LRU: no reader takes those of an OpenSSH connection; those of others are taken at once.
#[map]
pub static FIRSTS: LruHashMap<CiphertextHash, First> = LruHashMap::with_max_entries(8_192, 0);

/// What a context that is not bound encrypted first. An LRU: most of them have nothing to do with SSH.
#[map]
pub static UNBOUND: LruHashMap<ContextKey, CiphertextHash> = LruHashMap::with_max_entries(4_096, 0);

/// By thread: read when its packet is sent (`stream::resume`), which is at once.
#[map]
pub static CARRYING: LruHashMap<ThreadId, Carrying> = LruHashMap::with_max_entries(1_024, 0);

/// The next new context is theirs.
#[map]
pub static REKEYED: HashMap<Rekey, Rekeyed> = HashMap::with_max_entries(1_024, 0);
