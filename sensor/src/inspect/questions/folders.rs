//! Where the relative paths of a process begin.
//!
//! A path of its working directory, from the kernel or from the directory's descriptor, is believed if it leads to that
//! directory beneath the process's root. Where none does (another root by now, a directory that was removed), the
//! directory itself is the best root that there is: nothing above it is reached.

use std::{
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::{
    host::beneath::{self, Beneath, Budget},
    inspect::place::Place,
};

pub(super) struct Folders {
    pub(super) root: Beneath,
    /// The working directory, as a path in that root; none if it is not there.
    pub(super) working: Option<PathBuf>,
    pub(super) directory: Option<Beneath>,
}

impl Folders {
    /// `known`: the working directory as the kernel had it at exec.
    pub(super) fn of(place: Place, known: Option<&Path>) -> Self {
        let Place { root, cwd, .. } = place;
        let descriptor = cwd.as_ref().map(|cwd| format!("/proc/self/fd/{}", cwd.as_raw_fd()));
        let linked = descriptor.and_then(|path| std::fs::read_link(path).ok());
        let directory = cwd.map(|cwd| Beneath::new(cwd, Budget::QUESTION));
        let identity = |beneath: &Beneath, path: &Path| {
            beneath.find(path).and_then(|place| place.metadata()).map(|found| (found.dev(), found.ino())).ok()
        };
        let now = directory.as_ref().and_then(|directory| identity(directory, ".".as_ref()));
        let leads_there = |path: &PathBuf| now.is_some() && identity(&root, path) == now;
        let working = known.map(Path::to_owned).into_iter().chain(linked).find(leads_there);
        Self { root, working, directory }
    }

    /// Where a path of the process leads.
    pub(super) fn find(&self, path: &Path) -> io::Result<beneath::Place> {
        match (&self.working, &self.directory) {
            _ if path.is_absolute() => self.root.find(path),
            (Some(working), _) => self.root.find(&working.join(path)),
            (None, Some(directory)) => directory.find(path),
            (None, None) => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}
