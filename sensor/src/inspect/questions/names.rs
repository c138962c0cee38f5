//! Names of users by the passwd file of a process's root: a claim of the owner of that root, unless the file is the
//! host's own.
//!
//! It fails with what `Beneath` says; too large a file is read to its bound and marked.

use std::{io::Read as _, os::unix::fs::MetadataExt as _};

use crate::{
    event::stream::FileId,
    host::passwd::{self, PASSWD_MAX},
    inspect::{answer::Names, place::Place, unknown::Unknown},
};

/// useradd(8) allows 32; directories have longer ones.
const NAME_MAX: usize = 256;

pub(super) fn answer(place: &Place, uids: &[u32]) -> Result<Names, Unknown> {
    let found = place.root.find("etc/passwd".as_ref())?;
    let metadata = found.metadata()?;
    let dev = rustix::fs::major(metadata.dev()) << 20 | rustix::fs::minor(metadata.dev());
    let mut text = Vec::new();
    let read = found.open()?.take(PASSWD_MAX as u64).read_to_end(&mut text)?;
    let mut names: Vec<(u32, String)> = Vec::new();
    for entry in passwd::entries(&text).filter(|entry| uids.contains(&entry.uid) && entry.name.len() <= NAME_MAX) {
        if !names.iter().any(|(uid, _)| *uid == entry.uid) {
            names.push((entry.uid, entry.name.to_owned()));
        }
    }
    Ok(Names { file: FileId { dev, inode: metadata.ino() }, names, cut: read == PASSWD_MAX })
}
