//! The processes that are there when the sensor starts, one item each.

use std::path::Path;

use super::survey::{Course, Emit, SurveyItem, pids};
use crate::host::snapshot::Snapshooter;

pub(super) fn run(proc: &Path, course: &Course, out: &mut dyn Emit) {
    let mut snapshooter = Snapshooter::new(proc);
    for pid in pids(proc, course) {
        if out.at(pid)
            && let Some(seen) = snapshooter.look(pid)
        {
            out.emit(&SurveyItem::Process(Box::new(seen)));
        }
    }
}
