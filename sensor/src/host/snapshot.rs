//! The processes that were there before the probes.
//!
//! Taken after attaching, so an exec in between is in the ring and in /proc: records come from events only, and what is
//! found here only seeds the process table, so nothing is lost and nothing is recorded twice. Zombies have passed their
//! exit event and are left out. Command lines are redacted here, as in `decode`, before they are handed on. Reading a
//! command line or environment can wait for the process's memory (userfaultfd, FUSE): this runs where that may be. Of
//! an environment only SSH_CONNECTION is read, and only of processes whose parent is gone.

use std::{
    collections::HashMap,
    ffi::OsStr,
    net::{IpAddr, SocketAddr},
    os::unix::ffi::OsStrExt as _,
    path::{Path as FsPath, PathBuf},
};

use procfs::process::{ProcState, Process, Stat};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};

use super::sockets::Sockets;
use crate::{
    decode::redact::redact_args,
    event::stream::{
        Args, Credentials, FileId, FileStamp, Names, Path, ProcessId, ProcessSnapshot, Role, Served, Task,
    },
};

/// argv kept of a process found: it is shown only as somebody's parent.
const ARGS_MAX: usize = 4096;
/// As the probes: descriptors searched for a served connection; some more, since a running process may have moved it.
const FDS_MAX: usize = 64;

/// One process, as it was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its role is not known yet, and what it serves is said of every process that has a connection.
    pub found: ProcessSnapshot,
    /// It listens on TCP.
    pub listens: bool,
    /// Where it is now, in its own root.
    pub working_directory: Option<Path>,
}

/// Looks at processes, one after the other. It opens nothing but files of /proc.
pub struct Snapshooter {
    proc: PathBuf,
    sockets: Sockets,
}

impl Snapshooter {
    pub fn new(proc: &FsPath) -> Self {
        Self { proc: proc.into(), sockets: Sockets::default() }
    }

    /// None: it is gone, or going.
    pub fn look(&mut self, pid: u32) -> Option<Seen> {
        let process = Process::new_with_root(self.proc.join(pid.to_string())).ok()?;
        let stat = process.stat().ok()?;
        // A process that ends meanwhile says so through its exit event.
        if matches!(stat.state(), Ok(ProcState::Zombie | ProcState::Dead)) {
            return None;
        }
        examine(&process, &stat, &self.proc, &mut self.sockets)
    }
}

/// In the order in which the stream has them: parents before children, so that lineage can be followed in one pass.
pub fn in_order(processes: &mut [Seen]) {
    processes.sort_by_key(|seen| (seen.found.task.id.start, seen.found.task.id.tgid));
    parents(processes);
}

/// /proc names a parent by pid; find its start.
fn parents(processes: &mut [Seen]) {
    let starts: HashMap<u32, u64> =
        processes.iter().map(|Seen { found, .. }| (found.task.id.tgid, found.task.id.start)).collect();
    for Seen { found, .. } in processes {
        if let Some(parent) = &mut found.task.parent {
            match starts.get(&parent.tgid) {
                Some(start) => parent.start = *start,
                None => found.task.parent = None,
            }
        }
    }
}

fn examine(process: &Process, stat: &Stat, proc: &FsPath, sockets: &mut Sockets) -> Option<Seen> {
    let status = process.status().ok()?;
    let folder = proc.join(process.pid.to_string());
    let executable = process.exe().ok();
    let file = identity(&folder.join("exe")); // none: a kernel thread
    let mut served = None;
    let mut listens = false;
    for socket in sockets.of(process, proc, FDS_MAX) {
        listens |= socket.listens;
        if !socket.listens && served.is_none() {
            served = Some(Served { socket: None, local: socket.local, remote: socket.remote });
        }
    }
    let unset = |id: u32| (id != u32::MAX).then_some(id);
    let number = |file: &str| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok().and_then(unset);
    let namespace = |kind: &str| namespace_number(&folder.join("ns").join(kind));
    let orphan = stat.ppid <= 1;
    let found = ProcessSnapshot {
        task: Task {
            id: ProcessId { tgid: process.pid as u32, start: stat.starttime },
            tid: process.pid as u32,
            parent: (stat.ppid > 0).then_some(ProcessId { tgid: stat.ppid as u32, start: 0 }),
            sid: Some(stat.session as u32),
            credentials: Some(Credentials { uid: status.ruid, euid: status.euid, gid: status.rgid, egid: status.egid }),
            loginuid: number("loginuid"),
            audit_session: number("sessionid"),
            mnt_ns: namespace("mnt"),
            pid_ns: namespace("pid"),
            cgroup: None,
            comm: stat.comm.clone().into_bytes(),
            names: Names::default(),
        },
        file,
        role: Role::Other,
        ssh_connection: if orphan && executable.is_some() { ssh_connection(process) } else { None },
        args: args(&folder, executable.as_ref().map(|path| path.as_os_str().as_bytes())),
        executable: executable.map(path),
        served,
    };
    let working_directory = std::fs::read_link(folder.join("cwd")).ok().map(path);
    Some(Seen { found, listens, working_directory })
}

/// The number in a link such as `mnt:[4026531841]`.
pub fn namespace_number(link: &FsPath) -> Option<u32> {
    let target = std::fs::read_link(link).ok()?;
    let text = target.to_str()?;
    text.split(['[', ']']).nth(1)?.parse().ok()
}

/// What `file_id` says, by what the kernel holds: a file system that does not answer is not asked (AT_STATX_DONT_SYNC).
fn identity(path: &FsPath) -> Option<FileId> {
    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some(FileId { dev: found.stx_dev_major << 20 | found.stx_dev_minor, inode: found.stx_ino })
}

/// The kernel's (s_dev, inode) as stat(2) reports them.
pub fn file_id(path: &FsPath) -> Option<FileId> {
    Some(file_id_of(&std::fs::metadata(path).ok()?))
}

/// Enough of a file to see that it was replaced: its number alone is given to another one as soon as it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    dev: u64,
    inode: u64,
    size: u64,
    ctime: (i64, i64),
}

impl Stamp {
    #[cfg(test)]
    pub(super) fn of(path: &FsPath) -> Option<Self> {
        Some(Self::from(&std::fs::metadata(path).ok()?))
    }

    pub fn from(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let ctime = (metadata.ctime(), metadata.ctime_nsec());
        Self { dev: metadata.dev(), inode: metadata.ino(), size: metadata.size(), ctime }
    }

    /// Is it of this content, as the kernel knows it?
    pub fn is_of(&self, known: &FileStamp) -> bool {
        (self.size, self.ctime) == (known.size, (known.ctime.0, i64::from(known.ctime.1)))
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

pub fn file_id_of(metadata: &std::fs::Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt as _;
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    FileId { dev: major << 20 | minor, inode: metadata.ino() }
}

fn path(path: PathBuf) -> Path {
    Path { bytes: path.into_os_string().as_bytes().to_vec(), cut: false }
}

fn args(folder: &FsPath, executable: Option<&[u8]>) -> Args {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(folder.join("cmdline")) {
        // A short read is what there is.
        let _ = file.take(ARGS_MAX as u64 + 1).read_to_end(&mut bytes);
    }
    let cut = bytes.len() > ARGS_MAX;
    bytes.truncate(ARGS_MAX);
    let total = bytes.len() as u32;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    let mut list: Vec<Vec<u8>> = match bytes.is_empty() {
        true => Vec::new(),
        false => bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect(),
    };
    let redacted = redact_args(&mut list, executable);
    Args { list: list.into_iter().map(Into::into).collect(), total, cut, redacted }
}

fn ssh_connection(process: &Process) -> Option<(SocketAddr, SocketAddr)> {
    let environment = process.environ().ok()?;
    parse_ssh_connection(environment.get(OsStr::new("SSH_CONNECTION"))?.to_str()?)
}

/// `CLIENT-ADDRESS PORT SERVER-ADDRESS PORT`, as sshd sets it.
pub fn parse_ssh_connection(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = text.split(' ');
    let mut endpoint = || {
        // A link-local address has a scope: fe80::1%eth0.
        let address: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), words.next()?.parse().ok()?))
    };
    Some((endpoint()?, endpoint()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_with_its_parent() {
        let mut snapshooter = Snapshooter::new("/proc".as_ref());
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get() as u32;
        let mut seen: Vec<Seen> =
            [std::process::id(), parent].into_iter().filter_map(|pid| snapshooter.look(pid)).collect();
        in_order(&mut seen);
        let own = &seen[1].found;
        assert_eq!(own.file, file_id("/proc/self/exe".as_ref()));
        assert_eq!(own.task.credentials.unwrap().uid, rustix::process::getuid().as_raw());
        assert!(own.task.parent.is_some_and(|parent| parent.start > 0 && parent.start <= own.task.id.start));
        assert!(own.task.mnt_ns.is_some());
    }

    #[test]
    fn ssh_connection_is_parsed_or_refused() {
        let (client, server) = parse_ssh_connection("127.0.0.1 45758 ::1 22").unwrap();
        assert_eq!((client.to_string(), server.to_string()), ("127.0.0.1:45758".into(), "[::1]:22".into()));
        assert_eq!(parse_ssh_connection("127.0.0.1 x y"), None);
        assert_eq!(parse_ssh_connection(""), None);
    }
}
