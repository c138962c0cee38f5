//! What the sensor says of itself in the stream: probes, accounts, losses, what cannot be seen.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// `kernel`, `decode`, `correlate`, `sink`.
    pub stage: String,
    pub kind: String,
    pub count: u64,
    /// When the loss can have begun (boot ns); it ended at the event's time.
    pub since: u64,
}

/// The account of the drains of the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drains {
    pub drains: u64,
    /// Drains whose first record had been in the ring for over 50 ms.
    pub late: u64,
    /// The longest that a record was in the ring before its drain, ns.
    pub latency_max_ns: u64,
}

/// The account of one program in the kernel over a whole run: `seen` = `sent` + `lost`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub name: String,
    pub seen: u64,
    pub sent: u64,
    pub lost: u64,
    /// Of `seen`: by the second program of a tracepoint, since the kernel had skipped the first.
    pub fallback_handled: u64,
    /// Events for which the kernel skipped both; absent where it does not count.
    pub skipped: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Degraded {
    pub what: String,
    pub why: String,
    pub effect: String,
}

/// A probe as `sensor-started` and `sensor check` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub name: String,
    pub target: String,
    /// `attached` or `missing`.
    pub state: String,
    pub why: Option<String>,
}
