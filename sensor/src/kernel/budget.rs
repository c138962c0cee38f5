//! How many files may be probed: in all, for one owner, and kept for files of the system, so that no user can take what
//! sshd needs.
//!
//! What enters: files that are probed and files that are gone. What leaves: yes or which limit was reached. A file
//! counts until its probes are really gone from the kernel: otherwise files that come and go would pile up there.

use std::collections::HashMap;

use crate::event::stream::FileId;

/// Files of one owner.
pub const FILES_PER_OWNER: usize = 64;
/// Files of all owners.
pub const FILES: usize = 1024;
/// On top of them, for files that only the system can have written.
pub const FILES_RESERVED: usize = 64;

const ROOT: u32 = 0;

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Budget {
    #[error("{FILES_PER_OWNER} files of user id {0} are probed, the limit for one user")]
    Owner(u32),
    #[error("{FILES} files are probed, the limit")]
    All,
    #[error("{FILES} files and the {FILES_RESERVED} kept for the system are probed, the limit")]
    System,
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) owner: u32,
    pub(super) reserved: bool,
}

#[derive(Debug, Default)]
pub(super) struct Shares {
    files: HashMap<FileId, Share>,
    owners: HashMap<u32, usize>,
    ordinary: usize,
}

impl Shares {
    /// May the file be probed?
    pub(super) fn admits(&self, file: FileId, share: Share) -> Result<(), Budget> {
        if self.files.contains_key(&file) {
            return Ok(());
        }
        if share.reserved {
            // What is reserved also takes from what is left of the rest.
            return if self.files.len() < FILES + FILES_RESERVED { Ok(()) } else { Err(Budget::System) };
        }
        // What root owns no user has made: the images of containers have many such files.
        let limited = share.owner != ROOT;
        if limited && self.owners.get(&share.owner).is_some_and(|files| *files >= FILES_PER_OWNER) {
            return Err(Budget::Owner(share.owner));
        }
        if self.ordinary < FILES && self.files.len() < FILES + FILES_RESERVED { Ok(()) } else { Err(Budget::All) }
    }

    pub(super) fn add(&mut self, file: FileId, share: Share) {
        self.remove(file);
        self.files.insert(file, share);
        if !share.reserved {
            self.ordinary += 1;
            *self.owners.entry(share.owner).or_default() += 1;
        }
    }

    /// Its probes are gone.
    pub(super) fn remove(&mut self, file: FileId) {
        let Some(Share { owner, reserved: false }) = self.files.remove(&file) else { return };
        self.ordinary -= 1;
        if let Some(files) = self.owners.get_mut(&owner) {
            *files -= 1;
            if *files == 0 {
                self.owners.remove(&owner);
            }
        }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.files.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: usize) -> FileId {
        FileId { dev: 1, inode: inode as u64 }
    }

    fn user(owner: u32) -> Share {
        Share { owner, reserved: false }
    }

    const SYSTEM: Share = Share { owner: 0, reserved: true };

    #[test]
    fn one_owner_reaches_a_limit_of_its_own() {
        let mut shares = Shares::default();
        for inode in 0..FILES_PER_OWNER {
            assert_eq!(shares.admits(file(inode), user(1000)), Ok(()));
            shares.add(file(inode), user(1000));
        }
        assert_eq!(shares.admits(file(900), user(1000)), Err(Budget::Owner(1000)));
        assert_eq!(shares.admits(file(3), user(1000)), Ok(()), "a file that is probed already");
        assert_eq!(shares.admits(file(900), user(1001)), Ok(()));
        shares.remove(file(5));
        shares.remove(file(5));
        assert_eq!(shares.admits(file(900), user(1000)), Ok(()));
    }

    #[test]
    fn all_owners_together_leave_room_for_the_system() {
        let mut shares = Shares::default();
        let owner = |inode: usize| user((inode / FILES_PER_OWNER) as u32 + 1000);
        for inode in 0..FILES {
            assert_eq!(shares.admits(file(inode), owner(inode)), Ok(()));
            shares.add(file(inode), owner(inode));
        }
        assert_eq!(shares.admits(file(FILES), user(1)), Err(Budget::All));
        for inode in FILES..FILES + FILES_RESERVED {
            assert_eq!(shares.admits(file(inode), SYSTEM), Ok(()));
            shares.add(file(inode), SYSTEM);
        }
        assert_eq!(shares.admits(file(5000), SYSTEM), Err(Budget::System));
        assert_eq!(shares.files().count(), FILES + FILES_RESERVED);
    }
}
