//! The ring buffer's reading end, for a thread of its own.
//!
//! What enters: the kernel's records. What leaves: the same as bytes, not copied. A drain is bounded, so a flood cannot
//! keep the thread from anything else.
//!
//! Waking for each record costs more than the record does, so the reader is woken only where it sleeps (`wait`), where
//! a quarter of the ring is full, or where a record cannot wait. While records come, it naps between two drains
//! (`pause`); when a drain brings nothing, it sleeps.
//!
//! No record is slept over: `wait` stores `sleeping`, passes a full barrier, and then poll(2) registers with the ring
//! and looks whether its producer is ahead of its consumer (a record that is reserved and not committed yet counts); a
//! program stores the producer's position, passes a barrier, and then looks at `sleeping`
//! (`sensor-ebpf/src/control.rs`, also for what is proven on which machine). One of the two sees the other. The timeout
//! bounds what a mistake in this would cost.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use aya::maps::{Map, MapData, RingBuf};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
};

use super::{Control, Error};

/// A record that is being written is there in microseconds, unless its writer was preempted: then the reader leaves it
/// the processor.
const WRITTEN: Duration = Duration::from_millis(1);

pub struct Ring {
    ring: RingBuf<MapData>,
    control: Control,
    waker: Waker,
    /// The ring was not empty, and no record was taken from it since.
    filled: bool,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    Empty,
    /// The bound was reached; there is more.
    More,
}

/// Ends the reader's sleep from another thread. A wake that finds it awake ends its next sleep.
#[derive(Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    pub fn wake(&self) {
        // It fails only if the counter is full: then a wake is pending.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        // It fails only if there was no wake.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl Ring {
    pub(super) fn new(map: Map, control: Control) -> Result<Self, Error> {
        let ring = RingBuf::try_from(map).map_err(|error| Error::MapUse { map: "EVENTS", why: error.to_string() })?;
        Ok(Self { ring, control, waker: Waker::new()?, filled: false })
    }

    /// Hands at most `limit` records to `take`.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> Drained {
        for _ in 0..limit {
            match self.ring.next() {
                Some(record) => take(&record),
                None => return Drained::Empty,
            }
            self.filled = false;
        }
        Drained::More
    }

    /// Sleeps until there is a record, a wake, or the time is over (none: for ever). Returns at once if there is a
    /// record already.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.control.sleeps();
        let polled = self.poll(timeout);
        self.control.wakes();
        polled
    }

    /// Naps for this time, and lets the ring fill: only a record that cannot wait, a ring that is a quarter full, or a
    /// wake ends it early.
    pub fn pause(&mut self, time: Duration) -> io::Result<()> {
        self.poll(Some(time))
    }

    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let waker = PollFd::from_borrowed_fd(self.waker.0.as_fd(), PollFlags::IN);
        let (filled, woken) = if self.filled {
            // What is there was there for the last drain too.
            let mut files = [waker];
            patient(&mut files, Some(WRITTEN))?;
            let [waker] = files.map(|file| !file.revents().is_empty());
            (false, waker)
        } else {
            let mut files = [PollFd::new(&self.ring, PollFlags::IN), waker];
            patient(&mut files, timeout)?;
            let [ring, waker] = files.map(|file| !file.revents().is_empty());
            (ring, waker)
        };
        if woken {
            self.waker.clear();
        }
        self.filled = filled;
        Ok(())
    }
}

/// poll(2). A signal ends the wait, as a timeout does.
fn patient(files: &mut [PollFd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    match poll(files, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
