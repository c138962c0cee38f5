//! The programs that speak SSH and can be decrypted, OpenSSH's, wherever they are; and the libraries through which others do (`libraries` says where those may be).
//!
//! What enters: well-known places, the running processes, executed files, changes in the folders of what is known. What leaves: files with the offsets of their
//! cipher calls (`sites`), or why there are none. A program is known by what it imports and holds, not by its name.
//!
//! Containers of one image have the same files, each container under a number of its own: such a file is probed once (`holders`).
//!
//! A probe at a wrong offset would break the program it is in. So the file that is examined is the file that is probed: both go through one open descriptor
//! (`/proc/self/fd`), never twice through a path. While a file is probed the kernel holds its inode, so the number cannot come to mean another file; one that is
//! written to in place is released at once.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use object::read::ReadCache;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::{
    holders::{self, Real},
    libraries, program,
    sites::{self, Convention, NotCovered, SiteRole},
    snapshot::file_id,
};
use crate::event::stream::{Exec, FileId, Hook};

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

/// Bytes of a library that are read: cryptography's wheels have 14 MiB. What is cut is no ELF file that can be read.
const LIBRARY_MAX: u64 = 48 << 20;
/// Files remembered as silent; a host with more starts over.
const KEPT_MAX: usize = 16_384;
/// Programs that are told. Anybody can make more of them; OpenSSH has four, in each container's image.
const SPEAKERS_MAX: usize = 512;

/// A program that speaks SSH.
pub struct Program {
    pub file: FileId,
    /// As people know it.
    pub name: String,
    /// What to probe where in the file; or why it cannot be probed.
    pub sites: Result<Sites, NotCovered>,
    /// Interpreters load it.
    pub is_library: bool,
    open: File,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    /// By offset in the file.
    pub places: Vec<(Hook, u64)>,
    calls: usize,
    /// Calls that carry no packet and are left alone.
    spared: usize,
    /// Every site is emulated by the kernel, not single-stepped.
    emulated: bool,
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, all) = (self.calls, self.calls + self.spared);
        // Measured on x86-64: a call and its jump together.
        let cost = if self.emulated { "emulated, 0.4 us a packet" } else { "single-stepped, 3 us a packet" };
        write!(f, "{calls} of {all} cipher calls probed, {cost}")
    }
}

impl Program {
    /// A path to the very file that was examined.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.open.as_raw_fd()).into()
    }
}

/// What changed in the folders of known programs.
#[derive(Default)]
pub struct Changes {
    /// New files that speak SSH.
    pub programs: Vec<Program>,
    /// Probed files whose contents change.
    pub written: Vec<FileId>,
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
    /// Examined, and what of it: true where it speaks SSH.
    seen: HashMap<FileId, bool>,
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
        let mut found: Vec<Program> = self.in_places(Path::new("/"));
        found.extend(self.libraries(&libraries::in_places(Path::new("/"))));
        let processes = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let exes = processes
            .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
            .map(|entry| entry.path().join("exe"));
        for exe in exes.collect::<Vec<_>>() {
            let name = fs::read_link(&exe).unwrap_or_else(|_| exe.clone());
            found.extend(self.look(&exe, &name, examine));
            if let Some(process) = exe.parent() {
                found.extend(self.libraries(&libraries::mapped(process)));
            }
        }
        found
    }

    /// A process has begun to speak SSH: the libraries that it has, as far as they are new.
    pub fn speaks(&mut self, tgid: u32) -> Vec<Program> {
        let libraries = libraries::mapped(&self.proc.join(tgid.to_string()));
        self.libraries(&libraries)
    }

    fn libraries(&mut self, places: &[(PathBuf, PathBuf)]) -> Vec<Program> {
        places.iter().filter_map(|(path, name)| self.look(path, name, examine_library)).collect()
    }

    /// A program was executed: what it is, if it is new, with its siblings in the same root.
    pub fn executed(&mut self, exec: &Exec) -> Vec<Program> {
        let Some(file) = exec.file else { return Vec::new() };
        let process = self.proc.join(exec.task.id.tgid.to_string());
        // An interpreter takes its libraries from where it was started: they may be new though it is not.
        let mut found = self.libraries(&libraries::of_interpreter(&process, exec));
        if self.seen.contains_key(&file) {
            return found;
        }
        let name = exec.executable.as_ref().map(|path| String::from_utf8_lossy(&path.bytes).into_owned());
        let known = found.len();
        if let Some(program) = self.look(&process.join("exe"), Path::new(&name.unwrap_or_default()), examine) {
            found.push(program);
            found.extend(self.in_places(&process.join("root")));
        } else if self.seen.len() >= KEPT_MAX {
            self.seen.retain(|_, speaks| *speaks);
        }
        // What the kernel calls this file is what will be executed again, whatever stat(2) calls it (overlayfs).
        self.seen.entry(file).or_insert(found.len() > known);
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
                // Its number may be that of an old file that was silent.
                if self.seen.get(&file) == Some(&false) {
                    self.seen.remove(&file);
                }
                changes.programs.extend(self.look(&path, &path, examine));
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

    /// Also what is silent: the numbers of a root that is gone are given to the files of another.
    pub fn forget(&mut self, file: FileId) {
        self.told.remove(&file);
        self.seen.retain(|known, _| self.told.contains_key(known));
        self.paths.retain(|_, known| *known != file);
    }

    fn in_places(&mut self, root: &Path) -> Vec<Program> {
        PLACES
            .iter()
            .filter_map(|place| {
                let path = root.join(place);
                // A symbolic link in a container's root would lead out of it.
                let metadata = fs::symlink_metadata(&path).ok()?;
                metadata.is_file().then(|| self.look(&path, &Path::new("/").join(place), examine))?
            })
            .collect()
    }

    /// Examines a file unless it has been.
    fn look(&mut self, path: &Path, name: &Path, examine: Examine) -> Option<Program> {
        let file = file_id(path)?;
        if self.seen.contains_key(&file) {
            return None;
        }
        let real = Real::of(path)?;
        if let Some(twin) = self.told.values_mut().find(|told| told.real.is_same(real)) {
            twin.named(name);
            self.seen.insert(file, false);
            return None;
        }
        if self.told.len() >= SPEAKERS_MAX {
            return None;
        }
        let examined = examine(path, name)
            .inspect_err(|error| tracing::debug!(path = %path.display(), %error, "cannot examine"))
            .ok()?;
        self.seen.insert(file, examined.is_some());
        let program = examined.filter(|program| program.file == file)?;
        self.told.insert(file, Told { real, names: vec![name.into()] });
        if !path.starts_with(&self.proc) {
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

/// How a file is examined. None: it does not speak SSH, as far as can be seen.
type Examine = fn(&Path, &Path) -> io::Result<Option<Program>>;

fn examine(path: &Path, name: &Path) -> io::Result<Option<Program>> {
    probable(path, name, false, |open| {
        let cache = ReadCache::new(open);
        match sites::find(&cache) {
            Err(NotCovered::NoImport { .. }) => None,
            _ if !program::speaks_ssh(&cache) => None,
            found => Some(found.map(|sites| wanted(&sites))),
        }
    })
}

/// A library is read as a whole: it has to be done before the interpreter imports it, and there is much to look at (*measured*: 14 MiB of cryptography in a fifth of the time).
fn examine_library(path: &Path, name: &Path) -> io::Result<Option<Program>> {
    probable(path, name, true, |open| {
        let mut bytes = Vec::new();
        open.take(LIBRARY_MAX).read_to_end(&mut bytes).ok()?;
        match sites::find_in_library(&*bytes) {
            Err(NotCovered::NoImport { .. }) => None,
            found => Some(found.map(|sites| of_library(&sites, program::identifies(&*bytes)))),
        }
    })
}

fn probable(
    path: &Path,
    name: &Path,
    is_library: bool,
    find: impl FnOnce(&File) -> Option<Result<Sites, NotCovered>>,
) -> io::Result<Option<Program>> {
    let open = File::open(path)?;
    let metadata = open.metadata()?;
    if !metadata.is_file() || metadata.len() > program::FILE_MAX {
        return Ok(None);
    }
    let Some(sites) = find(&open) else { return Ok(None) };
    let Some(file) = file_id(Path::new(&format!("/proc/self/fd/{}", open.as_raw_fd()))) else { return Ok(None) };
    Ok(Some(Program { file, name: name.display().to_string(), sites, is_library, open }))
}

/// The sites that carry packets.
fn wanted(sites: &[sites::Site]) -> Sites {
    let bodies: Vec<_> = sites.iter().filter(|site| site.role == SiteRole::Body).collect();
    Sites {
        places: places(&bodies, |_| Hook::CipherCall, Hook::CipherJump),
        calls: bodies.len(),
        spared: sites.len() - bodies.len(),
        emulated: bodies.iter().all(|site| site.emulated),
    }
}

fn of_library(sites: &[sites::Site], speaks: bool) -> Sites {
    let call = |convention| match convention {
        Convention::Cipher => Hook::LibraryCall,
        Convention::Update if speaks => Hook::SpeakerCall,
        Convention::Update => Hook::UpdateCall,
    };
    // What has no output carries no packet, whatever the convention; the other roles are OpenSSH's.
    let carrying: Vec<_> = sites.iter().filter(|site| site.role != SiteRole::Other(sites::AAD)).collect();
    Sites {
        places: places(&carrying, call, Hook::LibraryJump),
        calls: carrying.len(),
        spared: sites.len() - carrying.len(),
        emulated: carrying.iter().all(|site| site.emulated),
    }
}

/// Two calls can share the branch after them.
fn places(sites: &[&sites::Site], call: impl Fn(Convention) -> Hook, jump: Hook) -> Vec<(Hook, u64)> {
    let mut jumps: Vec<u64> = sites.iter().map(|site| site.jump).collect();
    jumps.sort_unstable();
    jumps.dedup();
    let calls = sites.iter().map(|site| (call(site.convention), site.call));
    calls.chain(jumps.into_iter().map(|at| (jump, at))).collect()
}
