//! The queue between the main thread and the thread that writes, and that thread.
//!
//! In: chunks of whole lines, and outputs to write to from then on. The main thread only ever takes a lock that is held
//! for moments: a full queue is a counted loss. The thread holds no lock while it writes, and no capability: a disk
//! that hangs or a reader that stopped holds up nothing but itself. At the end it gets a bounded time; what is left
//! then is counted as lost, and it is left behind (the kernel ends it with the process).

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    ledger::{Ledger, Loss},
    output::{Output, error_name},
};
use crate::privileges;

/// Of lines that were not taken in time.
const QUEUE_FULL: &str = "queue full";
/// Of lines that were still in the queue at the end.
const STUCK: &str = "not written in time";
/// After it was asked to stop, a thread that is not inside of a write answers within this.
const ANSWER: Duration = Duration::from_millis(100);
/// A failing output is tried again by a report this long after the last failure, and ever less often.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Lines that are written together.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Shared, not copied, by whoever writes or sends them.
    pub bytes: Bytes,
    pub lines: u64,
    /// Sequence number of the first line; 0: they have none.
    pub first: u64,
    /// What its line reports as lost: it is lost again if the line is.
    pub report: Option<Loss>,
}

enum Item {
    Lines(Chunk),
    /// What follows goes here.
    Output(Output),
}

struct State {
    items: VecDeque<Item>,
    /// In `items` and being written.
    bytes: usize,
    /// What is being written, without its bytes; `first` and `lines` are of what is not there yet.
    writing: Option<Chunk>,
    ledger: Ledger,
    written: u64,
    size: Option<u64>,
    /// The reader is gone.
    closed: bool,
    /// When the last write failed, and when to try again.
    failing: Option<(Instant, Duration)>,
    /// No more will come.
    ending: bool,
    /// What is left has been counted: nothing may be written any more.
    abandoned: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    idle: Condvar,
    room: usize,
}

impl Queue {
    pub(super) fn new(room: usize, size: Option<u64>) -> Self {
        let state = State {
            items: VecDeque::new(),
            bytes: 0,
            writing: None,
            ledger: Ledger::default(),
            written: 0,
            size,
            closed: false,
            failing: None,
            ending: false,
            abandoned: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), idle: Condvar::new(), room }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under it; if something did, the account is still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that writes to `output`. Called when the capabilities that the sensor keeps are all that is
    /// left to inherit.
    pub(super) fn start(self: &Arc<Self>, output: Output) -> io::Result<()> {
        let queue = Arc::clone(self);
        std::thread::Builder::new().name("sink".into()).spawn(move || queue.run(output)).map(drop)
    }

    /// Hands over lines, or counts them.
    pub(super) fn push(&self, chunk: Chunk, now: i64) {
        let mut state = self.lock();
        // A chunk that is larger than the queue has its turn when nothing else waits.
        if state.ending || (state.bytes > 0 && state.bytes + chunk.bytes.len() > self.room) {
            state.lose(QUEUE_FULL, chunk, now);
            return;
        }
        state.bytes += chunk.bytes.len();
        state.items.push_back(Item::Lines(chunk));
        self.work.notify_one();
    }

    /// What comes from here on goes to another output.
    pub(super) fn redirect(&self, output: Output) {
        let mut state = self.lock();
        state.size = output.size();
        state.items.push_back(Item::Output(output));
        self.work.notify_one();
    }

    /// Writes a chunk in the calling thread, however long it takes.
    pub(super) fn write(&self, output: &mut Output, chunk: Chunk, now: i64) {
        let written = output.write(&chunk.bytes, |_| true);
        let mut state = self.lock();
        state.settle(chunk, written.lines, written.error, now);
    }

    /// A loss that can be reported now: there is room, and if the output fails it is time to try again.
    pub(super) fn reportable(&self) -> Option<Loss> {
        let mut state = self.lock();
        if state.ledger.is_empty() || state.bytes > self.room / 2 || state.closed {
            return None;
        }
        if let Some((failed, wait)) = &mut state.failing {
            if failed.elapsed() < *wait {
                return None;
            }
            *failed = Instant::now();
            *wait = (*wait * 2).min(RETRY_MAX);
        }
        state.ledger.take()
    }

    /// Every loss that is in no record yet, whether it can be written or not.
    pub(super) fn take_losses(&self) -> Vec<Loss> {
        let mut state = self.lock();
        std::iter::from_fn(|| state.ledger.take()).collect()
    }

    /// Lost in the whole run, by reason.
    pub(super) fn totals(&self) -> Vec<(String, u64)> {
        self.lock().ledger.totals().to_vec()
    }

    /// Waits until nothing is left to write. False: it took too long.
    pub(super) fn settle(&self, until: Instant) -> bool {
        let mut state = self.lock();
        while !state.items.is_empty() || state.writing.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.idle.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The end: what is not written by then is lost. Returns what no record reports.
    pub(super) fn end(&self, until: Instant, now: i64) -> Vec<Loss> {
        let settled = self.settle(until);
        let mut state = self.lock();
        state.ending = true;
        state.abandoned = !settled;
        self.work.notify_one();
        if !settled {
            let late = Instant::now() + ANSWER;
            while state.writing.is_some() && Instant::now() < late {
                state = self.idle.wait_timeout(state, ANSWER).unwrap_or_else(PoisonError::into_inner).0;
            }
            let left: Vec<Chunk> = state.writing.take().into_iter().collect();
            let waiting = std::mem::take(&mut state.items).into_iter().filter_map(|item| match item {
                Item::Lines(chunk) => Some(chunk),
                Item::Output(_) => None,
            });
            for chunk in left.into_iter().chain(waiting) {
                state.lose(STUCK, chunk, now);
            }
            state.bytes = 0;
        }
        state.ledger.unreported().to_vec()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn written(&self) -> u64 {
        self.lock().written
    }

    /// Bytes of the file with what is to come into it.
    pub(super) fn size(&self) -> Option<u64> {
        let state = self.lock();
        state.size.map(|size| size + state.bytes as u64)
    }

    fn run(&self, mut output: Output) {
        // Writing to what is open needs none.
        if let Err(error) = privileges::drop_all() {
            tracing::debug!(%error, "the thread that writes keeps its capabilities");
        }
        while let Some(item) = self.next() {
            let chunk = match item {
                Item::Output(other) => {
                    output = other;
                    self.idle.notify_all();
                    continue;
                }
                Item::Lines(chunk) => chunk,
            };
            let written = output.write(&chunk.bytes, |lines| self.progress(&chunk, lines));
            let mut state = self.lock();
            state.bytes = state.bytes.saturating_sub(chunk.bytes.len());
            // Taken: it has been counted as lost.
            if state.writing.take().is_some() {
                let stopped = written.error.is_none() && written.lines < chunk.lines;
                if stopped {
                    state.settle_part(&chunk, written.lines);
                    state.lose(STUCK, rest_of(chunk, written.lines), wall());
                } else {
                    state.settle(chunk, written.lines, written.error, wall());
                }
                // An output that took what is to come has its own length.
                if !state.items.iter().any(|item| matches!(item, Item::Output(_))) {
                    state.size = output.size();
                }
            }
            self.idle.notify_all();
        }
    }

    fn next(&self) -> Option<Item> {
        let mut state = self.lock();
        loop {
            if state.abandoned {
                return None;
            }
            match state.items.pop_front() {
                Some(item) => {
                    if let Item::Lines(chunk) = &item {
                        state.writing = Some(rest_of_meta(chunk, 0));
                    }
                    return Some(item);
                }
                None if state.ending => return None,
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Notes how far the thread is. False: it has to stop.
    fn progress(&self, chunk: &Chunk, lines: u64) -> bool {
        let mut state = self.lock();
        if state.abandoned {
            return false;
        }
        state.writing = Some(rest_of_meta(chunk, lines));
        true
    }
}

impl State {
    /// What became of a chunk.
    fn settle(&mut self, chunk: Chunk, written: u64, error: Option<io::Error>, now: i64) {
        let Some(error) = error else {
            self.written += chunk.lines;
            self.failing = None;
            return;
        };
        self.closed |= error.kind() == io::ErrorKind::BrokenPipe;
        let kind = error_name(&error);
        if self.failing.is_none() && !self.closed {
            tracing::error!(%error, "cannot write records; they are counted and reported");
        }
        let wait = self.failing.map_or(RETRY, |(_, wait)| wait);
        self.failing = Some((Instant::now(), wait));
        self.settle_part(&chunk, written);
        self.lose(&kind, rest_of(chunk, written), now);
    }

    fn settle_part(&mut self, chunk: &Chunk, written: u64) {
        self.written += written.min(chunk.lines);
    }

    fn lose(&mut self, kind: &str, chunk: Chunk, now: i64) {
        if chunk.lines == 0 {
            return;
        }
        self.ledger.add(kind, chunk.first, chunk.lines, now);
        if let Some(report) = chunk.report {
            self.ledger.restore(report);
        }
    }
}

/// The lines of a chunk that were not written.
fn rest_of(chunk: Chunk, written: u64) -> Chunk {
    let written = written.min(chunk.lines);
    let first = if chunk.first > 0 { chunk.first + written } else { 0 };
    Chunk { bytes: Bytes::new(), first, lines: chunk.lines - written, ..chunk }
}

fn rest_of_meta(chunk: &Chunk, written: u64) -> Chunk {
    let Chunk { lines, first, report, .. } = chunk;
    rest_of(Chunk { bytes: Bytes::new(), lines: *lines, first: *first, report: report.clone() }, written)
}

/// ns since the epoch.
pub fn wall() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
