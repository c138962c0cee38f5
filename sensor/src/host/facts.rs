//! Facts that an event needs, told before it: names of users, paths of cgroups, what a program is.
//!
//! Each fact is looked up once and kept until `forget` (SIGHUP) or, for programs, until the file behind it changes. A
//! process may be gone before we look: a user's name then comes from another process of the same mount namespace, and
//! what its program is from the file at its path, if that is the same file; other facts stay unknown until another
//! process needs them.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use super::{
    inside, program,
    snapshot::{Stamp, file_id_of},
};
use crate::event::stream::{Degraded, Event, Exec, FileId, ProcessSnapshot, Role, Task, EventKind};

/// Larger passwd files are read this far.
const PASSWD_MAX: u64 = 4 << 20;
/// Entries kept per kind of fact; a host with more starts over.
const KEPT_MAX: usize = 16_384;

/// Looks up facts and remembers which were told.
pub struct Facts {
    proc: PathBuf,
    users: HashSet<(u32, u32)>,
    cgroups: HashSet<u64>,
    programs: HashMap<FileId, (Option<Stamp>, Role)>,
}

impl Facts {
    pub fn new(proc: &Path) -> Self {
        Self { proc: proc.into(), users: HashSet::new(), cgroups: HashSet::new(), programs: HashMap::new() }
    }

    /// Names may have changed: look them up again when they are needed.
    pub fn forget(&mut self) {
        self.users.clear();
        self.cgroups.clear();
    }

    /// Pushes the facts that `event` needs and that were not told yet.
    pub fn tell(&mut self, event: &Event, out: &mut Vec<Event>) {
        let time = event.time;
        match &event.what {
            EventKind::Exec(exec) => {
                self.task(time, &exec.task, out);
                if let (Some(file), true) = (exec.file, exec.served.is_some()) {
                    self.program(time, exec, file, out);
                }
            }
            EventKind::ProcessSnapshot(found) => {
                self.task(time, &found.task, out);
                self.server_found(time, found, out);
            }
            EventKind::Connect(connect) => self.task(time, &connect.task, out),
            EventKind::Exit(exit) => self.user(time, &exit.task, out),
            _ => {}
        }
    }

    fn task(&mut self, time: u64, task: &Task, out: &mut Vec<Event>) {
        self.user(time, task, out);
        if let Some(id) = task.cgroup
            && bounded_insert(&mut self.cgroups, id)
        {
            match cgroup_path(&self.proc, task.id.tgid) {
                Some(path) => out.push(Event { time, what: EventKind::Cgroup { id, path: path.into() } }),
                None => drop(self.cgroups.remove(&id)),
            }
        }
    }

    fn user(&mut self, time: u64, task: &Task, out: &mut Vec<Event>) {
        let Some(mnt_ns) = task.mnt_ns else { return };
        let ids = [task.credentials.map(|c| c.uid), task.credentials.map(|c| c.euid), task.loginuid];
        let wanted: Vec<u32> = ids.into_iter().flatten().filter(|uid| !self.users.contains(&(mnt_ns, *uid))).collect();
        if wanted.is_empty() {
            return;
        }
        // One reading tells every name of that file; what is not in it is not asked for again.
        let Some(names) = inside::root_of(&self.proc, mnt_ns, task).and_then(|root| passwd(&root)) else { return };
        for uid in wanted {
            if bounded_insert(&mut self.users, (mnt_ns, uid))
                && let Some(name) = names.get(&uid)
            {
                out.push(Event { time, what: EventKind::User { mnt_ns, uid, name: name.as_str().into() } });
            }
        }
    }

    /// A server that is running: what it executes for a connection is, as a rule, itself, and that can be gone before
    /// we look.
    fn server_found(&mut self, time: u64, found: &ProcessSnapshot, out: &mut Vec<Event>) {
        let Some(file) = found.file.filter(|file| found.role.is_server() && !self.programs.contains_key(file)) else {
            return;
        };
        let stamp = Stamp::of(&self.proc.join(found.task.id.tgid.to_string()).join("exe"));
        self.learn(time, file, stamp, found.role, out);
    }

    fn program(&mut self, time: u64, exec: &Exec, file: FileId, out: &mut Vec<Event>) {
        let tgid = exec.task.id.tgid;
        let exe = self.proc.join(tgid.to_string()).join("exe");
        let stamp = Stamp::of(&exe);
        match self.programs.get(&file) {
            // Gone already: what the same file was a moment ago is the best answer.
            Some((known, _)) if *known == stamp || stamp.is_none() => return,
            _ => {}
        }
        let role = File::open(&exe).or_else(|error| self.at_its_path(exec, file).ok_or(error));
        match role.and_then(program::classify_open) {
            Ok(role) => self.learn(time, file, stamp, role, out),
            Err(error) => out.push(Event {
                time,
                what: EventKind::Degraded(Degraded {
                    what: format!("executable of process {tgid} (inode {})", file.inode),
                    why: format!("it serves a TCP connection, but cannot be read: {error}"),
                    effect: "if it is an SSH server, this session is not recognised".into(),
                }),
            }),
        }
    }

    /// The file that a process executed, which is gone itself.
    fn at_its_path(&self, exec: &Exec, file: FileId) -> Option<File> {
        let path = exec.executable.as_ref().filter(|path| !path.cut)?;
        let root = inside::root_of(&self.proc, exec.task.mnt_ns?, &exec.task)?;
        let found = inside::open(&root, std::str::from_utf8(&path.bytes).ok()?).ok()?;
        (file_id_of(&found.metadata().ok()?) == file).then_some(found)
    }

    fn learn(&mut self, time: u64, file: FileId, stamp: Option<Stamp>, role: Role, out: &mut Vec<Event>) {
        if self.programs.len() >= KEPT_MAX {
            self.programs.clear();
        }
        self.programs.insert(file, (stamp, role));
        out.push(Event { time, what: EventKind::Program { file, role } });
    }
}

fn bounded_insert<T: Eq + std::hash::Hash>(set: &mut HashSet<T>, value: T) -> bool {
    if set.len() >= KEPT_MAX {
        set.clear();
    }
    set.insert(value)
}

/// The v2 path in /proc/PID/cgroup.
fn cgroup_path(proc: &Path, tgid: u32) -> Option<String> {
    let text = fs::read_to_string(proc.join(tgid.to_string()).join("cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// Names by uid of the passwd file under a process's root; the first entry of a uid counts, as for getpwuid(3).
fn passwd(root: &Path) -> Option<HashMap<u32, String>> {
    let file = inside::open(root, "/etc/passwd").ok()?;
    let mut names = HashMap::new();
    for line in BufReader::new(file.take(PASSWD_MAX)).split(b'\n') {
        let line = line.ok()?;
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(_), Some(uid)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let uid = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok());
        if let (Some(uid), Ok(name)) = (uid, std::str::from_utf8(name)) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::stream::ProcessId, host::snapshot::file_id};

    #[test]
    fn root_is_found_in_the_passwd_file() {
        assert_eq!(passwd("/".as_ref()).unwrap().get(&0).map(String::as_str), Some("root"));
    }

    /// An exec of this test's program, by a process that is gone.
    fn exec_of_nobody() -> Exec {
        let own = std::env::current_exe().unwrap().canonicalize().unwrap();
        let found = crate::host::snapshot::take("/proc".as_ref()).unwrap().processes;
        let own_task = found.into_iter().find(|found| found.task.id.tgid == std::process::id()).unwrap().task;
        let task = Task { id: ProcessId { tgid: u32::MAX, start: 1 }, ..own_task };
        let executable =
            Some(crate::event::stream::Path { bytes: own.as_os_str().as_encoded_bytes().into(), cut: false });
        Exec {
            task,
            file: file_id(&own),
            executable,
            working_directory: None,
            args: crate::event::stream::Args::default(),
            argc: 0,
            served: None,
            role: None,
            thread: None,
            stamp: None,
        }
    }

    #[test]
    fn a_program_is_known_though_its_process_is_gone() {
        let (mut exec, mut facts, mut out) = (exec_of_nobody(), Facts::new("/proc".as_ref()), Vec::new());
        let file = exec.file.unwrap();
        facts.program(1, &exec, file, &mut out);
        assert_eq!(out, [Event { time: 1, what: EventKind::Program { file, role: Role::Other } }]);
        // At its path is another file now.
        let (other, mut out) = (FileId { inode: file.inode + 1, ..file }, Vec::new());
        exec.file = Some(other);
        facts.program(1, &exec, other, &mut out);
        assert!(matches!(&out[..], [Event { what: EventKind::Degraded(_), .. }]), "{out:?}");
    }

    #[test]
    fn a_link_does_not_lead_out_of_a_root() {
        let root = std::env::temp_dir().join(format!("sensor-passwd-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("etc/passwd")).unwrap();
        // Inside that root the link names itself.
        assert!(passwd(&root).is_none());
        fs::remove_dir_all(&root).unwrap();
    }
}
