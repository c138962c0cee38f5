//! Files that a user can influence: opened beneath a directory, regular files only, within a budget.
//!
//! What enters: a directory (the root of a probed process, as a descriptor) and paths in it. What leaves: metadata,
//! names, bytes. A path of a user is hostile input, like a packet: open(2) of a FIFO waits for its writer, of a
//! terminal makes it the controlling one, of a device acts on it. So a path is resolved beneath the directory
//! (openat2(2), RESOLVE_IN_ROOT: no link leads out, RESOLVE_NO_MAGICLINKS: none of /proc's either) to a mere place
//! (O_PATH, which opens nothing), the place is looked at, and only a regular file is opened, with O_NONBLOCK and
//! O_NOCTTY, through /proc/self/fd: the inode that was looked at, whatever has the name by then. What all questions of
//! one `Beneath` may cost is bounded: places, entries of directories, bytes.
//!
//! It fails with the kernel's error; `InvalidInput` for what is no regular file, `FileTooLarge` above a bound,
//! `QuotaExceeded` when the budget is spent. It does not bound time: a file system may take for ever to answer.

use std::{
    cell::Cell,
    ffi::OsString,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, openat2};

/// What may be spent below one directory.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Paths that are resolved.
    pub places: u32,
    /// Entries of directories that are read.
    pub entries: u32,
    /// Bytes of files that are read.
    pub bytes: u64,
}

impl Budget {
    /// Of one question about one process: an interpreter's libraries take some two hundred places (*measured*: Debian's
    /// python3 with a virtual environment 96, ruby 40).
    pub const QUESTION: Self = Self { places: 1024, entries: 16_384, bytes: 64 << 20 };
}

/// A directory, and what is in it.
pub struct Beneath {
    root: OwnedFd,
    left: Cell<Budget>,
}

/// A directory or file that was found and not opened (O_PATH).
pub struct Place(File);

impl Beneath {
    /// Beneath a directory by its path, which no user chooses: `/proc/PID/root`, `/`.
    pub fn at(path: &Path, budget: Budget) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::new(rustix::fs::open(path, flags, Mode::empty())?, budget))
    }

    pub fn new(root: OwnedFd, budget: Budget) -> Self {
        Self { root, left: Cell::new(budget) }
    }

    /// Where a path leads; a final link is followed.
    pub fn find(&self, path: &Path) -> io::Result<Place> {
        self.spend(|left| left.places.checked_sub(1).map(|places| Budget { places, ..left }))?;
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(Place(openat2(&self.root, path, flags, Mode::empty(), resolve)?.into()))
    }

    /// A regular file, open for reading.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.find(path)?.open()
    }

    /// All of a regular file; `FileTooLarge` if it has more than `max` bytes.
    pub fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        self.read_open(self.open(path)?, max)
    }

    /// The same of one that is open.
    pub fn read_open(&self, file: File, max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let allowed = max.min(self.left.get().bytes);
        file.take(allowed.saturating_add(1)).read_to_end(&mut bytes)?;
        let count = bytes.len() as u64;
        if count > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.spend(|left| left.bytes.checked_sub(count).map(|bytes| Budget { bytes, ..left }))?;
        Ok(bytes)
    }

    /// Names in a directory, in no order; `FileTooLarge` if there are more than `max`.
    pub fn names(&self, folder: &Path, max: usize) -> io::Result<Vec<OsString>> {
        let (names, all) = self.some_names(folder, max)?;
        if all { Ok(names) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }

    /// At most `max` names in a directory, and whether these are all.
    pub fn some_names(&self, folder: &Path, max: usize) -> io::Result<(Vec<OsString>, bool)> {
        let place = self.find(folder)?;
        if !place.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(place.reopen(OFlags::DIRECTORY)?)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            self.spend(|left| left.entries.checked_sub(1).map(|entries| Budget { entries, ..left }))?;
            if names.len() >= max {
                return Ok((names, false));
            }
            names.push(OsString::from_vec(name));
        }
        Ok((names, true))
    }

    fn spend(&self, less: impl FnOnce(Budget) -> Option<Budget>) -> io::Result<()> {
        self.left.set(less(self.left.get()).ok_or(io::ErrorKind::QuotaExceeded)?);
        Ok(())
    }
}

impl Place {
    /// By a path that no user chooses, though what it leads to may be a user's: `/proc/PID/exe`.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?.into()))
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// A path to this very inode.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// For reading, if it is a regular file.
    pub fn open(&self) -> io::Result<File> {
        if !self.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.reopen(OFlags::empty())?.into())
    }

    fn reopen(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(rustix::fs::open(self.path(), flags, Mode::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    fn beneath(root: &Path) -> Beneath {
        Beneath::at(root, Budget::QUESTION).unwrap()
    }

    fn kind(result: io::Result<impl Sized>) -> io::ErrorKind {
        result.map(drop).unwrap_err().kind()
    }

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_waits() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        fs::write(at("file"), "text").unwrap();
        symlink("fifo", at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let root = beneath(root.path());
        for name in ["fifo", "folder", "socket", "link", "/fifo", "."] {
            assert_eq!(kind(root.open(name.as_ref())), io::ErrorKind::InvalidInput, "{name}");
        }
        assert_eq!(root.open("loop".as_ref()).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(root.read("file".as_ref(), 4).unwrap(), b"text");
        assert_eq!(kind(root.read("file".as_ref(), 3)), io::ErrorKind::FileTooLarge);
        let host = beneath("/".as_ref());
        for device in ["/dev/tty", "/dev/zero", "/dev/null"] {
            assert_eq!(kind(host.open(device.as_ref())), io::ErrorKind::InvalidInput, "{device}");
        }
        for magic in ["/proc/self/root/etc/passwd", "/proc/self/exe", "/proc/self/cwd"] {
            assert_eq!(host.open(magic.as_ref()).unwrap_err().raw_os_error(), Some(libc::ELOOP), "{magic}");
        }
    }

    #[test]
    fn no_link_leads_out_of_the_directory() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "inside").unwrap();
        symlink("/etc/passwd", root.path().join("link")).unwrap();
        symlink("../../../../etc/passwd", root.path().join("etc/up")).unwrap();
        let root = beneath(root.path());
        for path in ["link", "etc/up", "/etc/passwd", "../../etc/passwd"] {
            assert_eq!(root.read(path.as_ref(), 100).unwrap(), b"inside", "{path}");
        }
    }

    #[test]
    fn a_budget_is_spent_once() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..20 {
            fs::write(folder.path().join(n.to_string()), "0123456789").unwrap();
        }
        let with = |budget| Beneath::at(folder.path(), budget).unwrap();
        let few = with(Budget { bytes: 15, ..Budget::QUESTION });
        assert!(few.read("1".as_ref(), 100).is_ok());
        assert_eq!(kind(few.read("2".as_ref(), 100)), io::ErrorKind::QuotaExceeded);
        let few = with(Budget { entries: 30, ..Budget::QUESTION });
        assert_eq!(few.names(".".as_ref(), 100).unwrap().len(), 20);
        assert_eq!(kind(few.names(".".as_ref(), 100)), io::ErrorKind::QuotaExceeded);
        let few = with(Budget { places: 1, ..Budget::QUESTION });
        assert!(few.find("1".as_ref()).is_ok());
        assert_eq!(kind(few.find("1".as_ref())), io::ErrorKind::QuotaExceeded);
        let all = with(Budget::QUESTION);
        assert_eq!(kind(all.names(".".as_ref(), 19)), io::ErrorKind::FileTooLarge);
        assert_eq!(all.some_names(".".as_ref(), 5).map(|(names, all)| (names.len(), all)).unwrap(), (5, false));
        assert_eq!(kind(all.names("1".as_ref(), 1)), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn the_inode_that_was_looked_at_is_the_one_that_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "first").unwrap();
        let root = beneath(folder.path());
        let place = root.find("file".as_ref()).unwrap();
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        assert_eq!(root.read_open(place.open().unwrap(), 100).unwrap(), b"first");
    }
}
