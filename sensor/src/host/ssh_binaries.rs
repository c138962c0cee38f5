//! The programs and libraries that speak SSH, as far as they are known: which files were examined, which are probed,
//! which folders are watched for their successors.
//!
//! What enters: files as the kernel names them at an exec, files as they were found, and what `examine` says of them.
//! What leaves: whether a file has to be examined, programs to probe, changes in the folders of what is known. A
//! program is known by what it imports and holds, not by its name. No file is opened here, and none is looked at that a
//! user can put somewhere.
//!
//! Containers of one image have the same files, each container under a number of its own: such a file is probed once
//! (`holders`).
//!
//! While a file is probed the kernel holds its inode, so the number cannot come to mean another file; one that is
//! written to in place is released at once.

use std::{
    collections::{HashMap, HashSet},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

pub use super::examine::Program;
use super::{
    examine::Examined,
    holders::Probed,
    snapshot::{Stamp, file_id},
};
use crate::event::stream::FileId;

/// Where distributions put OpenSSH's parts. sshd-session and sshd-auth must be known before the first connection: sshd
/// executes them for it.
pub const PLACES: &[&str] = &[
    "/usr/sbin/sshd",
    "/usr/bin/ssh",
    "/usr/lib/openssh/sshd-session",
    "/usr/lib/openssh/sshd-auth",
    "/usr/libexec/openssh/sshd-session",
    "/usr/libexec/openssh/sshd-auth",
    "/usr/libexec/sshd-session",
    "/usr/libexec/sshd-auth",
    "/usr/lib/ssh/sshd-session",
    "/usr/lib/ssh/sshd-auth",
    "/usr/bin/sshd",
    "/usr/local/sbin/sshd",
    "/usr/local/bin/ssh",
    "/usr/local/libexec/sshd-session",
    "/usr/local/libexec/sshd-auth",
];

/// Files remembered as silent; a host with more starts over.
const KEPT_MAX: usize = 16_384;
/// What changed in the folders of known programs.
#[derive(Default)]
pub struct Changes {
    /// New files in the places of files that speak SSH.
    pub replaced: Vec<PathBuf>,
    /// Probed files whose contents change.
    pub written: Vec<FileId>,
}

/// What a file was, when it was examined.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It is probed: the kernel holds it, and its number with it.
    Speaks,
    NotSsh(Option<Stamp>),
}

/// Paths of a file that are remembered.
const NAMES_MAX: usize = 8;

impl Probed {
    fn named(&mut self, name: &Path) {
        if self.names.len() < NAMES_MAX && !self.names.iter().any(|known| known == name) {
            self.names.push(name.into());
        }
    }
}

#[derive(Default)]
pub struct SshBinaries {
    /// Examined.
    seen: HashMap<FileId, Seen>,
    /// Those that speak SSH.
    probed: HashMap<FileId, Probed>,
    /// Paths of speakers in watched folders.
    paths: HashMap<PathBuf, FileId>,
    watches: HashMap<i32, PathBuf>,
    notify: Option<OwnedFd>,
}

impl SshBinaries {
    pub fn new() -> Self {
        let notify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .inspect_err(|error| tracing::warn!(%error, "upgrades of SSH programs are seen when they run, not before"))
            .ok();
        Self { notify, ..Self::default() }
    }

    /// Was this very file examined? One that is silent may be gone, and its number given to another one: a virtual
    /// environment that is replaced does that.
    pub fn is_seen(&self, file: FileId, stamp: Option<&Stamp>) -> bool {
        match self.seen.get(&file) {
            Some(Seen::Speaks) => true,
            Some(Seen::NotSsh(known)) => known.as_ref() == stamp,
            None => false,
        }
    }

    /// A file was examined, or is about to be: it is not to be examined again.
    pub fn seen(&mut self, file: FileId, stamp: Option<Stamp>) {
        if self.seen.len() >= KEPT_MAX {
            self.seen.retain(|_, seen| *seen == Seen::Speaks);
        }
        if self.seen.get(&file) != Some(&Seen::Speaks) {
            self.seen.insert(file, Seen::NotSsh(stamp));
        }
    }

    /// What was asked about this file was not answered: it may be asked again.
    pub fn unseen(&mut self, file: FileId) {
        if self.seen.get(&file) != Some(&Seen::Speaks) {
            self.seen.remove(&file);
        }
    }

    /// A file was examined. `watched`: it is the host's own, at its name.
    pub fn learn(&mut self, examined: Examined, open: Option<OwnedFd>, watched: bool) -> Option<Program> {
        let Examined { file, real, stamp, name, speaks, owner, .. } = examined;
        let (Some(speaks), Some(open)) = (speaks, open) else {
            self.seen(file, Some(stamp));
            return None;
        };
        if self.probed.contains_key(&file) {
            return None;
        }
        if let Some(twin) = self.probed.values_mut().find(|probed| probed.real.is_same(real)) {
            twin.named(&name);
            self.seen(file, Some(stamp));
            return None;
        }
        self.seen.insert(file, Seen::Speaks);
        if watched {
            self.watch(&name, file);
        }
        self.probed.insert(file, Probed { file, real, names: vec![name.clone()] });
        let (is_library, name) = (speaks.is_library, name.display().to_string());
        Some(Program { file, name, sites: speaks.sites, is_library, open, owner, reserved: watched && owner == 0 })
    }

    /// What happened in watched folders since the last call.
    pub fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let mut touched: HashSet<PathBuf> = HashSet::new();
        let Some(notify) = &self.notify else { return changes };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(notify, &mut buffer);
        while let Ok(event) = reader.next() {
            let (Some(folder), Some(name)) = (self.watches.get(&event.wd()), event.file_name()) else { continue };
            let path = folder.join(std::ffi::OsStr::new(name.to_str().unwrap_or_default()));
            if !self.paths.contains_key(&path) {
                continue;
            }
            if event.events().contains(ReadFlags::MODIFY)
                && let Some(file) = file_id(&path)
            {
                changes.written.push(file);
                self.seen.remove(&file);
            } else {
                touched.insert(path);
            }
        }
        changes.replaced.extend(touched);
        changes
    }

    /// Readable when there may be changes.
    pub fn notify(&self) -> Option<BorrowedFd<'_>> {
        self.notify.as_ref().map(|notify| notify.as_fd())
    }

    /// Files that are probed and not where they were on the host itself: others may have them.
    pub fn doubtful(&self) -> Vec<Probed> {
        let current: HashSet<FileId> =
            self.paths.iter().filter(|(path, file)| file_id(path) == Some(**file)).map(|(_, file)| *file).collect();
        self.probed.values().filter(|probed| !current.contains(&probed.file)).cloned().collect()
    }

    /// True: it may come back under another number (overlayfs), as long as a container of the same image runs.
    pub fn forget(&mut self, file: FileId) -> bool {
        let forgotten = self.probed.remove(&file);
        self.seen.remove(&file);
        self.paths.retain(|_, known| *known != file);
        forgotten.is_some_and(|forgotten| forgotten.real.is_overlaid())
    }

    fn watch(&mut self, path: &Path, file: FileId) {
        self.paths.insert(path.into(), file);
        let (Some(notify), Some(folder)) = (&self.notify, path.parent()) else { return };
        let flags = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::MODIFY | WatchFlags::CREATE;
        match inotify::add_watch(notify, folder, flags) {
            Ok(watch) => drop(self.watches.insert(watch, folder.into())),
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "an upgrade there is seen when it runs, not before");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_number_that_is_given_to_another_file_is_no_old_acquaintance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut speakers = SshBinaries::new();
        for text in ["one", "another"] {
            // In place: the same number.
            fs::write(&path, text).unwrap();
            let (file, stamp) = (file_id(&path).unwrap(), Stamp::of(&path));
            assert!(!speakers.is_seen(file, stamp.as_ref()), "{text}");
            speakers.seen(file, stamp.clone());
            assert!(speakers.is_seen(file, stamp.as_ref()));
        }
    }
}
