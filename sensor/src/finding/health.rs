//! What the sensor finds of itself: its probes, its account, losses, what it cannot see.

use std::sync::Arc;

use super::action::Action;
pub use crate::event::stream::{Counted, Degraded, Drains, Probe};

/// The account of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SensorStopped {
    /// What each program in the kernel counted.
    pub programs: Vec<Counted>,
    /// How the ring was drained.
    pub drain: Option<Drains>,
    /// What became of the records; only their writer knows.
    pub records: Option<RecordCounts>,
}

/// Records that were made are `written` and `lost`; `suppressed` ones were not made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    pub written: u64,
    pub suppressed: u64,
    /// By kind of loss.
    pub lost: Vec<(String, u64)>,
}

/// Something was lost, in the time that the finding's span says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Where: `kernel`, `decode`, `correlate`, `sink`...
    pub stage: String,
    pub kind: String,
    pub count: u64,
    /// Of records: the numbers of those that are missing, first and last of each range. Where there are too many
    /// ranges, neighbours are merged: `count` is exact. Empty for other losses.
    pub sequence: Vec<(u64, u64)>,
}

/// What was held back of a session (or of a user outside of sessions) over a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    pub count: u64,
    pub limit: Limit,
    pub actions: Vec<(Action, u64)>,
    /// The first ones that differ, of processes that started.
    pub executables: Vec<Arc<str>>,
}

/// A limit of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Of one session or user, records a second.
    Records,
    /// Of one session or user, bytes a second.
    Bytes,
    /// Of the file.
    File,
}
