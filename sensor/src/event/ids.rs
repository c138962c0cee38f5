//! What names a process, a connection, a path: below everything else in `event`, so that its files are a tree.
//!
//! What enters: numbers of the kernel. What leaves: values to compare, to hash and to record.

use serde::{Deserialize, Serialize};

/// Seconds are for people: start times are compared in USER_HZ ticks, which is all that /proc knows.
pub const NS_PER_TICK: u64 = 10_000_000;

/// A process for as long as the machine runs: a tgid alone is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    pub tgid: u32,
    /// Start of the thread group's leader, in USER_HZ ticks since boot.
    pub start: u64,
}

/// A connection: the id of its socket (as in `Served::socket`, `Connect::socket` and `TcpChange::socket`), or of the
/// process that speaks over pipes.
pub type ConnectionId = u64;

/// A path, absolute unless `cut`: then its beginning is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    pub cut: bool,
}
