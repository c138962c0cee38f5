//! Names of users by the passwd file of a process's root: a claim of whoever owns that root, unless the file is the host's own.
//!
//! Kernel fact: openat2(2) with RESOLVE_IN_ROOT keeps links inside. passwd(5) for the format. Too large a file is read to its bound and marked.

use std::{collections::HashMap, fs::File, io::Read as _};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};

use super::{Names, Place, Unknown, Why};
use crate::event::stream::FileId;

/// Larger passwd files are read this far.
const PASSWD_MAX: u64 = 4 << 20;
/// useradd(8) allows 32; directories have longer ones.
const NAME_MAX: usize = 256;

pub(super) fn answer(place: &Place, uids: &[u32]) -> Result<Names, Unknown> {
    let file = open(place)?;
    let stat = fstat(&file)?;
    let file_id =
        FileId { dev: rustix::fs::major(stat.st_dev) << 20 | rustix::fs::minor(stat.st_dev), inode: stat.st_ino };
    let mut text = Vec::new();
    let read = file.take(PASSWD_MAX).read_to_end(&mut text)?;
    let known = parse(&text);
    let names = uids.iter().filter_map(|uid| known.get(uid).map(|name| (*uid, (*name).to_owned()))).collect();
    Ok(Names { file: Some(file_id), names, cut: read as u64 == PASSWD_MAX })
}

fn open(place: &Place) -> Result<File, Unknown> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = openat2(&place.root, "etc/passwd", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    let stat = fstat(&path)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(Unknown::Refused(Why::Kind));
    }
    let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&path));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(own, flags, Mode::empty())?.into())
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
