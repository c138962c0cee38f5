//! The thread that only drains: kernel records out of the ring, decoded and redacted, into a queue.
//!
//! What enters: the ring. What leaves: batches of events in their order, and an account of what came and what did not.
//! Nothing here waits for anything but the ring: no file, no directory, no attachment, no disk, no terminal, so
//! whatever a user makes the rest of the sensor wait for, the ring is emptied. The queue is bounded by what its events
//! hold; an event that finds it full is lost and counted with that reason (the ring would only be full instead, with a
//! quarter of the room).
//!
//! While records come, the ring is emptied every `NAP` (waking for each would cost the traced program more than the
//! record does); when none comes, the thread sleeps in the kernel.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use sensor_common::Head;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    decode::{Decoder, Error as DecodeError},
    event::stream::{Drains, Event, EventKind},
    host::identity,
    kernel::{Drained, Ring, Waker},
    privileges,
};

/// Records per drain: some milliseconds of work.
const DRAIN_MAX: usize = 8192;
/// Between two looks into a ring that is in use.
const NAP: Duration = Duration::from_millis(10);
/// A sleep that nothing ends.
const SLEEP: Duration = Duration::from_secs(5);
/// What queued events may hold, by `weight`: about 30,000 execs, two seconds of as many as two cores can do.
const QUEUE_BYTES: usize = 32 << 20;
/// Of an event without its arguments.
const EVENT_BYTES: usize = 1024;
/// A drain that comes later than this after its first record is counted: facts are looked up while the process is
/// there.
const LATE_NS: u64 = 50_000_000;

/// Events in their order.
pub(super) struct Batch {
    pub events: Vec<Event>,
    weight: usize,
}

/// The queue's end, and the thread's.
pub(super) struct Drain {
    batches: UnboundedReceiver<Batch>,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    /// Turns by the last look at them, and when they were others.
    beat: (u64, Instant),
}

/// What both threads see.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Turns of the thread.
    turns: AtomicU64,
    /// Weight of what is queued.
    queued: AtomicUsize,
    taken: AtomicU64,
    pieces: AtomicU64,
    undecodable: AtomicU64,
    last_error: Mutex<Option<DecodeError>>,
    /// Events that found the queue full, by their kind, since they were last reported.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    latency: Latency,
}

/// How long the first record of a drain had been in the ring.
#[derive(Default)]
struct Latency {
    drains: AtomicU64,
    late: AtomicU64,
    max_ns: AtomicU64,
}

/// The account of the thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DrainAccount {
    /// Records that were taken.
    pub taken: u64,
    /// Of these, pieces that are no event of their own.
    pub pieces: u64,
    pub drains: Drains,
}

impl Drain {
    /// Begins to drain.
    pub(super) fn start(ring: Ring) -> std::io::Result<Self> {
        let (sender, batches) = unbounded_channel();
        let shared = Arc::new(Shared::default());
        let waker = ring.waker();
        let reader = Reader { ring, decoder: Decoder::default(), shared: Arc::clone(&shared), sender };
        let thread = std::thread::Builder::new().name("ring".into()).spawn(move || reader.run())?;
        Ok(Self { batches, shared, waker, thread: Some(thread), beat: (0, Instant::now()) })
    }

    /// The next batch; None once the thread has ended and everything was taken.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        let batch = self.batches.recv().await?;
        self.shared.queued.fetch_sub(batch.weight, Ordering::Relaxed);
        Some(batch)
    }

    /// The next batch, if one is there.
    pub(super) fn queued(&mut self) -> Option<Batch> {
        let batch = self.batches.try_recv().ok()?;
        self.shared.queued.fetch_sub(batch.weight, Ordering::Relaxed);
        Some(batch)
    }

    /// Has the thread looked into the ring lately?
    pub(super) fn is_alive(&mut self) -> bool {
        let turns = self.shared.turns.load(Ordering::Relaxed);
        if turns != self.beat.0 {
            self.beat = (turns, Instant::now());
        }
        self.beat.1.elapsed() < SLEEP + NAP * 100
    }

    /// Takes what is in the ring now as the last, and ends.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn join(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread shows as events that are missing in the account.
            let _ = thread.join();
        }
    }

    pub(super) fn account(&self) -> DrainAccount {
        let Shared { taken, pieces, latency, .. } = &*self.shared;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let drains =
            Drains { drains: get(&latency.drains), late: get(&latency.late), latency_max_ns: get(&latency.max_ns) };
        DrainAccount { taken: get(taken), pieces: get(pieces), drains }
    }

    /// Events that found the queue full since the last call.
    pub(super) fn take_refused(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut lock(&self.shared.refused))
    }

    /// Records that could not be decoded since the last call, and why the last of them.
    pub(super) fn take_undecodable(&self) -> Option<(u64, DecodeError)> {
        let error = lock(&self.shared.last_error).take()?;
        Some((self.shared.undecodable.swap(0, Ordering::Relaxed), error))
    }
}

struct Reader {
    ring: Ring,
    decoder: Decoder,
    shared: Arc<Shared>,
    sender: UnboundedSender<Batch>,
}

impl Reader {
    fn run(mut self) {
        // Where it may not, it has what the process has, and that was said.
        let _ = privileges::take_precedence_for_ring();
        loop {
            self.shared.turns.fetch_add(1, Ordering::Relaxed);
            // Before the drain: what was in the ring when the stop came is taken, and what programs that were running
            // then still send.
            let last = self.shared.stop.load(Ordering::Acquire);
            if last {
                std::thread::sleep(NAP);
            }
            let (events, drained) = self.drain();
            let any = !events.is_empty();
            if !self.hand_over(events) {
                return;
            }
            let waited = match (drained, last) {
                (Drained::More, _) => Ok(()),
                (Drained::Empty, true) => return,
                (Drained::Empty, false) if any => self.ring.pause(NAP),
                (Drained::Empty, false) => self.ring.wait(Some(SLEEP)),
            };
            if let Err(error) = waited {
                tracing::error!(%error, "cannot wait for the ring buffer: it is looked into every 10 ms");
                std::thread::sleep(NAP);
            }
        }
    }

    fn drain(&mut self) -> (Vec<Event>, Drained) {
        let Self { ring, decoder, shared, .. } = self;
        let mut events = Vec::new();
        let (mut taken, mut pieces) = (0, 0);
        let drained = ring.drain(DRAIN_MAX, |record| {
            if taken == 0 {
                shared.latency.observe(record);
            }
            taken += 1;
            let before = events.len();
            match decoder.decode(record, &mut events) {
                Ok(()) => pieces += u64::from(events.len() == before),
                Err(error) => {
                    shared.undecodable.fetch_add(1, Ordering::Relaxed);
                    *lock(&shared.last_error) = Some(error);
                }
            }
        });
        shared.taken.fetch_add(taken, Ordering::Relaxed);
        shared.pieces.fetch_add(pieces, Ordering::Relaxed);
        (events, drained)
    }

    /// False: the receiver is gone.
    fn hand_over(&self, events: Vec<Event>) -> bool {
        let weight: usize = events.iter().map(weight).sum();
        if weight == 0 {
            return !self.sender.is_closed();
        }
        let room = QUEUE_BYTES.saturating_sub(self.shared.queued.load(Ordering::Relaxed));
        let (events, weight) = if weight <= room { (events, weight) } else { self.refuse(events, room) };
        self.shared.queued.fetch_add(weight, Ordering::Relaxed);
        self.sender.send(Batch { events, weight }).is_ok()
    }

    /// Keeps what there is room for; counts the rest.
    fn refuse(&self, events: Vec<Event>, room: usize) -> (Vec<Event>, usize) {
        let mut refused = lock(&self.shared.refused);
        let (mut kept, mut weighs) = (Vec::new(), 0);
        for event in events {
            let more = weight(&event);
            if weighs + more <= room {
                weighs += more;
                kept.push(event);
            } else {
                *refused.entry(kind(&event)).or_default() += 1;
            }
        }
        (kept, weighs)
    }
}

impl Latency {
    fn observe(&self, record: &[u8]) {
        let time = record.get(Head::TIME_OFFSET..).and_then(|bytes| bytes.first_chunk()).copied();
        let Some(time) = time.map(u64::from_ne_bytes) else { return };
        let waited = identity::boot_time().saturating_sub(time);
        self.drains.fetch_add(1, Ordering::Relaxed);
        self.late.fetch_add(u64::from(waited > LATE_NS), Ordering::Relaxed);
        self.max_ns.fetch_max(waited, Ordering::Relaxed);
    }
}

fn weight(event: &Event) -> usize {
    let args = match &event.what {
        EventKind::Exec(exec) => exec.args.list.iter().map(|arg| arg.len() + size_of::<serde_bytes::ByteBuf>()).sum(),
        _ => 0,
    };
    EVENT_BYTES + args
}

fn kind(event: &Event) -> &'static str {
    match &event.what {
        EventKind::Exec(_) => "exec",
        EventKind::Fork(_) => "fork",
        EventKind::Exit(_) => "exit",
        EventKind::Connect(_) => "connect",
        EventKind::Tcp(_) => "tcp-state",
        _ => "ssh",
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock; and if, a count is a count.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
