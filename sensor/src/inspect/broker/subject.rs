//! From a subject to descriptors: its directories and its executable as O_PATH, and by whose rights its files are read.
//!
//! What enters: a process by number and start. What leaves: descriptors of that very process, or `Unknown::Gone`.
//! Kernel facts: an open directory /proc/PID stands for that process for as long as it is held, not for the next one of
//! that number, so the start (stat, field 22) is compared once; the links below it are resolved by the kernel without a
//! look at the file system they lead to (but for NFS and its like, which are asked whether the directory is still
//! there: an administrator's mount, not a user's). stat, status and the links take no lock that another process can
//! hold for long; environ and maps do (see `opener`). Supplementary groups count only if status agrees with the ids of
//! the kernel's event.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags, openat, readlinkat},
    io::Errno,
};

use super::queue::Lane;
use crate::{
    event::stream::ProcessId,
    inspect::{confine::Identity, needs::Needs, slot, subject::Subject, unknown::Unknown},
};

/// Of stat and status: status has some 60 short lines, and a line of up to 65,536 groups (NGROUPS_MAX), of which so
/// many bytes are read.
const TEXT_MAX: usize = 16 << 10;
/// Groups of a process that are taken on.
const GROUPS_MAX: usize = 512;

/// A subject, opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) identity: Identity,
    /// /proc/PID, of the subject itself: a fallback lends its root and nothing else.
    pub(super) folder: Option<OwnedFd>,
    /// Its executable, O_PATH, where the question needs its content.
    pub(super) exe: Option<OwnedFd>,
    /// By slot.
    pub(super) descriptors: Vec<(u32, OwnedFd)>,
}

/// In which lane a subject's questions wait, if its event names its user.
pub(super) fn lane(uid: u32, mnt_ns: Option<u32>, host: Option<u32>) -> Lane {
    match (uid, mnt_ns) {
        (0, Some(mnt_ns)) if Some(mnt_ns) != host => Lane::Container(mnt_ns),
        (0, _) => Lane::Host,
        (uid, _) => Lane::User(uid),
    }
}

pub(super) fn open(proc: &OwnedFd, subject: &Subject, needs: &Needs) -> Result<Opened, Unknown> {
    let own = folder(proc, subject.process);
    let identity = identity(own.as_ref().ok(), subject)?;
    match own.and_then(|folder| directories(folder, &identity, needs)) {
        // It has ended, perhaps in between: a zombie has no root.
        Err(Unknown::Gone) => {}
        result => return result,
    }
    for other in &subject.fallback {
        let Ok(folder) = folder(proc, *other) else { continue };
        let namespace = subject.mnt_ns.is_none_or(|wanted| namespace(&folder) == Some(wanted));
        if namespace && let Ok(opened) = directories(folder, &identity, &Needs::default()) {
            return Ok(Opened { folder: None, ..opened });
        }
    }
    Err(Unknown::Gone)
}

/// A file that comes with its question: there is nothing else to look at.
pub(super) fn of_file(file: OwnedFd, identity: Identity) -> Result<Opened, Unknown> {
    let [root, folder] = [file.try_clone(), file.try_clone()].map(|copy| copy.map_err(|_| Unknown::Budget));
    Ok(Opened { identity, folder: Some(folder?), exe: Some(file), descriptors: vec![(slot::ROOT, root?)] })
}

/// /proc/PID, if it is that process.
fn folder(proc: &OwnedFd, process: ProcessId) -> Result<OwnedFd, Unknown> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(proc, process.tgid.to_string(), flags, Mode::empty()).map_err(gone)?;
    let stat = text(&folder, "stat").map_err(gone)?;
    let start = start_of(&stat).ok_or(Unknown::Gone)?;
    if process.start != 0 && start != process.start {
        return Err(Unknown::Gone);
    }
    Ok(folder)
}

fn directories(folder: OwnedFd, identity: &Identity, needs: &Needs) -> Result<Opened, Unknown> {
    let place = |name: &str| openat(&folder, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let mut descriptors = vec![(slot::ROOT, place("root").map_err(gone)?)];
    if needs.cwd {
        descriptors.push((slot::CWD, place("cwd").map_err(gone)?));
    }
    let exe = if needs.content { Some(place("exe").map_err(gone)?) } else { None };
    if needs.cmdline {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        descriptors.push((slot::CMDLINE, openat(&folder, "cmdline", flags, Mode::empty()).map_err(gone)?));
    }
    Ok(Opened { identity: identity.clone(), folder: Some(folder), exe, descriptors })
}

/// Of what lies below /proc/PID: not there any more is gone, not "absent".
fn gone(error: Errno) -> Unknown {
    match error {
        Errno::NOENT | Errno::SRCH => Unknown::Gone,
        other => other.into(),
    }
}

/// By whose rights.
fn identity(folder: Option<&OwnedFd>, subject: &Subject) -> Result<Identity, Unknown> {
    let status = folder.and_then(|folder| text(folder, "status").ok()).and_then(|text| Ids::parse(&text));
    match (subject.credentials, status) {
        (Some(known), Some(ids)) if (ids.uid, ids.gid) == ([known.uid, known.euid], [known.gid, known.egid]) => {
            Ok(Identity { uid: known.uid, gid: known.gid, groups: ids.groups })
        }
        (Some(known), _) => Ok(Identity { uid: known.uid, gid: known.gid, groups: Vec::new() }),
        (None, Some(Ids { uid: [uid, _], gid: [gid, _], groups })) => Ok(Identity { uid, gid, groups }),
        (None, None) => Err(Unknown::Gone),
    }
}

/// Of status: real and effective ids, groups.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    uid: [u32; 2],
    gid: [u32; 2],
    groups: Vec<u32>,
}

impl Ids {
    /// proc(5). The name of the process is escaped there, so that no line is forged.
    fn parse(status: &str) -> Option<Self> {
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::split_whitespace);
        let pair = |name: &str| {
            let mut numbers = line(name)?.map(str::parse);
            Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
        };
        let groups = line("Groups:")?.map_while(|group| group.parse().ok()).take(GROUPS_MAX).collect();
        Some(Self { uid: pair("Uid:")?, gid: pair("Gid:")?, groups })
    }
}

/// Field 22. The name of the process, field 2, is in parentheses and may contain any byte.
fn start_of(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The number in `mnt:[4026531841]`.
pub(super) fn namespace(folder: &impl AsFd) -> Option<u32> {
    let target = readlinkat(folder, "ns/mnt", Vec::new()).ok()?;
    target.to_str().ok()?.split(['[', ']']).nth(1)?.parse().ok()
}

fn text(folder: &OwnedFd, name: &str) -> Result<String, Errno> {
    let file = openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = vec![0; TEXT_MAX];
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(&file, rest)? {
            0 => break,
            count => length += count,
        }
    }
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_process_forges_neither_start_nor_ids() {
        let mut stat = String::from("7 (x) 1 2 3) R");
        stat.extend((4..44).map(|n: u32| [" ", &n.to_string()].concat()));
        assert_eq!(start_of(&stat), Some(22));
        assert_eq!(start_of("7 (x R 1"), None);
        let status = "Name:\ta\\nUid:\t0 0 0 0\nUid:\t5\t6\t7\t8\nGid:\t1\t2\t3\t4\nGroups:\t20 30 \n";
        assert_eq!(Ids::parse(status), Some(Ids { uid: [5, 6], gid: [1, 2], groups: vec![20, 30] }));
        assert_eq!(Ids::parse("Uid:\t1"), None);
    }

    #[test]
    fn roots_of_containers_wait_in_lanes_of_their_own() {
        assert_eq!(lane(0, Some(5), Some(5)), Lane::Host);
        assert_eq!(lane(0, None, Some(5)), Lane::Host);
        assert_eq!(lane(0, Some(6), Some(5)), Lane::Container(6));
        assert_eq!(lane(9, Some(6), Some(5)), Lane::User(9));
    }
}
