//! The host's own root, where folders of configuration are watched, and who has a process number now.
//!
//! What leaves: descriptors that are places only (O_PATH): nothing in them is opened or held. The host's own root is
//! that of init; where init may not be looked at, this process's.

use std::{
    fs::File,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::event::stream::ProcessId;

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

fn folder(path: &Path) -> Option<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from)
}

fn in_root(root: &File, path: &Path) -> Option<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).ok().map(File::from)
}

/// A path as the tool names it, from the root; without `.`, so that it has one name.
pub(super) fn absolute(working: Option<&Path>, named: &Path) -> Option<PathBuf> {
    let path = if named.is_absolute() { named.to_owned() } else { working?.join(named) };
    Some(path.components().filter(|part| *part != Component::CurDir).collect())
}
