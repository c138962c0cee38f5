//! What a file is, without asking the server of its file system.
//!
//! Kernel fact: statx(2) with AT_STATX_DONT_SYNC is answered from what the kernel holds, by FUSE and NFS too: device,
//! inode and type never change, times and size may be old. So it does not block where stat(2) and fstat(2) do, and
//! suits every process of the sensor.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, open, statx},
    io::{Errno, Result},
};

use crate::event::stream::FileId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub file: FileId,
    pub kind: FileType,
}

/// Of what a path leads to; with an empty path, of the descriptor itself. Links are followed, also those of /proc.
pub fn stat(at: impl AsFd, path: &str) -> Result<Stat> {
    let flags = AtFlags::STATX_DONT_SYNC | if path.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::empty() };
    let found = statx(at, path, flags, StatxFlags::TYPE | StatxFlags::INO)?;
    let file = FileId { dev: found.stx_dev_major << 20 | found.stx_dev_minor, inode: found.stx_ino };
    Ok(Stat { file, kind: FileType::from_raw_mode(found.stx_mode.into()) })
}

/// The same inode for reading, if it is a regular file. That asks its file system, as reading and closing do: not where
/// others wait.
pub fn reopen(path: impl AsFd) -> Result<OwnedFd> {
    if !stat(&path, "")?.kind.is_file() {
        return Err(Errno::INVAL);
    }
    open(own(&path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}

/// The same inode, as a place only (O_PATH): no file system is asked, neither now nor when it is closed.
pub fn as_path(file: impl AsFd) -> Result<OwnedFd> {
    open(own(&file), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn own(descriptor: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn a_file_has_the_numbers_that_stat_tells() {
        let metadata = fs::metadata("/proc/self/exe").unwrap();
        let found = stat(rustix::fs::CWD, "/proc/self/exe").unwrap();
        assert_eq!(found.file.inode, metadata.ino());
        assert_eq!(found.file.dev >> 20, rustix::fs::major(metadata.dev()));
        assert!(found.kind.is_file());
        assert!(stat(fs::File::open("/").unwrap(), "").unwrap().kind.is_dir());
    }

    #[test]
    fn a_place_can_be_opened_again_if_it_is_a_regular_file() {
        let path = as_path(fs::File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(rustix::fs::fcntl_getfl(&path).unwrap().contains(OFlags::PATH));
        let mut magic = [0; 4];
        std::io::Read::read_exact(&mut fs::File::from(reopen(&path).unwrap()), &mut magic).unwrap();
        assert_eq!(&magic, b"\x7fELF");
        let null = as_path(fs::File::open("/dev/null").unwrap()).unwrap();
        assert_eq!(reopen(null).unwrap_err(), Errno::INVAL);
    }
}
