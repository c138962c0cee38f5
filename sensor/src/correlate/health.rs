//! Records about the sensor itself, from events that say so.

use crate::event::{
    record::{self, Action, Outcome, Record},
    stream::{Degraded, Lost},
};

/// `wall`: ns since the epoch.
pub(super) fn record(wall: i64, action: Action, outcome: Outcome) -> Record {
    Record::new(wall, action, outcome)
}

/// Something was lost between `since` and `wall` (ns since the epoch).
pub(super) fn lost(since: i64, wall: i64, lost: &Lost) -> Record {
    let mut record = record(wall, Action::SensorEventsLost, Outcome::Failure);
    record.span = Some((since, wall));
    record.sensor.lost =
        Some(record::Lost { stage: lost.stage.clone(), kind: lost.kind.clone(), count: lost.count, sequence: None });
    record
}

pub(super) fn degraded(wall: i64, degraded: &Degraded) -> Record {
    let mut record = record(wall, Action::SensorDegraded, Outcome::Failure);
    let Degraded { what, why, effect } = degraded.clone();
    record.sensor.degraded = Some(record::Degraded { what, why, effect });
    record
}
