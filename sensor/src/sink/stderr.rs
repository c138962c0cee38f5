//! Standard error, for all that the sensor says of itself.
//!
//! In: text. A thread writes it, so a reader that stopped holds up nothing, and no error of writing (a full disk, a
//! reader that is gone) ends the process, as `eprintln!` would. What finds no room in the queue is counted, and the
//! count is written when there is room. The descriptor is left as it is: O_NONBLOCK would be everybody's who has
//! inherited it.

use std::{
    io::{self, Write},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel},
    },
    time::{Duration, Instant},
};

use crate::{event::text::printable, privileges};

/// Messages that may wait; one is a line.
const WAITING_MAX: usize = 256;
/// A longer one is cut.
const MESSAGE_MAX: usize = 16 << 10;

enum Message {
    Text(Vec<u8>),
    /// All before it is written.
    Flush(Sender<()>),
}

static QUEUE: OnceLock<Option<SyncSender<Message>>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Says one line. What others can have chosen of it (paths, arguments) gives no command to a terminal.
pub fn say(text: &str) {
    let lines: Vec<String> = text.lines().map(|line| printable(line.as_bytes())).collect();
    send(format!("sensor: {}\n", lines.join("\n")).into_bytes());
}

/// What `tracing` writes to.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send(bytes.get(..MESSAGE_MAX).unwrap_or(bytes).to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until what was said is written, or the time is over.
pub fn flush(limit: Duration) {
    let Some(Some(queue)) = QUEUE.get() else { return };
    let until = Instant::now() + limit;
    let (sender, written) = channel();
    let mut message = Message::Flush(sender);
    while let Err(TrySendError::Full(back)) = queue.try_send(message) {
        if Instant::now() >= until {
            return;
        }
        message = back;
        std::thread::sleep(Duration::from_millis(5));
    }
    let _: Result<(), RecvTimeoutError> = written.recv_timeout(until.saturating_duration_since(Instant::now()));
}

fn send(bytes: Vec<u8>) {
    let Some(queue) = QUEUE.get_or_init(start) else { return };
    if queue.try_send(Message::Text(bytes)).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn start() -> Option<SyncSender<Message>> {
    let (sender, messages) = sync_channel(WAITING_MAX);
    let thread = std::thread::Builder::new().name("stderr".into());
    thread.spawn(move || write(&messages, &mut io::stderr())).ok()?;
    Some(sender)
}

fn write(messages: &Receiver<Message>, out: &mut impl Write) {
    let _ = privileges::drop_all();
    for message in messages {
        match message {
            // There is no place to say that this failed.
            Message::Text(bytes) => drop(out.write_all(&bytes)),
            Message::Flush(done) => drop(done.send(())),
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ = writeln!(out, "sensor: {dropped} messages were dropped: standard error was not read");
        }
    }
}
