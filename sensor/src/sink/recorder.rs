//! The file of a recording: made new, private, and written by a thread of its own.
//!
//! In: frames of a recording; `flush` comes at the end of one. Out: a file that ends with a whole frame. A recording
//! with a hole would replay into something that never was, so it ends at the first loss (a disk that is full, or does
//! not keep up), and `failure` says so once.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::Instant,
};

use rustix::process::geteuid;

use crate::privileges;

/// Bytes that may wait to be written.
const ROOM: usize = 16 << 20;
/// Handed over at once.
const PIECE: usize = 256 << 10;

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    failed: AtomicBool,
    /// Why it ended, until somebody has asked.
    why: Mutex<Option<String>>,
}

impl Shared {
    fn fail(&self, why: String) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        }
    }
}

pub struct Recorder {
    buffer: Vec<u8>,
    shared: Arc<Shared>,
    /// The file until the thread is started, with the first bytes.
    file: Option<File>,
    sender: Option<Sender<Vec<u8>>>,
    done: Option<Receiver<()>>,
}

impl Recorder {
    /// Makes the file, 0600. One that is there is refused, whatever it is; with `replace`, not a private file of the
    /// user's own.
    pub fn create(path: &Path, replace: bool) -> io::Result<Self> {
        if replace {
            remove_own(path)?;
        }
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
            .open(path);
        let file = made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(
                error.kind(),
                "it exists: name a file that does not, or replace your own recording with --force",
            ),
            _ => error,
        })?;
        Ok(Self { buffer: Vec::new(), shared: Arc::default(), file: Some(file), sender: None, done: None })
    }

    /// Why the recording ended early; said once.
    pub fn failure(&self) -> Option<String> {
        if !self.shared.failed.load(Ordering::Relaxed) {
            return None;
        }
        self.shared.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until it is written, or the time is over. An error: it is not whole.
    pub fn end(&mut self, until: Instant) -> io::Result<()> {
        self.hand_over();
        self.sender = None;
        if let Some(done) = self.done.take()
            && done.recv_timeout(until.saturating_duration_since(Instant::now())).is_err()
        {
            self.shared.fail("not written in time".into());
        }
        match self.shared.failed.load(Ordering::Relaxed) {
            true => Err(io::Error::other("it ends early")),
            false => Ok(()),
        }
    }

    fn hand_over(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.buffer);
        if self.shared.failed.load(Ordering::Relaxed) {
            return;
        }
        let waiting = self.shared.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        if waiting + bytes.len() > ROOM {
            return self.shared.fail("the disk does not keep up".into());
        }
        if let Some(file) = self.file.take() {
            self.start(file);
        }
        if self.sender.as_ref().is_none_or(|sender| sender.send(bytes).is_err()) {
            self.shared.fail("the thread that writes it is gone".into());
        }
    }

    /// As the thread of `queue`: when the capabilities are given up that it must not inherit.
    fn start(&mut self, file: File) {
        let (sender, chunks) = mpsc::channel();
        let (end, done) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || {
            let _ = privileges::drop_all();
            write(file, &chunks, &shared);
            let _ = end.send(());
        });
        match thread {
            Ok(_) => (self.sender, self.done) = (Some(sender), Some(done)),
            Err(error) => self.shared.fail(format!("cannot start the thread that writes it: {error}")),
        }
    }
}

impl Write for Recorder {
    /// Collects; never fails: `failure` and `end` tell.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// A frame is whole.
    fn flush(&mut self) -> io::Result<()> {
        self.hand_over();
        Ok(())
    }
}

impl Recorder {
    /// Is there enough to hand over?
    pub fn is_large(&self) -> bool {
        self.buffer.len() >= PIECE
    }
}

fn write(mut file: File, chunks: &Receiver<Vec<u8>>, shared: &Shared) {
    let mut whole = 0;
    for chunk in chunks {
        if let Err(error) = file.write_all(&chunk) {
            // Back to the last whole frame, as far as the disk lets it.
            let _ = file.set_len(whole);
            return shared.fail(error.to_string());
        }
        whole += chunk.len() as u64;
        shared.waiting.fetch_sub(chunk.len(), Ordering::Relaxed);
    }
}

/// Removes a recording to make another, if it is one: a regular file, this user's, which no other user can read, under
/// this name only.
fn remove_own(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let own = metadata.is_file()
        && metadata.uid() == geteuid().as_raw()
        && metadata.mode() & 0o777 == 0o600
        && metadata.nlink() == 1;
    if !own {
        return Err(io::Error::other(
            "--force replaces only a regular file of your own with mode 0600: remove it yourself, or name another",
        ));
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_recording_is_new_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let mut recorder = Recorder::create(&path, false).unwrap();
        for _ in 0..3 {
            recorder.write_all(b"frame").unwrap();
            recorder.flush().unwrap();
        }
        recorder.end(soon()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"frameframeframe");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_there_is_refused_and_only_an_own_private_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let create = |replace| Recorder::create(&path, replace).map(drop).map_err(|error| error.to_string());
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(create(false).unwrap_err().contains("--force"));
        assert!(create(true).unwrap_err().contains("0600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(create(true), Ok(()));
        assert_eq!(fs::read(&path).unwrap(), b"");
        fs::remove_file(&path).unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(create(false).is_err() && create(true).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"precious");
    }
}
