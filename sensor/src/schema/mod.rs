//! Findings as lines, and lines as findings: one folder for each format that can be read back.
//!
//! In: a finding, with its `Origin` (which host, which run) and its `Stamp` (which record of that run). Out: a line of
//! ECS (`ecs`), and back from a line all three. Pure, and lossless in both directions, so that `review`, sinks and
//! further formats work on what was written as on what was found. A hostile line is an error, never a panic.
//!
//! ```
//! use sensor::{
//!     finding::{Finding, FindingKind, Outcome, Process, Time},
//!     schema::{Origin, Stamp, ecs::Line},
//! };
//!
//! let mut finding = Finding::new(Time(1_795_295_924_000_000_005), Outcome::Success, FindingKind::ProcessStarted);
//! finding.subject.process = Some(Box::new(Process::new(4711, "5ad4447457bd".into())));
//! let origin = Origin { host_name: "web".into(), host_id: "3f91858f".into(), boot_id: "05bb".into(), ..Origin::default() };
//! let stamp = Stamp { id: uuid::Uuid::nil(), sequence: 7 };
//!
//! let line = serde_json::to_string(&Line::new(&origin, &stamp, &finding)).unwrap();
//! assert!(line.starts_with(r#"{"@timestamp":"2026-11-21T21:18:44.000000005Z","ecs":{"version":"8.17.0"}"#));
//! assert_eq!(Line::parse(line.as_bytes()).unwrap(), (origin, stamp, finding));
//! ```

pub mod ecs;
pub mod sample;

use uuid::Uuid;

/// Who writes: a host, and a run of the sensor there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub host_name: String,
    /// A hash of its machine-id.
    pub host_id: String,
    /// The sensor's version.
    pub version: String,
    /// A hash of the kernel's boot id and of the start of the sensor: makes `Stamp::sequence` unique.
    pub boot_id: String,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            host_name: String::new(),
            host_id: String::new(),
            version: env!("CARGO_PKG_VERSION").into(),
            boot_id: String::new(),
        }
    }
}

/// Which record of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub id: Uuid,
    /// Counts from 1, without gaps.
    pub sequence: u64,
}

/// Why a line gives no finding.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the line is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the line is no JSON object")]
    NoObject,
    /// Absent, or not what it should be.
    #[error("the record has no usable `{0}`")]
    Field(&'static str),
}
