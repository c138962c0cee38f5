//! Which processes use a file that is probed: whether two paths lead to one inode, and whether any process still uses
//! it.
//!
//! A uprobe belongs to an inode of the file system where the file really is. Through an overlay, as containers have it,
//! that file has another number in every container. Probed by each number, every event in it would be recorded as
//! often as there are containers of its image. Its size, its last change and the lower half of its number shine through
//! the overlay. (A copy that the overlay makes keeps the number, but not the time of its change.) Elsewhere numbers are
//! trusted: snapshots of a file system have files that agree in all of these and are others.
//!
//! In: /proc. Out: files that can be released. What cannot be looked at in time is kept until the next look.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::snapshot::{file_id, file_id_of, namespace_number};
use crate::event::stream::FileId;

/// statfs(2)
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
/// Paths looked at in one search, which holds up everything else: about as many microseconds, twice.
const LOOKS_MAX: usize = 20_000;
/// Of the maps of a process.
const READ_MAX: u64 = 4 << 20;

/// What is known of the inode behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InodeIdentity {
    /// The lower half: overlayfs may use the upper one (`xino`).
    inode: u32,
    size: u64,
    changed: (i64, i64),
    overlaid: bool,
}

impl InodeIdentity {
    /// Of a file that is open, or found (O_PATH).
    pub(super) fn of_open(open: &File, metadata: &fs::Metadata) -> Self {
        let overlaid =
            rustix::fs::fstatfs(open).is_ok_and(|found| found.f_type.cast_unsigned() == OVERLAYFS_SUPER_MAGIC);
        Self::from(metadata, overlaid)
    }

    fn from(metadata: &fs::Metadata, overlaid: bool) -> Self {
        let inode = (metadata.ino() & u64::from(u32::MAX)) as u32;
        Self { inode, size: metadata.size(), changed: (metadata.ctime(), metadata.ctime_nsec()), overlaid }
    }

    pub fn is_overlaid(self) -> bool {
        self.overlaid
    }

    /// One inode under two numbers?
    pub fn is_same(self, other: Self) -> bool {
        (self.overlaid || other.overlaid) && Self { overlaid: other.overlaid, ..self } == other
    }
}

/// A file that is probed: where it is looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    pub file: FileId,
    pub real: InodeIdentity,
    /// Its paths, each in a root of its own.
    pub names: Vec<PathBuf>,
}

/// Of these files those that are at none of their paths in any root, and that no process runs or has mapped.
///
/// `at` is called before a process is looked at; false: it is to be skipped, and may have anything.
pub fn gone(proc: &Path, probed: &[Probed], at: &mut dyn FnMut(u32) -> bool) -> Vec<FileId> {
    let mut left: HashMap<FileId, &Probed> = probed.iter().map(|probed| (probed.file, probed)).collect();
    if left.is_empty() {
        return Vec::new();
    }
    let processes = processes(proc);
    let Some(roots) = roots(&processes, at) else { return Vec::new() };
    let mut looks = 0;
    left.retain(|file, probed| {
        looks += probed.names.len() * roots.len();
        let mut found = |(pid, root): &(u32, PathBuf)| {
            // A file system that does not answer may have it.
            !at(*pid) || probed.names.iter().any(|name| is_at(root, name, *file, probed))
        };
        looks <= LOOKS_MAX && !roots.iter().any(&mut found)
    });
    for (pid, process) in &processes {
        if left.is_empty() {
            break;
        }
        if !at(*pid) {
            return Vec::new();
        }
        if let Some(file) = file_id(&process.join("exe")) {
            left.remove(&file);
        }
        leave_mapped(process, &mut left);
    }
    left.into_keys().collect()
}

fn processes(proc: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

/// Every root that a process has, once: in a mount namespace, perhaps below its root. None: one could not be looked at.
fn roots(processes: &[(u32, PathBuf)], at: &mut dyn FnMut(u32) -> bool) -> Option<Vec<(u32, PathBuf)>> {
    let mut roots = HashMap::new();
    for (pid, process) in processes {
        if !at(*pid) {
            return None;
        }
        let root = process.join("root");
        if let (Some(namespace), Some(file)) = (namespace_number(&process.join("ns/mnt")), file_id(&root)) {
            roots.entry((namespace, file)).or_insert((*pid, root));
        }
    }
    Some(roots.into_values().collect())
}

fn is_at(root: &Path, name: &Path, file: FileId, probed: &Probed) -> bool {
    let found = fs::metadata(root.join(name.strip_prefix("/").unwrap_or(name)));
    found.is_ok_and(|found| {
        file_id_of(&found) == file || InodeIdentity::from(&found, probed.real.overlaid) == probed.real
    })
}

/// Leaves out what a process has mapped. Where it is known by its number, its device or its name must be the same too
/// (overlays and snapshots have devices that stat(2) does not tell; a tmpfs has small numbers); where it has been
/// deleted its name is enough. Rather too much is kept than too little.
fn leave_mapped(process: &Path, left: &mut HashMap<FileId, &Probed>) {
    let Ok(maps) = File::open(process.join("maps")) else { return };
    for line in BufReader::new(maps.take(READ_MAX)).split(b'\n').map_while(Result::ok) {
        let Some(mapped) = mapped_file(&line) else { continue };
        let (path, deleted) = line.strip_suffix(b" (deleted)").map_or((&*line, false), |path| (path, true));
        left.retain(|file, probed| {
            let ends = |name: &[u8]| path.ends_with(name);
            let named = probed.names.iter().any(|name| name.file_name().is_some_and(|name| ends(name.as_bytes())));
            let whole = probed.names.iter().any(|name| ends(name.as_os_str().as_bytes()));
            let numbered = mapped.inode == file.inode && (mapped.dev == file.dev || named);
            !(numbered || deleted && whole)
        });
    }
}

/// Of a line of maps: `7f00-7f01 r-xp 00000000 fe:00 320355   /path`
pub(super) fn mapped_file(line: &[u8]) -> Option<FileId> {
    let mut fields = line.split(|byte| *byte == b' ').filter_map(|field| std::str::from_utf8(field).ok());
    let (major, minor) = fields.nth(3)?.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let inode = fields.next()?.parse().ok().filter(|inode| *inode != 0)?;
    Some(FileId { dev: number(major)? << 20 | number(minor)?, inode })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Proc(PathBuf);

    impl Drop for Proc {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Proc {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sensor-holders-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("proc")).unwrap();
            Self(path)
        }

        fn proc(&self) -> PathBuf {
            self.0.join("proc")
        }

        fn process(&self, pid: u32, root: &str, maps: &str) {
            let process = self.proc().join(pid.to_string());
            fs::create_dir_all(process.join("ns")).unwrap();
            fs::create_dir_all(self.0.join(root)).unwrap();
            symlink(self.0.join(root), process.join("root")).unwrap();
            symlink("mnt:[7]", process.join("ns/mnt")).unwrap();
            fs::write(process.join("maps"), maps).unwrap();
        }

        fn ends(&self, pid: u32) {
            fs::remove_dir_all(self.proc().join(pid.to_string())).unwrap();
        }

        fn gone(&self, files: &[Probed]) -> usize {
            gone(&self.proc(), files, &mut |_| true).len()
        }
    }

    fn probed(path: &Path, name: &str) -> Vec<Probed> {
        let real = InodeIdentity::of_open(&File::open(path).unwrap(), &fs::metadata(path).unwrap());
        vec![Probed { file: file_id(path).unwrap(), real, names: vec![name.into()] }]
    }

    #[test]
    fn a_file_is_kept_while_a_root_has_it_or_a_process_uses_it() {
        let host = Proc::new("roots");
        host.process(1, "host", "");
        host.process(20, "container", "");
        host.process(21, "container", "");
        fs::write(host.0.join("container/lib.so"), "x").unwrap();
        let files = probed(&host.0.join("container/lib.so"), "/lib.so");
        assert_eq!(host.gone(&files), 0);
        host.ends(20);
        assert_eq!(host.gone(&files), 0, "another process has the root");
        host.ends(21);
        assert_eq!(host.gone(&files), 1, "no process has the root any more");
        host.process(30, "host", "7f00-7f01 r-xp 00000000 00:28 12  /other/lib.so (deleted)\n");
        assert_eq!(host.gone(&files), 0, "deleted, and still mapped");
        host.ends(30);
        let FileId { dev, inode } = files[0].file;
        let device = format!("{:02x}:{:02x}", dev >> 20, dev & 0xf_ffff);
        host.process(31, "host", &format!("7f00-7f01 r-xp 00000000 {device} {inode}   /another/name\n"));
        assert_eq!(host.gone(&files), 0, "mapped under another name");
        host.ends(31);
        host.process(31, "host", &format!("7f00-7f01 r-xp 00000000 00:99 {inode}   /merged/lib.so\n"));
        assert_eq!(host.gone(&files), 0, "mapped through an overlay");
        host.ends(31);
        host.process(31, "host", &format!("7f00-7f01 r-xp 00000000 00:99 {inode}   /memfd:other (deleted)\n"));
        assert_eq!(host.gone(&files), 1, "another file with its number");
        host.ends(31);
        host.process(32, "host", "7f00-7f01 r-xp 00000000 00:28 12   /lib.so\n7f02-7f03 rw-p 00000000 00:00 0\n");
        assert_eq!(host.gone(&files), 1, "another file with its name");
    }

    #[test]
    fn a_file_that_was_replaced_is_kept_as_long_as_it_is_mapped() {
        let host = Proc::new("replaced");
        host.process(1, "host", "");
        let path = host.0.join("host/lib.so");
        fs::write(&path, "old").unwrap();
        let files = probed(&path, "/lib.so");
        fs::write(host.0.join("host/lib.so.new"), "newer").unwrap();
        fs::rename(host.0.join("host/lib.so.new"), &path).unwrap();
        assert_eq!(host.gone(&files), 1);
        host.process(2, "host", "7f00-7f01 r-xp 00000000 00:28 12  /lib.so (deleted)\n");
        assert_eq!(host.gone(&files), 0);
    }

    #[test]
    fn only_through_an_overlay_are_two_numbers_one_file() {
        let real = InodeIdentity { inode: 5, size: 100, changed: (1, 2), overlaid: false };
        let above = InodeIdentity { overlaid: true, ..real };
        assert!(real.is_same(above) && above.is_same(real) && above.is_same(above));
        assert!(!real.is_same(real), "a snapshot of a file system");
        assert!(!above.is_same(InodeIdentity { changed: (1, 3), ..above }), "a copy that was made for a container");
    }
}
