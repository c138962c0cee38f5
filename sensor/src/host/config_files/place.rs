//! Where a process's paths begin: its root and its working directory, and whether they are the host's.
//!
//! What enters: a process, by number and start, and its working directory as the kernel had it at exec. What leaves: its root as an open folder (O_PATH: nothing in it is held), and that directory as a
//! path in it. A path is believed only if it leads to the folder that the process is in; a process that is gone, or whose number is another's by now, has no place. The host's own root is that of
//! init; where init may not be looked at, this process's.

use std::{
    fs::File,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::Deploying;
use crate::event::stream::ProcessId;

pub(super) struct Place {
    pub root: File,
    /// The working directory, in that root.
    pub working: Option<PathBuf>,
    /// By its path from the host's root the working directory is the same folder: its files can be watched, and looked at when the process is gone.
    pub of_host: bool,
}

impl Place {
    pub(super) fn of(proc: &Path, deploying: &Deploying) -> Option<Self> {
        let folders = proc.join(deploying.process.tgid.to_string());
        let root = folder(&folders.join("root"))?;
        let working = folder(&folders.join("cwd"))?;
        if process(proc, deploying.process.tgid) != Some(deploying.process) {
            return None; // what was opened may be another's
        }
        let known = deploying.working_directory.as_deref().map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path)));
        let now = std::fs::read_link(folders.join("cwd")).ok();
        let leads_there = |path: &PathBuf| in_root(&root, path).is_some_and(|there| is_same(&there, &working));
        let path = known.into_iter().chain(now).find(leads_there);
        let of_host = path
            .as_ref()
            .zip(host_root(proc))
            .is_some_and(|(path, host)| in_root(&host, path).is_some_and(|there| is_same(&there, &working)));
        Some(Self { root, working: path, of_host })
    }
}

/// The process that has this number now.
pub(super) fn process(proc: &Path, tgid: u32) -> Option<ProcessId> {
    let folder = proc.join(tgid.to_string());
    let stat = procfs::process::Process::new_with_root(folder).ok()?.stat().ok()?;
    Some(ProcessId { tgid, start: stat.starttime })
}

pub(super) fn host_root(proc: &Path) -> Option<File> {
    folder(&proc.join("1/root")).or_else(|| folder("/proc/self/root".as_ref()))
}

pub(super) fn is_folder(root: &File, path: Option<&Path>) -> bool {
    path.is_some_and(|path| in_root(root, path).is_some())
}

/// A path as the tool names it, from the root; without `.`, so that it has one name.
pub(super) fn absolute(working: Option<&Path>, named: &str) -> Option<PathBuf> {
    let named = Path::new(named);
    let path = if named.is_absolute() { named.to_owned() } else { working?.join(named) };
    Some(path.components().filter(|part| *part != Component::CurDir).collect())
}

fn folder(path: &Path) -> Option<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from)
}

fn in_root(root: &File, path: &Path) -> Option<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).ok().map(File::from)
}

fn is_same(a: &File, b: &File) -> bool {
    a.metadata().ok().zip(b.metadata().ok()).is_some_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino()))
}
