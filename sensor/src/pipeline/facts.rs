//! Facts that an event needs: names of users, paths of cgroups.
//!
//! What enters: tasks of events. What leaves: questions about names, facts for the stream. Names come from passwd
//! files: of a mount namespace whose file is the host's own they are names (`EventKind::User`); of any other they are
//! claims of the user who wrote that file (`EventKind::ContainerUser`), since a user can make a namespace with a passwd
//! file of their own. The user who logged in (the audit id) is known to the host alone. Each name is asked for once and
//! kept until `forget` (SIGHUP); one that could not be found out is asked for again after a while.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashSet};

use super::{
    asking::Asking,
    gate::{Gate, Wait},
    purpose::{Named, Purpose},
};
use crate::{
    enrich::KEPT_MAX,
    event::stream::{Event, EventKind, FileId, ProcessId, Task},
    inspect::{Answer, Names, Question, Said, Subject, Unknown},
};

/// Until a name that could not be found out is asked for again.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Facts {
    proc: PathBuf,
    /// The host's own mount namespace, and its passwd file.
    host_ns: Option<u32>,
    passwd: Option<FileId>,
    /// Asked for: never again, or not before.
    users: HashMap<(u32, u32), Option<Instant>>,
    cgroups: HashSet<u64>,
    /// In which mount namespace processes were last seen, other than the host's.
    inside: HashMap<ProcessId, u32>,
    /// Of such a namespace the process that was seen first, and the one that was seen last: they stand in for one that
    /// has ended.
    members: HashMap<u32, [ProcessId; 2]>,
}

impl Facts {
    pub(super) fn new(proc: &Path, host_ns: Option<u32>) -> Self {
        Self {
            proc: proc.into(),
            host_ns,
            passwd: None,
            users: HashMap::default(),
            cgroups: HashSet::default(),
            inside: HashMap::default(),
            members: HashMap::default(),
        }
    }

    pub(super) fn host_ns(&self) -> Option<u32> {
        self.host_ns
    }

    /// Names may have changed: look them up again when they are needed.
    pub(super) fn forget(&mut self) {
        self.users.clear();
        self.cgroups.clear();
    }

    /// Asks for the host's own passwd file: its identity, and root's name.
    pub(super) fn begin(&mut self, asking: &mut Asking) {
        let Some(mnt_ns) = self.host_ns else { return };
        let named = Named { mnt_ns, uids: vec![0], wait: None };
        self.users.insert((mnt_ns, 0), None);
        asking.ask(&asking.of_host(0), Question::Names { uids: vec![0] }, Purpose::Names(named));
    }

    /// Asks for what an event needs; what it is to wait for. Facts that are had at once go before it.
    pub(super) fn want(&mut self, event: &Event, gate: &mut Gate, asking: &mut Asking, waits: &mut Vec<Wait>) {
        let task = match &event.what {
            EventKind::Exec(exec) => &exec.task,
            EventKind::ProcessSnapshot(found) => &found.task,
            EventKind::Connect(connect) => &connect.task,
            EventKind::Exit(exit) => &exit.task,
            _ => return,
        };
        // Of a kernel thread, and of one that may not be looked at, the root cannot be had.
        let lends = match &event.what {
            EventKind::ProcessSnapshot(found) => found.executable.is_some(),
            _ => true,
        };
        self.entered(task, matches!(event.what, EventKind::Exit(_)), lends);
        // Of a process that has ended nothing is asked: another one's event will.
        let ends = matches!(event.what, EventKind::Exit(_)) && task.mnt_ns != self.host_ns;
        if !ends {
            self.names(task, gate, asking, waits);
        }
        if !matches!(event.what, EventKind::Exit(_)) {
            self.cgroup(event.time, task, gate);
        }
    }

    /// A process that is seen in another namespace than before, or than its parent: the number may be that of one that
    /// is gone, with another passwd file. What was known by it is asked for again.
    fn entered(&mut self, task: &Task, ends: bool, lends: bool) {
        let now = task.mnt_ns.filter(|mnt_ns| Some(*mnt_ns) != self.host_ns);
        let before = self.inside.get(&task.id).or_else(|| self.inside.get(task.parent.as_ref()?)).copied();
        if ends || now.is_none() {
            self.inside.remove(&task.id);
            if let Some([first, last]) = now.and_then(|mnt_ns| self.members.get_mut(&mnt_ns))
                && *first == task.id
            {
                *first = *last;
            }
            return;
        }
        let Some(mnt_ns) = now else { return };
        if before != now {
            self.users.retain(|(known, _), _| *known != mnt_ns);
        }
        if self.inside.len() >= KEPT_MAX {
            self.inside.clear();
        }
        self.inside.insert(task.id, mnt_ns);
        if !lends {
            return;
        }
        if self.members.len() >= KEPT_MAX {
            self.members.clear();
        }
        let [_, last] = self.members.entry(mnt_ns).or_insert([task.id; 2]);
        *last = task.id;
    }

    fn names(&mut self, task: &Task, gate: &mut Gate, asking: &mut Asking, waits: &mut Vec<Wait>) {
        if let Some(mnt_ns) = task.mnt_ns {
            let ids = [task.credentials.map(|c| c.uid), task.credentials.map(|c| c.euid)];
            let wanted = self.unknown(mnt_ns, ids.into_iter().flatten());
            if !wanted.is_empty() {
                let subject = match self.host_ns == Some(mnt_ns) {
                    true => asking.of_host(0),
                    false => self.stand_ins(mnt_ns, asking.subject(task)),
                };
                ask(mnt_ns, wanted, &subject, gate, asking, waits);
            }
        }
        if let Some(host_ns) = self.host_ns {
            let wanted = self.unknown(host_ns, task.loginuid.into_iter());
            if !wanted.is_empty() {
                ask(host_ns, wanted, &asking.of_host(0), gate, asking, waits);
            }
        }
    }

    /// Other processes of the namespace have the same passwd file.
    fn stand_ins(&self, mnt_ns: u32, mut subject: Subject) -> Subject {
        let members = self.members.get(&mnt_ns).into_iter().flatten();
        subject.fallback.extend(members.filter(|member| **member != subject.process));
        subject
    }

    fn unknown(&mut self, mnt_ns: u32, uids: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut wanted: Vec<u32> = uids
            .filter(|uid| match self.users.get(&(mnt_ns, *uid)) {
                None => true,
                Some(again) => again.is_some_and(|again| again <= Instant::now()),
            })
            .collect();
        wanted.dedup();
        if wanted.is_empty() {
            return wanted;
        }
        if self.users.len() >= KEPT_MAX {
            self.users.clear();
        }
        self.users.extend(wanted.iter().map(|uid| ((mnt_ns, *uid), None)));
        wanted
    }

    /// An answer about names: the facts.
    pub(super) fn named(&mut self, time: u64, named: &Named, said: Result<Said, Unknown>) -> Vec<Event> {
        let Ok(Said::Answer(Answer::Names(Names { file, names, .. }))) = said else {
            // Too late is no answer about the file: the next process is asked.
            let again = Instant::now() + if matches!(said, Err(Unknown::Gone)) { Duration::ZERO } else { AGAIN };
            self.users.extend(named.uids.iter().map(|uid| ((named.mnt_ns, *uid), Some(again))));
            return Vec::new();
        };
        let of_host = self.host_ns == Some(named.mnt_ns);
        if of_host {
            self.passwd = Some(file);
        }
        let is_own = of_host || self.passwd == Some(file);
        let nameless = named.uids.iter().filter(|uid| !is_own && !names.iter().any(|(known, _)| known == *uid));
        // A claim of an earlier namespace with this number does not hold any more.
        let nameless: Vec<(u32, String)> = nameless.map(|uid| (*uid, String::new())).collect();
        let fact = |(uid, name): (u32, String)| {
            let (mnt_ns, name) = (named.mnt_ns, name.into());
            let what = match is_own {
                true => EventKind::User { mnt_ns, uid, name },
                false => EventKind::ContainerUser { mnt_ns, uid, name },
            };
            Event { time, what }
        };
        names.into_iter().chain(nameless).map(fact).collect()
    }

    fn cgroup(&mut self, time: u64, task: &Task, gate: &mut Gate) {
        let Some(id) = task.cgroup else { return };
        if self.cgroups.contains(&id) {
            return;
        }
        // A file of the kernel's, which waits for no user.
        let Some(path) = cgroup_path(&self.proc, task.id.tgid) else { return };
        if self.cgroups.len() >= KEPT_MAX {
            self.cgroups.clear();
        }
        self.cgroups.insert(id);
        gate.push(Event { time, what: EventKind::Cgroup { id, path: path.into() } }, &[], Instant::now());
    }
}

fn ask(mnt_ns: u32, uids: Vec<u32>, subject: &Subject, gate: &mut Gate, asking: &mut Asking, waits: &mut Vec<Wait>) {
    let wait = gate.wait();
    waits.push(wait);
    let named = Named { mnt_ns, uids: uids.clone(), wait: Some(wait) };
    asking.ask(subject, Question::Names { uids }, Purpose::Names(named));
}

/// The v2 path in /proc/PID/cgroup.
fn cgroup_path(proc: &Path, tgid: u32) -> Option<String> {
    let text = fs::read_to_string(proc.join(tgid.to_string()).join("cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}
