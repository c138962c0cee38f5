//! Which file it is, which content it has and whose it is: as the kernel had it at the exec.
//!
//! What enters: what the exec's record says. What leaves: values to compare. No file system has to be asked, which may
//! be a user's and never answer. A write, a rename, a link, a change of mode or owner: each moves `ctime`; an inode
//! number that is used again differs in `generation` where the file system keeps one. Of an overlay's inode neither is
//! certain.

use serde::{Deserialize, Serialize};

/// An executable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    pub dev: u32,
    pub inode: u64,
}

/// What distinguishes one content of an inode from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileStamp {
    pub size: u64,
    /// Seconds since 1970 and nanoseconds.
    pub ctime: (i64, u32),
    pub generation: u32,
    pub nlink: u32,
    /// Its user, in the host's numbers.
    pub owner: u32,
    /// Type and permissions.
    pub mode: u32,
    /// It is an overlay's inode: the content lies in another one, of another file system.
    pub overlay: bool,
}
