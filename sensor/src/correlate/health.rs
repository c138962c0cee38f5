//! Findings about the sensor itself, from events that say so.

use crate::{
    event::stream::{Degraded, Lost},
    finding::{self, Finding, FindingKind, Outcome, Time},
};

/// Something was lost, between `since` and `time`.
pub(super) fn lost(since: Time, time: Time, lost: &Lost) -> Finding {
    let Lost { stage, kind, count, .. } = lost.clone();
    let lost = finding::health::Lost { stage, kind, count, sequence: Vec::new() };
    let mut finding = Finding::new(time, Outcome::Failure, FindingKind::SensorEventsLost(Box::new(lost)));
    finding.span = Some((since, time));
    finding
}

pub(super) fn degraded(time: Time, degraded: &Degraded) -> Finding {
    Finding::new(time, Outcome::Failure, FindingKind::SensorDegraded(Box::new(degraded.clone())))
}
