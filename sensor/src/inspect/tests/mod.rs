//! The inspector with real processes, users, files and signals: as root, since it is about what root does not do.

mod files;
mod identity;
mod load;
mod slow;
mod supervision;

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::Pid,
};
use tempfile::TempDir;

use super::{trial::Trial, *};
use crate::event::stream::{Credentials, ProcessId};

const PATIENCE: Duration = Duration::from_secs(5);

/// An inspector, with replies by ticket.
struct Lab {
    inspector: Inspector,
    replies: HashMap<Ticket, Vec<Reply>>,
}

impl Lab {
    fn new() -> Self {
        Self { inspector: Inspector::start(&Options::default()).unwrap(), replies: HashMap::new() }
    }

    fn send(&mut self, subject: &Subject, trial: Trial, patience: Duration) -> Ticket {
        self.inspector.ask(subject, Question::Trial(trial), patience).unwrap()
    }

    /// Polls as the daemon does: when there is something to read or a deadline is over.
    fn turn(&mut self) {
        let deadline = self.inspector.next_deadline().unwrap_or_else(|| Instant::now() + Duration::from_millis(100));
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        poll(&mut [PollFd::new(&self.inspector, PollFlags::IN)], Some(&timeout)).unwrap();
        for reply in self.inspector.poll(Instant::now()) {
            self.replies.entry(reply.ticket).or_default().push(reply);
        }
    }

    fn wait(&mut self, ticket: Ticket) -> Reply {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.replies.contains_key(&ticket) {
            assert!(Instant::now() < until, "no reply to {ticket:?}");
            self.turn();
        }
        self.replies.remove(&ticket).unwrap().remove(0)
    }

    fn try_bytes(&mut self, subject: &Subject, trial: Trial) -> Result<Vec<u8>, Unknown> {
        let ticket = self.send(subject, trial, PATIENCE);
        match self.wait(ticket).answer? {
            Said::Answer(Answer::Trial(bytes)) => Ok(bytes),
            other => panic!("{other:?}"),
        }
    }

    fn text(&mut self, subject: &Subject, trial: Trial) -> String {
        String::from_utf8(self.try_bytes(subject, trial).unwrap()).unwrap()
    }

    fn read(&mut self, subject: &Subject, path: &Path) -> Result<Vec<u8>, Unknown> {
        self.try_bytes(subject, Trial::Read(path.to_str().unwrap().into()))
    }

    /// Processes of the inspector by their `ps` name.
    fn processes(&self, name: &str) -> Vec<u32> {
        let mut found = Vec::new();
        let mut parents = vec![self.inspector.spawner()];
        while let Some(parent) = parents.pop() {
            if fs::read_to_string(format!("/proc/{parent}/comm")).is_ok_and(|comm| comm.trim() == name) {
                found.push(parent);
            }
            let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            parents.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
        }
        found
    }

    fn kill(&self, name: &str) {
        for pid in self.processes(name) {
            rustix::process::kill_process(Pid::from_raw(pid as i32).unwrap(), rustix::process::Signal::KILL).unwrap();
        }
    }
}

/// A process of a user, for as long as the value lives.
struct User(Child);

impl User {
    fn new(uid: u32, gid: u32, groups: &str) -> Self {
        let groups = if groups.is_empty() { "--clear-groups".into() } else { format!("--groups={groups}") };
        let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
        let child = Command::new("setpriv").args([uid, gid, groups]).args(["sleep", "1000"]).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap().trim() != "sleep" {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(2));
        }
        Self(child)
    }

    fn subject(&self) -> Subject {
        subject_of(self.0.id())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the kernel's event would say of a process.
fn subject_of(pid: u32) -> Subject {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ids = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    let (uid, gid) = (ids("Uid:"), ids("Gid:"));
    let credentials = Credentials { uid: uid[0], euid: uid[1], gid: gid[0], egid: gid[1] };
    let process = ProcessId { tgid: pid, start };
    Subject { process, credentials: Some(credentials), mnt_ns: None, fallback: Vec::new() }
}

fn own() -> Subject {
    subject_of(std::process::id())
}

/// A folder that everybody may enter, with a file of an owner and mode.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn file(folder: &TempDir, name: &str, owner: (u32, u32), mode: u32) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, name).unwrap();
    std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}
