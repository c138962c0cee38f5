//! What the probes say (feature `ebpf-log`, `sensor-ebpf/src/log.rs`), as events of `tracing`.
//!
//! What enters: the ring of aya-log. What leaves: events of the target `sensor::ebpf`, all of level debug. A thread of
//! its own waits for them, since no other may wait, and ends with the `Kernel`. Where the filter has no use for such
//! events, the probes are told so when they are loaded (`level`) and send none. It fails only at the start.

use std::{
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Error;
use crate::privileges;

const TARGET: &str = "sensor::ebpf";
/// The thread looks this often whether it is to end.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The level that the probes are loaded with (`aya_log::LEVEL`): messages above it are not sent.
pub(super) fn level() -> u8 {
    let is_wanted = tracing::enabled!(target: TARGET, tracing::Level::DEBUG);
    if is_wanted { aya_log::Level::Debug as u8 } else { 0 }
}

/// The thread that reads the messages.
pub(super) struct Log {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    pub(super) fn start(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let failed = |why: String| Error::MapUse { map: "AYA_LOGS", why };
        let mut logger = EbpfLogger::init_with_logger(ebpf, Events).map_err(|error| failed(error.to_string()))?;
        let ends = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ends);
        let read = move || {
            // What it reads is mapped.
            let _ = privileges::drop_all();
            loop {
                // Before the last look, so that it misses nothing that was sent before the end.
                let is_last = end.load(Ordering::Acquire);
                logger.flush();
                if is_last {
                    return;
                }
                // A signal, or an error, ends the wait early.
                let _ = poll(&mut [PollFd::from_borrowed_fd(logger.as_fd(), PollFlags::IN)], Some(&PATIENCE));
            }
        };
        let thread = thread::Builder::new().name("ebpf-log".into()).spawn(read);
        let thread = thread.map_err(|error| failed(format!("no thread to read it: {error}")))?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // If it panicked, its message is on standard error.
            let _ = thread.join();
        }
    }
}

/// Messages to events.
struct Events;

impl log::Log for Events {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        // Names in a message are padded. Where it is from would be one place for all.
        tracing::debug!(target: TARGET, "{}", record.args().to_string().trim_end());
    }

    fn flush(&self) {}
}
