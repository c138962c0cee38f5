//! One configuration file to its hash.
//!
//! What enters: a root (`beneath`: regular files only) and a path in it. What leaves: its SHA-256, or why there is
//! none; no more than `BYTES_MAX` is read. Its size, times and inode before and after tell whether it was written to
//! meanwhile; then it is read again.

use std::{fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use sha2::{Digest as _, Sha256};

use crate::{
    event::config_file::{Contents, Unread},
    host::beneath::Beneath,
};

/// Configuration is some KiB; what is larger than this is none, and would keep us busy.
pub(super) const BYTES_MAX: u64 = 4 << 20;
/// A file that changes each time is said to be racing.
const ATTEMPTS: usize = 3;
const BUFFER: usize = 64 << 10;

/// Hashes files, through one buffer that is overwritten after each.
pub(super) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; BUFFER] }
    }

    pub(super) fn contents(&mut self, root: &Beneath, path: &Path) -> Contents {
        for _ in 0..ATTEMPTS {
            let read = self.attempt(root, path);
            self.buffer.fill(0);
            match read {
                Ok(Some(hash)) => return Contents::Hash(hash),
                Ok(None) => {}
                Err(unread) => return unread,
            }
        }
        Contents::Unread(Unread::Racing)
    }

    /// None: it was written to meanwhile.
    fn attempt(&mut self, root: &Beneath, path: &Path) -> Result<Option<[u8; 32]>, Contents> {
        let mut file: File = root.open(path).map_err(|error| failed(&error))?;
        let before = file.metadata().map_err(unread)?;
        if before.len() > BYTES_MAX {
            return Err(Contents::Unread(Unread::TooLarge { bytes: before.len() }));
        }
        let mut hash = Sha256::new();
        let mut total = 0;
        loop {
            let n = match file.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unread(error)),
            };
            total += n as u64;
            if total > BYTES_MAX {
                return Err(Contents::Unread(Unread::TooLarge { bytes: total }));
            }
            hash.update(self.buffer.get(..n).unwrap_or_default());
        }
        let after = file.metadata().map_err(unread)?;
        let stamp = |m: &std::fs::Metadata| (m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        let same = stamp(&before) == stamp(&after) && total == after.len();
        Ok(same.then(|| hash.finalize().into()))
    }
}

fn failed(error: &std::io::Error) -> Contents {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Contents::Missing,
        Some(libc::ELOOP | libc::EXDEV | libc::ENXIO) => Contents::Unread(Unread::NoFile),
        None if error.kind() == std::io::ErrorKind::InvalidInput => Contents::Unread(Unread::NoFile),
        errno => Contents::Unread(Unread::Error { errno: errno.unwrap_or_default() }),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors, which come by value")]
fn unread(error: std::io::Error) -> Contents {
    Contents::Unread(Unread::Error { errno: error.raw_os_error().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, thread, time::Duration};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::host::beneath::Budget;

    fn hashed(bytes: &[u8]) -> Contents {
        Contents::Hash(Sha256::digest(bytes).into())
    }

    fn look(root: &Path, path: &str) -> Contents {
        Reader::new().contents(&Beneath::at(root, Budget::QUESTION).unwrap(), path.as_ref())
    }

    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) {
            fs::write(self.0.path().join(name), text).unwrap();
        }

        fn look(&self, path: &str) -> Contents {
            look(self.0.path(), path)
        }
    }

    #[test]
    fn a_file_is_its_sha256() {
        let root = Root::new();
        root.write("a", "abc");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(root.look("a"), Contents::Hash(hex::decode(abc).unwrap().try_into().unwrap()));
        assert_eq!(root.look("/a"), root.look("a"), "a root's paths begin in it");
        root.write("large", vec![b'x'; 3 << 20]);
        assert!(matches!(root.look("large"), Contents::Hash(_)));
        assert_eq!(root.look("b"), Contents::Missing);
        assert_eq!(root.look("a/b"), Contents::Missing);
    }

    #[test]
    fn what_is_no_plain_file_neither_hangs_nor_acts() {
        let root = Root::new();
        let fifo = root.0.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs::create_dir(root.0.path().join("folder")).unwrap();
        symlink("loop", root.0.path().join("loop")).unwrap();
        symlink("/proc/self/fd/0", root.0.path().join("magic")).unwrap();
        for path in ["fifo", "folder", "loop"] {
            assert_eq!(root.look(path), Contents::Unread(Unread::NoFile), "{path}");
        }
        // In this root there is no /proc.
        assert_eq!(root.look("magic"), Contents::Missing);
        let dev = look("/dev".as_ref(), "zero");
        assert_eq!(dev, Contents::Unread(Unread::NoFile));
        let proc = look("/".as_ref(), "proc/self/root/etc/passwd");
        assert_eq!(proc, Contents::Unread(Unread::NoFile), "a magic link is not followed");
    }

    #[test]
    fn a_link_stays_in_its_root() {
        let root = Root::new();
        root.write("passwd", "inside");
        symlink("/passwd", root.0.path().join("link")).unwrap();
        symlink("../../../../../../passwd", root.0.path().join("up")).unwrap();
        for path in ["link", "up", "../../passwd"] {
            assert_eq!(root.look(path), root.look("passwd"), "{path}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let root = Root::new();
        let file = File::create(root.0.path().join("sparse")).unwrap();
        file.set_len(1 << 40).unwrap();
        assert_eq!(root.look("sparse"), Contents::Unread(Unread::TooLarge { bytes: 1 << 40 }));
        file.set_len(BYTES_MAX).unwrap();
        assert!(matches!(root.look("sparse"), Contents::Hash(_)));
    }

    #[test]
    fn a_file_that_is_written_to_all_the_time_is_never_half_read() {
        let root = Root::new();
        let path = root.0.path().join("racing");
        let (a, b) = (vec![b'a'; 1 << 20], vec![b'b'; 1 << 20]);
        fs::write(&path, &a).unwrap();
        let hashes = [&a, &b].map(|bytes| hashed(bytes));
        let stop = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Replaced as editors do, and written in place.
                    let other = path.with_extension("new");
                    fs::write(&other, &b).unwrap();
                    fs::rename(&other, &path).unwrap();
                    thread::sleep(Duration::from_millis(1));
                    fs::write(&path, &a).unwrap();
                }
            });
            for _ in 0..200 {
                let found = root.look("racing");
                // Truncated to nothing is what it holds for a moment.
                let empty = hashed(b"");
                let partly = Contents::Unread(Unread::Racing);
                assert!(hashes.contains(&found) || found == partly || found == empty, "{found:?}");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
