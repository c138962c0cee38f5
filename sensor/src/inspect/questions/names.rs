//! Names of users by the passwd file of a process's root: a claim of the owner of that root, unless the file is the
//! host's own.
//!
//! Format: passwd(5). It fails with what `Beneath` says; too large a file is read to its bound and marked.

use std::{collections::HashMap, io::Read as _, os::unix::fs::MetadataExt as _};

use crate::{
    event::stream::FileId,
    inspect::{answer::Names, place::Place, unknown::Unknown},
};

/// Larger passwd files are read this far.
const PASSWD_MAX: u64 = 4 << 20;
/// useradd(8) allows 32; directories have longer ones.
const NAME_MAX: usize = 256;

pub(super) fn answer(place: &Place, uids: &[u32]) -> Result<Names, Unknown> {
    let found = place.root.find("etc/passwd".as_ref())?;
    let metadata = found.metadata()?;
    let dev = rustix::fs::major(metadata.dev()) << 20 | rustix::fs::minor(metadata.dev());
    let mut text = Vec::new();
    let read = found.open()?.take(PASSWD_MAX).read_to_end(&mut text)?;
    let known = parse(&text);
    let names = uids.iter().filter_map(|uid| known.get(uid).map(|name| (*uid, (*name).to_owned()))).collect();
    Ok(Names { file: FileId { dev, inode: metadata.ino() }, names, cut: read as u64 == PASSWD_MAX })
}

/// Names by uid; lines that are no entries are passed over.
fn parse(text: &[u8]) -> HashMap<u32, &str> {
    let mut names = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(_), Some(uid)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let uid = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok());
        if let (Some(uid), Ok(name)) = (uid, std::str::from_utf8(name))
            && name.len() <= NAME_MAX
        {
            names.entry(uid).or_insert(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_of_a_uid_counts_and_other_lines_are_passed_over() {
        let known = parse(b"root:x:0:0::/:/bin/sh\ntoor:x:0:\n#\n:::\n\xff:x:5\nno:x:-1\nlast:x:7");
        assert_eq!(known, HashMap::from([(0, "root"), (7, "last")]));
    }
}
