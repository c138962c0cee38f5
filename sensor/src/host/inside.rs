//! Files inside of a probed process's root: opened so that no link of theirs leads out of it, of bounded size, plain files only.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{Dir, Mode, OFlags, ResolveFlags, openat2},
};

use super::snapshot::namespace_number;
use crate::event::stream::Task;

/// A root in a mount namespace: init's in the host's (never a chroot in it), else the task's or, if that is gone, its parent's.
pub(super) fn root_of(proc: &Path, mnt_ns: u32, task: &Task) -> Option<PathBuf> {
    let tgids = [1, task.id.tgid].into_iter().chain(task.parent.map(|parent| parent.tgid));
    tgids
        .map(|tgid| proc.join(tgid.to_string()))
        .find_map(|process| (namespace_number(&process.join("ns/mnt")) == Some(mnt_ns)).then(|| process.join("root")))
}

fn open_any(root: &Path, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let folder = File::open(root)?;
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat2(&folder, path.trim_start_matches('/'), flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// Opens a plain file by its path in that root.
pub(super) fn open(root: &Path, path: &str) -> io::Result<File> {
    let file = File::from(open_any(root, path, OFlags::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// All of a file; an error if it is larger than that.
pub(super) fn whole(file: File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// What is in a folder; an error if that is more.
pub(super) fn names(root: &Path, folder: &str, max: usize) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(open_any(root, folder, OFlags::DIRECTORY)?)? {
        if names.len() > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
