//! Who changes configuration files: fanotify on their folders.
//!
//! What enters: folders. What leaves: (folder, name, tgid) of whatever is written, replaced or removed in them. A mark
//! is on the folder's inode alone: no process waits for the sensor, no other folder is slower, and no mount is held.
//! The group reports folders by their file handle and names (FAN_REPORT_DFID_NAME, 5.9 and later), as only that reports
//! renames, by which most editors replace a file. Which handle a mark has is read from /proc/self/fdinfo. Making the
//! group needs CAP_SYS_ADMIN, marks do not. Where a file system has no handles (some overlays, FUSE, NFS, subvolumes of
//! btrfs before 6.8), the mark is refused: its changes are then seen at the next deploy.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::AT_FDCWD,
    sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// Folders watched; a project has two or three.
const FOLDERS_MAX: usize = 1024;
/// Of `struct fanotify_event_metadata` (linux/fanotify.h).
const METADATA: usize = 24;
const METADATA_VERSION: u8 = 3;
/// FAN_EVENT_INFO_TYPE_DFID_NAME: a folder's handle and a name in it.
const FOLDER_AND_NAME: u8 = 2;

/// Something happened to a name in a watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub path: PathBuf,
    /// None: not visible from here.
    pub tgid: Option<u32>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    pub touched: Vec<Touched>,
    /// The queue was full: anything can have changed.
    pub overflow: bool,
}

pub(super) struct Watch {
    group: Fanotify,
    /// By file handle (type and bytes): where a folder was when it was marked.
    folders: HashMap<Vec<u8>, PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum MarkError {
    #[error("{0}")]
    Kernel(#[from] Errno),
    #[error("{0}")]
    Open(rustix::io::Errno),
    #[error("{FOLDERS_MAX} folders are watched already")]
    TooMany,
    #[error("/proc/self/fdinfo does not name the mark")]
    NoHandle,
}

impl Watch {
    pub(super) fn new() -> Result<Self, Errno> {
        let report = InitFlags::from_bits_retain(libc::FAN_REPORT_DFID_NAME);
        let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK | report;
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?;
        Ok(Self { group, folders: HashMap::new() })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }

    /// Watches a folder of this root, from now on.
    pub(super) fn add(&mut self, root: &File, folder: &Path) -> Result<(), MarkError> {
        if self.folders.len() >= FOLDERS_MAX && !self.folders.values().any(|known| known == folder) {
            return Err(MarkError::TooMany);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = openat2(root, folder, flags, Mode::empty(), resolve).map_err(MarkError::Open)?;
        let mask = MaskFlags::FAN_CLOSE_WRITE
            | MaskFlags::FAN_CREATE
            | MaskFlags::FAN_DELETE
            | MaskFlags::FAN_MOVED_FROM
            | MaskFlags::FAN_MOVED_TO
            | MaskFlags::FAN_EVENT_ON_CHILD;
        let before = self.handles();
        // The folder is a place and is not opened: the mark finds it through its descriptor.
        let own = format!("/proc/self/fd/{}", open.as_raw_fd());
        self.group.mark(MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR, mask, AT_FDCWD, Some(own.as_str()))?;
        // What was marked is named by its new line; without one it was marked before, maybe under another name.
        let after = self.handles();
        let new = after.iter().find(|mark| !before.contains(mark));
        let own = || {
            use std::os::unix::fs::MetadataExt as _;
            let inode = File::from(open).metadata().ok()?.ino();
            after.iter().find(|mark| mark.inode == inode)
        };
        let mark = new.or_else(own).ok_or(MarkError::NoHandle)?;
        self.folders.retain(|_, known| known != folder);
        self.folders.insert(mark.handle.clone(), folder.to_owned());
        Ok(())
    }

    /// What has happened since the last call.
    pub(super) fn read(&self, happened: &mut Happened) {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = rustix::io::read(self.fd(), &mut buffer) {
            parse(buffer.get(..n).unwrap_or_default(), &self.folders, happened);
        }
    }

    fn handles(&self) -> Vec<Mark> {
        let path = format!("/proc/self/fdinfo/{}", self.group.as_fd().as_raw_fd());
        fs::read_to_string(path).unwrap_or_default().lines().filter_map(Mark::parse).collect()
    }
}

/// `fanotify ino:2c sdev:fd00000 mflags:0 mask:80003c8 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:e183...`
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    inode: u64,
    /// As events have it: its type and its bytes.
    handle: Vec<u8>,
}

impl Mark {
    fn parse(line: &str) -> Option<Self> {
        let words = line.strip_prefix("fanotify ino:")?;
        let field = |name: &str| words.split(' ').find_map(|word| word.strip_prefix(name));
        let inode = u64::from_str_radix(words.split(' ').next()?, 16).ok()?;
        let kind = u32::from_str_radix(field("fhandle-type:")?, 16).ok()?;
        let bytes = hex::decode(field("f_handle:")?).ok()?;
        Some(Self { inode, handle: handle(kind, &bytes) })
    }
}

fn handle(kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_ne_bytes(), bytes].concat()
}

/// A sequence of events, each its metadata and then records of information (fanotify(7)). Whatever does not fit is left
/// out.
fn parse(mut bytes: &[u8], folders: &HashMap<Vec<u8>, PathBuf>, happened: &mut Happened) {
    while let (Some(length), Some(version), Some(metadata)) = (u32_at(bytes, 0), bytes.get(4), u16_at(bytes, 6)) {
        let (length, metadata) = (length as usize, usize::from(metadata));
        let Some(event) = bytes.get(..length).filter(|_| length >= METADATA && *version == METADATA_VERSION) else {
            return;
        };
        let mask = event.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
        if mask & MaskFlags::FAN_Q_OVERFLOW.bits() != 0 {
            happened.overflow = true;
        }
        let tgid = u32_at(event, 20).filter(|pid| *pid != 0);
        if let Some((folder, name)) = event.get(metadata..).and_then(folder_and_name)
            && let Some(folder) = folders.get(&folder)
        {
            happened.touched.push(Touched { path: folder.join(name), tgid });
        }
        bytes = bytes.get(length..).unwrap_or_default();
    }
}

/// Of the records of an event, that with a folder's handle and a name.
fn folder_and_name(mut bytes: &[u8]) -> Option<(Vec<u8>, OsString)> {
    loop {
        let length = usize::from(u16_at(bytes, 2)?);
        let record = bytes.get(..length).filter(|record| record.len() >= 4)?;
        if record.first() == Some(&FOLDER_AND_NAME) {
            // After the header: the file system's id (8), the handle's size and type, the handle, the name.
            let size = u32_at(record, 12)? as usize;
            let kind = u32_at(record, 16)?;
            let bytes = record.get(20..20 + size.min(record.len()))?;
            let name = record.get(20 + size..)?.split(|byte| *byte == 0).next()?;
            return Some((handle(kind, bytes), OsString::from_vec(name.to_vec())));
        }
        bytes = bytes.get(length..)?;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}
