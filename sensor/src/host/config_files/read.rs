//! One configuration file to its hash.
//!
//! What enters: a folder as root, a path in it, and the key. What leaves: a hash, or why there is none. The file is hostile: its path is resolved
//! inside that root (openat2, RESOLVE_IN_ROOT); it is opened as a mere place first (O_PATH), so that a FIFO cannot hang us and a device not act, and for reading only if it is
//! a plain file; no more than `BYTES_MAX` is read. Its size, times and inode before and after tell whether it was written to meanwhile; then it is read again.

use std::{
    fs::File,
    io::Read as _,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};
use sha2::Sha256;

use crate::event::config_file::{Contents, Unread};

/// Configuration is some KiB; what is larger than this is none, and would keep us busy.
pub(super) const BYTES_MAX: u64 = 4 << 20;
/// A file that changes each time is said to be racing.
const ATTEMPTS: usize = 3;
const BUFFER: usize = 64 << 10;

/// Hashes files, through one buffer that is overwritten after each.
pub(super) struct Reader {
    buffer: Vec<u8>,
}

/// How a hash is made. The name of the entry is part of what is hashed, so that equal secrets in two places do not show as equal.
pub(super) struct Keyed<'a> {
    pub key: &'a [u8; 32],
    pub name: &'a str,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; BUFFER] }
    }

    pub(super) fn contents(&mut self, root: &File, path: &Path, keyed: &Keyed) -> Contents {
        for _ in 0..ATTEMPTS {
            let read = self.attempt(root, path, keyed);
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
    fn attempt(&mut self, root: &File, path: &Path, keyed: &Keyed) -> Result<Option<[u8; 32]>, Contents> {
        let mut file = open(root, path)?;
        let before = file.metadata().map_err(unread)?;
        if before.len() > BYTES_MAX {
            return Err(Contents::Unread(Unread::TooLarge { bytes: before.len() }));
        }
        let mut hash = hash(keyed)?;
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
        Ok(same.then(|| hash.finalize().into_bytes().into()))
    }
}

fn hash(keyed: &Keyed) -> Result<Hmac<Sha256>, Contents> {
    // A key of this length is never refused.
    let mut hash = Hmac::<Sha256>::new_from_slice(keyed.key.as_slice())
        .map_err(|_| Contents::Unread(Unread::Error { errno: Errno::INVAL.raw_os_error() }))?;
    hash.update(keyed.name.as_bytes());
    hash.update(&[0]);
    Ok(hash)
}

/// A plain file, open for reading.
fn open(root: &File, path: &Path) -> Result<File, Contents> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let place = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(failed)?;
    let place = File::from(place);
    if !place.metadata().map_err(unread)?.is_file() {
        return Err(Contents::Unread(Unread::NoFile));
    }
    // The very inode that was looked at, whatever has the name by now.
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(again, flags, Mode::empty()).map(File::from).map_err(failed)
}

fn failed(error: Errno) -> Contents {
    match error {
        Errno::NOENT | Errno::NOTDIR => Contents::Missing,
        Errno::LOOP | Errno::XDEV | Errno::NXIO => Contents::Unread(Unread::NoFile),
        error => Contents::Unread(Unread::Error { errno: error.raw_os_error() }),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors, which come by value")]
fn unread(error: std::io::Error) -> Contents {
    Contents::Unread(Unread::Error { errno: error.raw_os_error().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, thread, time::Duration};

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    const KEYED: Keyed = Keyed { key: &[7; 32], name: "x" };

    fn hashed(bytes: &[u8]) -> Contents {
        let mut hash = hash(&KEYED).unwrap();
        hash.update(bytes);
        Contents::Hash(hash.finalize().into_bytes().into())
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
            Reader::new().contents(&File::open(self.0.path()).unwrap(), path.as_ref(), &KEYED)
        }
    }

    #[test]
    fn a_file_is_its_keyed_hash_and_never_its_sha256() {
        let root = Root::new();
        root.write("a", "abc");
        assert_eq!(root.look("a"), hashed(b"abc"));
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_ne!(root.look("a"), Contents::Hash(hex::decode(abc).unwrap().try_into().unwrap()));
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
        let dev = Reader::new().contents(&File::open("/dev").unwrap(), "zero".as_ref(), &KEYED);
        assert_eq!(dev, Contents::Unread(Unread::NoFile));
        let proc = Reader::new().contents(&File::open("/").unwrap(), "proc/self/root/etc/passwd".as_ref(), &KEYED);
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

    #[test]
    fn a_keyed_hash_depends_on_key_name_and_contents() {
        let root = Root::new();
        root.write("a", "abc");
        root.write("b", "abd");
        let folder = File::open(root.0.path()).unwrap();
        let look = |key: u8, name: &str, path: &str| {
            Reader::new().contents(&folder, path.as_ref(), &Keyed { key: &[key; 32], name })
        };
        assert_eq!(look(1, "x", "a"), look(1, "x", "a"));
        let all = [look(1, "x", "a"), look(2, "x", "a"), look(1, "y", "a"), look(1, "x", "b"), root.look("a")];
        for (n, one) in all.iter().enumerate() {
            assert!(all.iter().skip(n + 1).all(|other| one != other));
        }
    }
}
