//! Layer 4: where rendered records go, and what the sensor says of itself.
//!
//! What enters: chunks of whole lines (`Chunk`), with their sequence numbers. A daemon's lines go through a queue to a
//! thread of its own (`queue`), so neither a full disk nor a reader that stopped holds up the main thread; a replay
//! writes them itself and waits. What is not written is kept in an account (`ledger`) until a record that reports it
//! is. `output` knows files and pipes, `recorder` writes recordings, `stderr` is standard error for all of the sensor.

mod ledger;
mod output;
mod queue;
mod recorder;
pub mod stderr;

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

pub use ledger::Loss;
use output::Output;
use queue::Queue;
pub use queue::{Chunk, wall};
pub use recorder::Recorder;

use crate::host::private;

/// An output that is opened anew has this long: a disk that hangs must not hold up the main thread.
const REOPEN_PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open {path} for writing: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Private(#[from] private::Error),
    #[error("cannot open {path} for writing: no answer in {} ms", REOPEN_PATIENCE.as_millis())]
    Slow { path: PathBuf },
}

/// Where lines go.
pub struct Sink {
    queue: Arc<Queue>,
    mode: Mode,
}

enum Mode {
    /// By the main thread, which waits.
    Direct(Box<Output>),
    /// By a thread, which is started with the first chunk: by then the sensor has given up the capabilities that the
    /// thread must not inherit.
    Waiting(Box<Output>),
    Running,
    /// No thread could be started: nothing is written.
    Broken,
}

impl Sink {
    /// `-` is standard output. `room`: bytes that may wait to be written.
    pub fn open(path: &Path, room: usize) -> Result<Self, OpenError> {
        let output = open(path)?;
        let queue = Arc::new(Queue::new(room, output.size()));
        Ok(Self { queue, mode: Mode::Waiting(Box::new(output)) })
    }

    /// Standard output, written to by the caller: nothing is lost to a reader that is slow.
    pub fn direct() -> Result<Self, OpenError> {
        let output = open("-".as_ref())?;
        Ok(Self { queue: Arc::new(Queue::new(usize::MAX, None)), mode: Mode::Direct(Box::new(output)) })
    }

    /// Opens the output anew: it was rotated away, or is another one now. On an error the old one stays.
    pub fn reopen(&mut self, path: &Path) -> Result<(), OpenError> {
        let (sender, opened) = mpsc::channel();
        let own = path.to_owned();
        std::thread::Builder::new()
            .name("reopen".into())
            .spawn(move || sender.send(open(&own)))
            .map_err(|source| OpenError::Open { path: path.into(), source })?;
        let output =
            opened.recv_timeout(REOPEN_PATIENCE).map_err(|_| OpenError::Slow { path: path.into() }).flatten()?;
        match &mut self.mode {
            Mode::Direct(current) | Mode::Waiting(current) => **current = output,
            Mode::Running => self.queue.redirect(output),
            Mode::Broken => {}
        }
        Ok(())
    }

    /// Takes lines. Those that find no room are counted.
    pub fn emit(&mut self, chunk: Chunk) {
        if chunk.lines == 0 && chunk.bytes.is_empty() {
            return;
        }
        if let Mode::Direct(output) = &mut self.mode {
            return self.queue.write(output, chunk, wall());
        }
        if let Mode::Waiting(output) = std::mem::replace(&mut self.mode, Mode::Running)
            && let Err(error) = self.queue.start(*output)
        {
            tracing::error!(%error, "cannot start the thread that writes records: none is written");
            self.queue.end(Instant::now(), wall());
            self.mode = Mode::Broken;
        }
        self.queue.push(chunk, wall());
    }

    /// Are lines written by a thread?
    pub fn is_queued(&self) -> bool {
        !matches!(self.mode, Mode::Direct(_))
    }

    /// A loss that no record reports yet, if a record of it has a chance. It is the caller's to report:
    /// `Chunk::report`.
    pub fn reportable(&self) -> Option<Loss> {
        self.queue.reportable()
    }

    /// All of them.
    pub fn take_losses(&self) -> Vec<Loss> {
        self.queue.take_losses()
    }

    /// Lost in the whole run, by reason.
    pub fn totals(&self) -> Vec<(String, u64)> {
        self.queue.totals()
    }

    /// Waits until all is written, or the time is over.
    pub fn settle(&self, until: Instant) {
        self.queue.settle(until);
    }

    /// The end. Returns what was lost and is in no record.
    pub fn end(&mut self, until: Instant) -> Vec<Loss> {
        self.queue.end(until, wall())
    }

    /// Is the reader gone?
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Lines that are there.
    pub fn written(&self) -> u64 {
        self.queue.written()
    }

    /// Bytes of the file, with what waits for it; none for what is no file.
    pub fn size(&self) -> Option<u64> {
        self.queue.size()
    }
}

fn open(path: &Path) -> Result<Output, OpenError> {
    let failed = |source| OpenError::Open { path: path.into(), source };
    if path.as_os_str() == "-" {
        return Output::stdout().map_err(failed);
    }
    let mut file = private::append(path)?;
    end_last_line(&mut file).map_err(failed)?;
    Ok(Output::new(file))
}

/// Another writer, or a crash of the machine, may have left a line without its end.
fn end_last_line(file: &mut File) -> io::Result<()> {
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            // On a full disk the next line has the half one before it: a reader skips both.
            if let Err(error) = file.write_all(b"\n") {
                tracing::warn!(%error, "the last line of the log has no end");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const ROOM: usize = 1 << 20;

    fn chunk(text: &str, first: u64) -> Chunk {
        Chunk { bytes: text.as_bytes().to_vec().into(), lines: text.lines().count() as u64, first, report: None }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_file_is_private_appended_to_and_reopened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "half a li").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut sink = Sink::open(&path, ROOM).unwrap();
        sink.emit(chunk("one\n", 1));
        let rotated = path.with_extension("1");
        fs::rename(&path, &rotated).unwrap();
        sink.emit(chunk("two\n", 2));
        sink.reopen(&path).unwrap();
        sink.emit(chunk("three\n", 3));
        assert_eq!(sink.end(soon()), []);
        assert_eq!(sink.written(), 3);
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "half a li\none\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// A pipe whose reader stopped: neither `emit` nor the end waits for it, and the account is exact.
    #[test]
    fn a_stopped_reader_costs_lines_and_no_time() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::new(File::from(std::os::fd::OwnedFd::from(writer)));
        let queue = Arc::new(Queue::new(ROOM, None));
        let mut sink = Sink { queue, mode: Mode::Waiting(Box::new(output)) };
        let line = "x".repeat(999) + "\n";
        let began = Instant::now();
        for n in 0..300 {
            sink.emit(chunk(&line.repeat(10), 1 + n * 10));
        }
        let lost = sink.end(Instant::now() + Duration::from_millis(300));
        assert!(began.elapsed() < Duration::from_secs(5));
        let kinds: Vec<&str> = lost.iter().map(|loss| loss.kind.as_str()).collect();
        assert_eq!(kinds, ["queue full", "not written in time"]);
        let count: u64 = lost.iter().map(|loss| loss.count).sum();
        drop(sink);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        let there = memchr::memchr_iter(b'\n', &got).count() as u64;
        assert_eq!((there + count, there > 50), (3000, true), "{lost:?}");
        // The lowest numbers are there, and what is missing is named.
        let missing: u64 = lost.iter().flat_map(|loss| &loss.ranges).map(|(first, last)| last - first + 1).sum();
        assert_eq!(missing, count);
    }

    #[test]
    fn a_report_that_is_lost_is_reported_again() {
        let output = Output::new(File::options().write(true).open("/dev/full").unwrap());
        let queue = Arc::new(Queue::new(ROOM, None));
        let mut sink = Sink { queue, mode: Mode::Waiting(Box::new(output)) };
        sink.emit(chunk("one\ntwo\n", 1));
        sink.settle(soon());
        let loss = sink.take_losses().remove(0);
        assert_eq!((loss.kind.as_str(), loss.count), ("ENOSPC", 2));
        sink.emit(Chunk { report: Some(loss), ..chunk("lost: 2\n", 3) });
        let lost = sink.end(soon());
        assert_eq!((lost.len(), lost[0].count, lost[0].ranges.as_slice()), (1, 3, [(1, 3)].as_slice()));
        assert_eq!(sink.totals(), [("ENOSPC".into(), 3)]);
    }
}
