//! The programs that speak SSH and can be decrypted, OpenSSH's, wherever they are; and the libraries through which others do (`libraries` says where those may be).
//!
//! What enters: well-known places, the running processes, executed files, changes in the folders of what is known. What leaves: files with the offsets of their
//! cipher calls, or why there are none (`examine`). A program is known by what it imports and holds, not by its name.
//!
//! Containers of one image have the same files, each container under a number of its own: such a file is probed once (`holders`).
//!
//! While a file is probed the kernel holds its inode, so the number cannot come to mean another file; one that is written to in place is released at once.

use std::{
    collections::{HashMap, HashSet},
    fs,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

pub use super::examine::Program;
use super::{
    beneath::{Beneath, Budget, Place},
    examine::{Examine, examine, examine_library},
    holders::{self, Real},
    libraries::{self, Library},
    snapshot::{Stamp, file_id},
};
use crate::event::stream::{Exec, FileId};

/// Where distributions put OpenSSH's parts. sshd-session and sshd-auth must be known before the first connection: sshd executes them for it.
const PLACES: &[&str] = &[
    "usr/sbin/sshd",
    "usr/bin/ssh",
    "usr/lib/openssh/sshd-session",
    "usr/lib/openssh/sshd-auth",
    "usr/libexec/openssh/sshd-session",
    "usr/libexec/openssh/sshd-auth",
    "usr/libexec/sshd-session",
    "usr/libexec/sshd-auth",
    "usr/lib/ssh/sshd-session",
    "usr/lib/ssh/sshd-auth",
    "usr/bin/sshd",
    "usr/local/sbin/sshd",
    "usr/local/bin/ssh",
    "usr/local/libexec/sshd-session",
    "usr/local/libexec/sshd-auth",
];

/// Files remembered as silent; a host with more starts over.
const KEPT_MAX: usize = 16_384;
/// Programs that are told. Anybody can make more of them; OpenSSH has four, in each container's image.
const SPEAKERS_MAX: usize = 512;

/// What changed in the folders of known programs.
#[derive(Default)]
pub struct Changes {
    /// New files that speak SSH.
    pub programs: Vec<Program>,
    /// Probed files whose contents change.
    pub written: Vec<FileId>,
}

/// What a file was, when it was examined.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It is probed: the kernel holds it, and its number with it.
    Speaks,
    Silent(Option<Stamp>),
}

/// A file that was told.
pub(super) struct Told {
    pub(super) real: Real,
    /// Its paths, each in a root of its own.
    pub(super) names: Vec<PathBuf>,
}

/// Paths of a file that are remembered.
const NAMES_MAX: usize = 8;

impl Told {
    fn named(&mut self, name: &Path) {
        if self.names.len() < NAMES_MAX && !self.names.iter().any(|known| known == name) {
            self.names.push(name.into());
        }
    }
}

pub struct Speakers {
    proc: PathBuf,
    /// Examined.
    seen: HashMap<FileId, Seen>,
    /// Those that speak SSH and have been told.
    told: HashMap<FileId, Told>,
    /// Paths of speakers in watched folders.
    paths: HashMap<PathBuf, FileId>,
    watches: HashMap<i32, PathBuf>,
    notify: Option<OwnedFd>,
}

impl Speakers {
    pub fn new(proc: &Path) -> Self {
        let notify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .inspect_err(|error| tracing::warn!(%error, "upgrades of SSH programs are seen when they run, not before"))
            .ok();
        Self {
            proc: proc.into(),
            seen: HashMap::new(),
            told: HashMap::new(),
            paths: HashMap::new(),
            watches: HashMap::new(),
            notify,
        }
    }

    /// Programs in their well-known places, and those of running processes.
    pub fn present(&mut self) -> Vec<Program> {
        let host = Path::new("/");
        let mut found: Vec<Program> = self.in_places(host);
        found.extend(self.libraries(&libraries::in_places(host), true));
        let processes = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let exes = processes
            .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
            .map(|entry| entry.path().join("exe"));
        for exe in exes.collect::<Vec<_>>() {
            let name = fs::read_link(&exe).unwrap_or_else(|_| exe.clone());
            found.extend(Place::at(&exe).ok().and_then(|place| self.look(&place, &name, None, examine)));
            if let Some(process) = exe.parent() {
                found.extend(self.libraries(&libraries::mapped(process), false));
            }
        }
        found
    }

    /// A process has begun to speak SSH: the libraries that it has, as far as they are new.
    pub fn speaks(&mut self, tgid: u32) -> Vec<Program> {
        let libraries = libraries::mapped(&self.proc.join(tgid.to_string()));
        self.libraries(&libraries, false)
    }

    /// `of_host`: they are where their names say, in this process's own root.
    fn libraries(&mut self, libraries: &[Library], of_host: bool) -> Vec<Program> {
        let look = |Library { place, name }: &Library| {
            self.look(place, name, of_host.then_some(name.as_path()), examine_library)
        };
        libraries.iter().filter_map(look).collect()
    }

    /// A program was executed: what it is, if it is new, with its siblings in the same root.
    pub fn executed(&mut self, exec: &Exec) -> Vec<Program> {
        let Some(file) = exec.file else { return Vec::new() };
        let process = self.proc.join(exec.task.id.tgid.to_string());
        // An interpreter takes its libraries from where it was started: they may be new though it is not.
        let mut found = self.libraries(&libraries::of_interpreter(&process, exec), false);
        let exe = process.join("exe");
        if self.is_seen(file, &exe) {
            return found;
        }
        let name = exec.executable.as_ref().map(|path| String::from_utf8_lossy(&path.bytes).into_owned());
        let known = found.len();
        let name = PathBuf::from(name.unwrap_or_default());
        if let Some(program) = Place::at(&exe).ok().and_then(|place| self.look(&place, &name, None, examine)) {
            found.push(program);
            found.extend(self.in_places(&process.join("root")));
        } else if self.seen.len() >= KEPT_MAX {
            self.seen.retain(|_, seen| *seen == Seen::Speaks);
        }
        // What the kernel calls this file is what will be executed again, whatever stat(2) calls it (overlayfs).
        let seen = if found.len() > known { Seen::Speaks } else { Seen::Silent(Stamp::of(&exe)) };
        if self.seen.get(&file) != Some(&Seen::Speaks) {
            self.seen.insert(file, seen);
        }
        found
    }

    /// What happened in watched folders since the last call.
    pub fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let mut touched: HashSet<PathBuf> = HashSet::new();
        if let Some(notify) = &self.notify {
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
        }
        for path in touched {
            if let Some(file) = file_id(&path) {
                if self.seen.get(&file) != Some(&Seen::Speaks) {
                    self.seen.remove(&file);
                }
                let place = Place::at(&path).ok();
                changes.programs.extend(place.and_then(|place| self.look(&place, &path, Some(&path), examine)));
            }
        }
        changes
    }

    /// Files that were told and that nobody has any more: they are not where they were, in any root, and no process runs them or has them mapped.
    pub fn gone(&self) -> Vec<FileId> {
        let current: HashSet<FileId> =
            self.paths.iter().filter(|(path, file)| file_id(path) == Some(**file)).map(|(_, file)| *file).collect();
        holders::gone(&self.proc, self.told.iter().filter(|(file, _)| !current.contains(file)))
    }

    /// True: it may come back under another number (overlayfs), as long as the same image has it.
    pub fn forget(&mut self, file: FileId) -> bool {
        let told = self.told.remove(&file);
        // Also what the kernel calls it, where that is another number.
        self.seen.retain(|known, seen| *seen != Seen::Speaks || self.told.contains_key(known));
        self.paths.retain(|_, known| *known != file);
        told.is_some_and(|told| told.real.is_overlaid())
    }

    fn in_places(&mut self, root: &Path) -> Vec<Program> {
        let Ok(beneath) = Beneath::at(root, Budget::QUESTION) else { return Vec::new() };
        let look = |place: &&str| {
            let name = Path::new("/").join(place);
            let watched = (root == Path::new("/")).then_some(name.as_path());
            self.look(&beneath.find(&name).ok()?, &name, watched, examine)
        };
        PLACES.iter().filter_map(look).collect()
    }

    /// Was this very file examined? One that is silent may be gone, and its number given to another one: a virtual environment that is replaced does that.
    fn is_seen(&self, file: FileId, path: &Path) -> bool {
        match self.seen.get(&file) {
            Some(Seen::Speaks) => true,
            Some(Seen::Silent(stamp)) => Stamp::of(path).is_none_or(|now| Some(now) == *stamp),
            None => false,
        }
    }

    /// Examines a file unless it has been. `watched`: its path in this process's own root.
    fn look(&mut self, place: &Place, name: &Path, watched: Option<&Path>, examine: Examine) -> Option<Program> {
        let path = &place.path();
        let file = file_id(path)?;
        if self.is_seen(file, path) {
            return None;
        }
        let real = Real::of(path)?;
        if let Some(twin) = self.told.values_mut().find(|told| told.real.is_same(real)) {
            twin.named(name);
            self.seen.insert(file, Seen::Silent(Stamp::of(path)));
            return None;
        }
        if self.told.len() >= SPEAKERS_MAX {
            return None;
        }
        let examined = examine(place, name)
            .inspect_err(|error| tracing::debug!(name = %name.display(), %error, "cannot examine"))
            .ok()?;
        self.seen.insert(file, if examined.is_some() { Seen::Speaks } else { Seen::Silent(Stamp::of(path)) });
        let program = examined.filter(|program| program.file == file)?;
        self.told.insert(file, Told { real, names: vec![name.into()] });
        if let Some(path) = watched {
            self.watch(path, file);
        }
        Some(program)
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_number_that_is_given_to_another_file_is_no_old_acquaintance() {
        static EXAMINED: AtomicU32 = AtomicU32::new(0);
        let examine: Examine = |_, _| {
            EXAMINED.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        };
        let path = std::env::temp_dir().join(format!("sensor-speakers-{}", std::process::id()));
        let mut speakers = Speakers::new(Path::new("/proc"));
        for (text, expected) in [("one", 1), ("another", 2)] {
            // In place: the same number.
            fs::write(&path, text).unwrap();
            for _ in 0..2 {
                let place = Place::at(&path).unwrap();
                assert!(speakers.look(&place, &path, None, examine).is_none());
            }
            assert_eq!(EXAMINED.load(Ordering::Relaxed), expected);
        }
        fs::remove_file(&path).unwrap();
    }
}
