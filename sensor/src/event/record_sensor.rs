//! `sensor.*`: what a record says of itself, and of the sensor that wrote it.

use std::sync::Arc;

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::stream::{Counted, Drains, Probe};

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sensor {
    pub adopted_by: Option<&'static str>,
    pub lineage: Option<&'static str>,
    /// Nobody saw it happen: it follows from what was before and what is now.
    pub inferred: Option<bool>,
    /// The integrity of what this says was never confirmed: the connection ended right after it.
    pub unconfirmed: Option<bool>,
    pub redacted: Option<Vec<&'static str>>,
    pub escaped: Option<Vec<&'static str>>,
    pub truncated: Option<Vec<&'static str>>,
    /// True size in bytes of what was cut.
    pub original_size: Option<u32>,
    pub probes: Option<Vec<ProbeState>>,
    /// At the end: what each program counted.
    pub programs: Option<Vec<ProgramAccount>>,
    /// At the end: how the ring was drained.
    pub drain: Option<DrainAccount>,
    pub degraded: Option<Degraded>,
    pub lost: Option<Lost>,
    pub suppressed: Option<Suppressed>,
    /// At the end: what became of the records of this run.
    pub records: Option<Records>,
    /// The SSH server's own process: for the eye, not for the record.
    #[serde(skip)]
    pub sshd_internal: bool,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct ProbeState {
    pub name: String,
    pub target: String,
    pub state: String,
    pub why: Option<String>,
}

impl From<&Probe> for ProbeState {
    fn from(probe: &Probe) -> Self {
        let Probe { name, target, state, why } = probe.clone();
        Self { name, target, state, why }
    }
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct ProgramAccount {
    pub name: String,
    pub seen: u64,
    pub sent: u64,
    pub lost: u64,
    pub fallback_handled: u64,
    pub skipped: Option<u64>,
}

impl From<&Counted> for ProgramAccount {
    fn from(counted: &Counted) -> Self {
        let Counted { name, seen, sent, lost, fallback_handled, skipped } = counted.clone();
        Self { name, seen, sent, lost, fallback_handled, skipped }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct DrainAccount {
    pub drains: u64,
    /// Drains that came over 50 ms after their first record.
    pub late: u64,
    /// The longest that a record was in the ring, ns.
    pub latency_max_ns: u64,
}

impl From<Drains> for DrainAccount {
    fn from(drains: Drains) -> Self {
        let Drains { drains, late, latency_max_ns } = drains;
        Self { drains, late, latency_max_ns }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Degraded {
    pub what: String,
    pub why: String,
    pub effect: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Lost {
    pub stage: String,
    pub kind: String,
    pub count: u64,
    /// Of records: the `event.sequence` of those that are missing. Where there are too many ranges, neighbours are
    /// merged: `count` is exact.
    pub sequence: Option<Vec<Range>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Range {
    pub first: u64,
    pub last: u64,
}

/// What was held back of a session (or of a user outside of sessions) over a limit.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Suppressed {
    pub count: u64,
    /// The key of the configuration that sets the limit.
    pub limit: &'static str,
    pub actions: Vec<ActionCount>,
    /// The first ones that differ, of processes that started.
    pub executables: Option<Vec<Arc<str>>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ActionCount {
    pub action: &'static str,
    pub count: u64,
}

/// The account of records: those that were made are `written` and `lost`; `suppressed` ones were not made.
#[derive(Clone, Debug, Serialize)]
pub struct Records {
    pub written: u64,
    pub suppressed: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<KindCount>,
}

#[derive(Clone, Debug, Serialize)]
pub struct KindCount {
    pub kind: String,
    pub count: u64,
}
