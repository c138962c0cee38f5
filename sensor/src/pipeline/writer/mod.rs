//! The last stages: filter, budget, number, render, sink, and the recording on the side.
//!
//! In: findings, and events for the recording. Out: lines, with the account of those that are missing: a record that
//! was rendered has a number (`event.sequence`), and is written or reported as lost. The reports are made here, not by
//! the middle, since only the writer knows what became of a line, and a report that is lost is made again.
//! `sensor-stopped` is kept until all else is written: it bears the account of the run. What no record could say at the
//! end is said on standard error. Nothing here waits for a disk or a reader, but `finish`, for a bounded time.

mod budget;
#[cfg(test)]
mod budget_tests;
mod stamper;

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use budget::Budget;
pub use budget::Rates;
use stamper::Stamper;

use crate::{
    decode::recording,
    event::stream::{Degraded, Event, EventKind},
    finding::{
        Finding, FindingKind, Outcome, Time,
        health::{Lost, RecordCounts},
    },
    render::{filter::Filter, json::Json, table::Table},
    schema::Stamp,
    sink::{Chunk, Loss, OpenError, Recorder, Sink, stderr, wall},
};

/// Rendered bytes are handed to the sink from here on.
const LARGE: usize = 256 << 10;
/// For what is still to be written at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of it, before the last record is made.
const PATIENCE_BEFORE_LAST: Duration = Duration::from_millis(600);

/// How records are shown.
pub enum Format {
    Json(Json),
    Table(Table),
}

impl Format {
    fn render(&self, stamp: &Stamp, finding: &Finding, out: &mut Vec<u8>) {
        match self {
            Self::Json(json) => json.render(stamp, finding, out),
            Self::Table(table) => table.render(finding, out),
        }
    }

    /// Do its lines show their numbers?
    fn is_numbered(&self) -> bool {
        matches!(self, Self::Json(_))
    }
}

pub struct Writer {
    format: Format,
    filter: Filter,
    budget: Option<Budget>,
    sink: Sink,
    recording: Option<recording::Writer<Recorder>>,
    stamper: Stamper,
    pending: Vec<Finding>,
    /// Lines that are not handed over yet, and what is known of them.
    lines: Vec<u8>,
    chunk: Chunk,
    /// `sensor-stopped`, until all else is written.
    last: Option<Finding>,
    filtered: u64,
    finished: bool,
}

impl Writer {
    pub fn new(format: Format, filter: Filter, sink: Sink) -> Self {
        let lines = match &format {
            Format::Table(table) => table.heading().into_bytes(),
            Format::Json(_) => Vec::new(),
        };
        Self {
            format,
            filter,
            budget: None,
            sink,
            recording: None,
            stamper: Stamper::default(),
            pending: Vec::new(),
            lines,
            chunk: Chunk::default(),
            last: None,
            filtered: 0,
            finished: false,
        }
    }

    /// Bounds what a session, and all of them together, may write.
    #[must_use]
    pub fn limited(mut self, rates: Rates) -> Self {
        self.budget = Some(Budget::new(rates));
        self
    }

    /// Also records the stream into a new file, 0600. `replace`: an own recording of that name goes.
    pub fn record_to(&mut self, path: &Path, replace: bool) -> io::Result<()> {
        self.recording = Some(recording::Writer::new(Recorder::create(path, replace)?)?);
        Ok(())
    }

    pub(super) fn record(&mut self, event: &Event) -> io::Result<()> {
        let Some(recording) = &mut self.recording else { return Ok(()) };
        recording.write(event)?;
        if recording.get_ref().is_large() {
            recording.flush()?;
        }
        Ok(())
    }

    /// Learns which host the records are of.
    pub(super) fn host(&mut self, event: &Event) {
        if let (EventKind::Host(host), Format::Json(json)) = (&event.what, &mut self.format) {
            json.set_host(host);
        }
    }

    /// Where the middle puts findings.
    pub(super) fn findings(&mut self) -> &mut Vec<Finding> {
        &mut self.pending
    }

    pub(super) fn render(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for finding in pending.drain(..) {
            if !self.filter.admits(&finding) {
                self.filtered += 1;
            } else if matches!(finding.kind, FindingKind::SensorStopped(_)) && self.sink.is_queued() {
                self.last = Some(finding);
            } else if self.admits(&finding) {
                self.line(&finding);
            }
        }
        // The room is used again.
        self.pending = pending;
    }

    pub(super) fn flush(&mut self) {
        self.limits(wall());
        self.hand_over();
        if let Some(loss) = self.sink.reportable() {
            self.report(loss);
        }
        self.flush_recording();
    }

    pub(super) fn flush_if_large(&mut self) {
        if self.lines.len() >= LARGE {
            self.flush();
        }
    }

    /// The end: writes what is left, in bounded time. An error: the recording is not whole.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        let (before_last, until) = (Instant::now() + PATIENCE_BEFORE_LAST, Instant::now() + PATIENCE);
        self.limits(i64::MAX);
        self.hand_over();
        self.flush_recording();
        if self.sink.is_queued() {
            self.sink.settle(before_last);
            for loss in self.sink.take_losses() {
                self.report(loss);
            }
            self.sink.settle(before_last);
        }
        if let Some(mut last) = self.last.take() {
            if let FindingKind::SensorStopped(stopped) = &mut last.kind {
                stopped.records = Some(self.account());
            }
            self.line(&last);
            self.hand_over();
        }
        let closed = self.sink.is_closed();
        let unreported = self.sink.end(until);
        if !unreported.is_empty() && !closed {
            stderr::say(&last_words(&unreported));
        }
        match &mut self.recording {
            Some(recording) => recording.get_mut().end(until),
            None => Ok(()),
        }
    }

    pub(super) fn reopen(&mut self, path: &Path) -> Result<(), OpenError> {
        self.hand_over();
        self.sink.reopen(path)?;
        if let Some(budget) = &mut self.budget {
            budget.reopened();
        }
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sink.is_closed()
    }

    pub(super) fn written(&self) -> u64 {
        self.sink.written()
    }

    pub(super) fn filtered(&self) -> u64 {
        self.filtered
    }

    fn admits(&mut self, finding: &Finding) -> bool {
        let Some(budget) = &mut self.budget else { return true };
        let waiting = self.lines.len() as u64;
        budget.admits(finding, self.sink.size().map(|size| size + waiting))
    }

    /// Numbers and renders a finding, if its format shows it.
    fn line(&mut self, finding: &Finding) {
        let before = self.lines.len();
        let stamp = self.stamper.next(finding.time);
        self.format.render(&stamp, finding, &mut self.lines);
        let bytes = self.lines.len() - before;
        if bytes == 0 {
            self.stamper.take_back();
            return;
        }
        if self.chunk.lines == 0 {
            self.chunk.first = if self.format.is_numbered() { stamp.sequence } else { 0 };
        }
        self.chunk.lines += 1;
        if let Some(budget) = &mut self.budget {
            budget.charge(finding, bytes);
        }
        if self.lines.len() >= LARGE {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if !self.lines.is_empty() {
            // The next lines need as much room, and growing into it copies them all once more.
            let room = self.lines.len();
            let bytes = std::mem::replace(&mut self.lines, Vec::with_capacity(room)).into();
            self.sink.emit(Chunk { bytes, ..std::mem::take(&mut self.chunk) });
        }
    }

    /// What the budget has to say.
    fn limits(&mut self, now: i64) {
        let Some(budget) = &mut self.budget else { return };
        let mut findings = Vec::new();
        budget.due(now, &mut findings);
        for finding in findings {
            self.line(&finding);
        }
    }

    /// A record of lost records, in a chunk of its own: it is known by itself whether it was written.
    fn report(&mut self, loss: Loss) {
        self.hand_over();
        let now = wall();
        let lost =
            Lost { stage: "sink".into(), kind: loss.kind.clone(), count: loss.count, sequence: loss.ranges.clone() };
        let kind = FindingKind::SensorEventsLost(Box::new(lost));
        let mut finding = Finding::new(Time(now), Outcome::Failure, kind);
        finding.span = Some((Time(loss.since.min(now)), Time(now)));
        self.line(&finding);
        self.chunk.report = Some(loss);
        self.hand_over();
    }

    fn account(&self) -> RecordCounts {
        let suppressed = self.budget.as_ref().map_or(0, Budget::suppressed);
        RecordCounts { written: self.sink.written(), suppressed, lost: self.sink.totals() }
    }

    fn flush_recording(&mut self) {
        let Some(recording) = &mut self.recording else { return };
        // Collecting does not fail.
        let _ = recording.flush();
        let Some(why) = recording.get_ref().failure() else { return };
        let effect = "the recording ends before this record; records are not affected".into();
        let degraded = Degraded { what: "recording of the event stream".into(), why, effect };
        let kind = FindingKind::SensorDegraded(Box::new(degraded));
        self.line(&Finding::new(Time(wall()), Outcome::Failure, kind));
        self.hand_over();
    }
}

impl Drop for Writer {
    /// Also where the sensor ends with an error, what it knew is written.
    fn drop(&mut self) {
        if !self.finished {
            // A heading alone is nothing.
            if self.chunk.lines == 0 {
                self.lines.clear();
            }
            let _ = self.finish();
        }
    }
}

/// What no record says.
fn last_words(losses: &[Loss]) -> String {
    let shown = |loss: &Loss| {
        let ranges: Vec<String> = loss.ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let ranges = if ranges.is_empty() { String::new() } else { format!(" (sequence {})", ranges.join(", ")) };
        format!("{} for `{}`{ranges}", loss.count, loss.kind)
    };
    let count: u64 = losses.iter().map(|loss| loss.count).sum();
    let parts: Vec<String> = losses.iter().map(shown).collect();
    format!("{count} records were lost and no record says so: {}", parts.join("; "))
}
