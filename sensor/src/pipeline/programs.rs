//! Probes in the programs and libraries that speak SSH: at the start, when one is executed or begins to speak, when a file is replaced, and away when no process has it any more.
//!
//! What enters: events as they come in; answers of the inspector; attachments that are done. What leaves: questions, programs for the attacher, and facts: what an executable is (`What::Program`), what
//! cannot be probed (`Degraded`), and `Readable` for a process whose library was new, so that a connection which had its keys by then is known to be missed and not taken for one that cannot be read.
//! An event waits until what it shows to be new is examined and probed: its connection's records say how much of it could be read.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::OsStr,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    asking::{self, Asking, Purpose},
    attacher::{Attacher, Attachment},
    gate::{Gate, Wait},
};
use crate::{
    event::{
        ssh::{ConnectionId, Message},
        stream::{Connect, Degraded, Event, Exec, FileId, Probe, ProcessId, Role, Task, What},
    },
    host::{
        examine::{Examined, Program},
        holders::Probed,
        identity,
        libraries::Call,
        speakers::Speakers,
    },
    inspect::{
        Answer, Question, Said, Subject, Survey, Unknown,
        questions::{Candidate, Range, Where},
    },
};

/// Mapped libraries that were examined; a host with more starts over.
const MAPPED_MAX: usize = 16_384;
/// Executables whose role is known; likewise.
const ROLES_MAX: usize = 16_384;
/// Files in one question: an answer has room for as many descriptors, and a worker a deadline for all of them.
const EXAMINED_AT_ONCE: usize = 4;

/// A question about programs.
pub(super) struct Wanted {
    subject: Subject,
    group: u64,
    about: About,
}

enum About {
    Executable(Executable),
    /// `watched`: they are the host's own, and their folders are watched for their successors.
    Candidates { watched: bool },
    Ranges,
    Mapped { ranges: Vec<MappedFile> },
    Files { files: Vec<FileId>, watched: bool },
}

/// What a process executes.
struct Executable {
    /// As the kernel calls it.
    file: FileId,
    name: PathBuf,
    /// It may be a server: its role is a fact that the event needs.
    served: bool,
    /// The process is gone: its file is looked for by its name.
    at_its_path: bool,
}

/// A file by its number in a process's maps, and its name.
type MappedFile = (FileId, PathBuf);

/// What belongs to one event, or to the start: questions and attachments that are not done.
#[derive(Default)]
struct Group {
    wait: Option<Wait>,
    process: Option<ProcessId>,
    time: u64,
    open: usize,
    before: Vec<Event>,
    /// A library of the process was probed.
    readable: bool,
}

pub(super) struct Programs {
    speakers: Speakers,
    callers: Callers,
    groups: HashMap<u64, Group>,
    next: u64,
    attachments: HashMap<Attachment, u64>,
    /// What executables are.
    roles: HashMap<FileId, Role>,
    /// Libraries that were examined where they were mapped.
    mapped: HashSet<MappedFile>,
    host_ns: Option<u32>,
    probes: Vec<Probe>,
    /// The probes of the start were recorded.
    started: bool,
    /// The limit of probed files was reported.
    full: bool,
}

/// Where everything that is asked and answered goes.
pub(super) struct Hands<'a> {
    pub gate: &'a mut Gate,
    pub asking: &'a mut Asking,
    pub attacher: &'a mut Attacher,
    /// Events that wait for nothing.
    pub out: &'a mut Vec<Event>,
}

impl Programs {
    pub(super) fn new(host_ns: Option<u32>) -> Self {
        Self {
            speakers: Speakers::new(),
            callers: Callers::default(),
            groups: HashMap::new(),
            next: 0,
            attachments: HashMap::new(),
            roles: HashMap::new(),
            mapped: HashSet::new(),
            host_ns,
            probes: Vec::new(),
            started: false,
            full: false,
        }
    }

    /// The host's own places.
    pub(super) fn begin(&mut self, hands: &mut Hands) {
        let group = self.group(None, None, 0);
        self.want(asking::host(0), group, About::Candidates { watched: true }, Question::Candidates(Where::Usual), hands);
        self.done_with(group, hands);
    }

    /// A process that is there at the start: what it executes and has mapped.
    pub(super) fn present(&mut self, task: &Task, file: Option<FileId>, name: &Path, hands: &mut Hands) {
        let Some(file) = file else { return };
        let group = self.group(None, None, 0);
        let subject = asking::subject(task, self.host_ns);
        if !self.speakers.is_seen(file, None) {
            self.speakers.seen(file, None);
            let about = About::Executable(Executable { file, name: name.into(), served: false, at_its_path: false });
            let question = Question::ExamineExecutable { name: name.into() };
            self.want_later(subject.clone(), group, about, question, hands);
        }
        self.want_later(subject, group, About::Ranges, Question::Ranges, hands);
        self.done_with(group, hands);
    }

    /// Is anything of the start not done yet?
    pub(super) fn is_busy(&self) -> bool {
        !self.groups.is_empty()
    }

    pub(super) fn role(&self, file: FileId) -> Option<Role> {
        self.roles.get(&file).copied()
    }

    /// What was probed, and what was not, at the start.
    pub(super) fn take_probes(&mut self) -> Vec<Probe> {
        self.started = true;
        std::mem::take(&mut self.probes)
    }

    /// Asks for what an event shows to be new.
    pub(super) fn observe(&mut self, event: &Event, waits: &mut Vec<Wait>, hands: &mut Hands) {
        match &event.what {
            What::Exec(exec) => self.executed(event.time, exec, waits, hands),
            What::Connect(connect) => self.callers.remember(connect),
            What::Ssh(packet) if matches!(packet.message, Message::Identification(_)) => {
                let Some(task) = self.callers.of(packet.connection).cloned() else { return };
                let group = self.waiting(event.time, task.id, waits, hands);
                let subject = asking::subject(&task, self.host_ns);
                self.want(subject, group, About::Ranges, Question::Ranges, hands);
                self.done_with(group, hands);
            }
            _ => {}
        }
    }

    fn executed(&mut self, time: u64, exec: &Exec, waits: &mut Vec<Wait>, hands: &mut Hands) {
        let Some(file) = exec.file else { return };
        let name = exec.executable.as_ref().map(|path| path_of(&path.bytes)).unwrap_or_default();
        let served = exec.served.is_some();
        let fresh = !self.speakers.is_seen(file, None);
        // An interpreter takes its libraries from where it was started: they may be new though it is not.
        let call = Call::of(exec);
        if !fresh && call.is_none() {
            if served && let Some(role) = self.role(file) {
                hands.gate.push(Event { time, what: What::Program { file, role } }, &[], Instant::now());
            }
            return;
        }
        let subject = asking::subject(&exec.task, self.host_ns);
        let group = self.waiting(time, exec.task.id, waits, hands);
        if fresh {
            self.speakers.seen(file, None);
            let about = About::Executable(Executable { file, name: name.clone(), served, at_its_path: false });
            self.want(subject.clone(), group, about, Question::ExamineExecutable { name }, hands);
        }
        if let Some(call) = call {
            let question = Question::Candidates(Where::Interpreter(call));
            self.want(subject, group, About::Candidates { watched: false }, question, hands);
        }
        self.done_with(group, hands);
    }

    /// An answer about programs.
    pub(super) fn answered(
        &mut self,
        wanted: Wanted,
        said: Result<Said, Unknown>,
        descriptors: Vec<OwnedFd>,
        hands: &mut Hands,
    ) {
        let Wanted { subject, group, about } = wanted;
        let answer = said.ok().and_then(|said| if let Said::Answer(answer) = said { Some(answer) } else { None });
        match (about, answer) {
            (About::Candidates { watched }, Some(Answer::Candidates(found))) => {
                self.candidates(found, watched, &subject, group, hands);
            }
            (About::Ranges, Some(Answer::Ranges(found))) => self.ranges(found, subject, group, hands),
            (About::Files { watched, .. }, Some(Answer::Examined(found))) => {
                self.examined(found, descriptors, None, watched, group, hands);
            }
            (About::Mapped { .. }, Some(Answer::Examined(found))) => {
                self.examined(found, descriptors, None, false, group, hands);
            }
            (About::Files { files, .. }, _) => files.into_iter().for_each(|file| self.speakers.unseen(file)),
            (About::Mapped { ranges }, _) => ranges.iter().for_each(|range| drop(self.mapped.remove(range))),
            (About::Executable(executable), Some(Answer::Examined(found))) if !found.is_empty() => {
                self.executable(&executable, found, descriptors, subject, group, hands);
            }
            (About::Executable(executable), _) => self.unreadable(executable, subject, group, hands),
            (About::Candidates { .. } | About::Ranges, _) => {}
        }
        self.done_with(group, hands);
    }

    fn executable(
        &mut self,
        executable: &Executable,
        found: Vec<Examined>,
        descriptors: Vec<OwnedFd>,
        subject: Subject,
        group: u64,
        hands: &mut Hands,
    ) {
        let Executable { file, served, .. } = *executable;
        let role = found.first().map_or(Role::Other, |examined| examined.role);
        if self.roles.len() >= ROLES_MAX {
            self.roles.clear();
        }
        self.roles.insert(file, role);
        if served {
            self.before(group, |time| Event { time, what: What::Program { file, role } });
        }
        if self.examined(found, descriptors, Some(file), false, group, hands) {
            // Its siblings in the same root: sshd executes them for the next connection.
            let beside = self.group(None, None, 0);
            let question = Question::Candidates(Where::OpenSsh);
            self.want(subject, beside, About::Candidates { watched: false }, question, hands);
            self.done_with(beside, hands);
        }
    }

    /// What a process executes could not be examined: it is gone, or what it executes is on a file system that does not answer.
    fn unreadable(&mut self, executable: Executable, subject: Subject, group: u64, hands: &mut Hands) {
        let Executable { file, name, served, at_its_path } = executable;
        self.speakers.unseen(file);
        if !served {
            return;
        }
        if let Some(role) = self.role(file) {
            self.before(group, |time| Event { time, what: What::Program { file, role } });
        } else if !at_its_path && name.is_absolute() {
            let question = Question::Examine(vec![(name.clone(), false)]);
            let about = About::Executable(Executable { file, name, served, at_its_path: true });
            self.want(subject, group, about, question, hands);
        } else {
            let degraded = Degraded {
                what: format!("executable {} (inode {})", name.display(), file.inode),
                why: "it serves a TCP connection, but cannot be read".into(),
                effect: "if it is an SSH server, this session is not recognised".into(),
            };
            self.before(group, |time| Event { time, what: What::Degraded(degraded) });
        }
    }

    fn candidates(&mut self, found: Vec<Candidate>, watched: bool, subject: &Subject, group: u64, hands: &mut Hands) {
        let mut fresh = Vec::new();
        for Candidate { file, stamp, name, is_library } in found {
            if !self.speakers.is_seen(file, Some(&stamp)) {
                self.speakers.seen(file, Some(stamp));
                fresh.push((file, (name, is_library)));
            }
        }
        for chunk in fresh.chunks(EXAMINED_AT_ONCE) {
            let (files, paths) = chunk.iter().cloned().unzip();
            self.want(subject.clone(), group, About::Files { files, watched }, Question::Examine(paths), hands);
        }
    }

    fn ranges(&mut self, found: Vec<Range>, subject: Subject, group: u64, hands: &mut Hands) {
        if self.mapped.len() >= MAPPED_MAX {
            self.mapped.clear();
        }
        let key = |range: &Range| (range.file, range.name.clone());
        let fresh: Vec<Range> = found.into_iter().filter(|range| self.mapped.insert(key(range))).collect();
        for chunk in fresh.chunks(EXAMINED_AT_ONCE) {
            let about = About::Mapped { ranges: chunk.iter().map(key).collect() };
            self.want(subject.clone(), group, about, Question::ExamineMapped(chunk.to_vec()), hands);
        }
    }

    /// Files were examined: those that speak SSH go to the attacher. True: there was one.
    fn examined(
        &mut self,
        found: Vec<Examined>,
        descriptors: Vec<OwnedFd>,
        named: Option<FileId>,
        watched: bool,
        group: u64,
        hands: &mut Hands,
    ) -> bool {
        let mut descriptors = descriptors.into_iter();
        let mut any = false;
        for examined in found {
            let open = examined.speaks.as_ref().and_then(|_| descriptors.next());
            if let Some(program) = self.speakers.learn(examined, open, named, watched) {
                any = true;
                let attachment = hands.attacher.probe(program);
                self.attachments.insert(attachment, group);
                self.hold(group);
            }
        }
        if self.speakers.take_refused() > 0 && !std::mem::replace(&mut self.full, true) {
            hands.out.push(degraded("SSH in further programs", "as many files are probed as may be", identity::boot_time()));
        }
        any
    }

    /// An attachment is done.
    pub(super) fn attached(
        &mut self,
        attachment: Attachment,
        program: &Program,
        failed: Option<String>,
        hands: &mut Hands,
    ) {
        let Some(group) = self.attachments.remove(&attachment) else { return };
        if let Some(group) = self.groups.get_mut(&group) {
            group.readable |= failed.is_none() && program.is_library;
        }
        if let Some(why) = &failed {
            hands.out.push(degraded(&format!("SSH in {}", program.name), why, identity::boot_time()));
        }
        let state = if failed.is_none() { "attached" } else { "missing" };
        tracing::debug!(program = program.name, state, "a program that speaks SSH");
        if !self.started {
            let (name, target) = ("cipher".into(), program.name.clone());
            self.probes.push(Probe { name, target, state: state.into(), why: failed });
        }
        self.done_with(group, hands);
    }

    /// A program that is replaced is probed before it is executed; one that is written to in place is released.
    pub(super) fn follow_upgrades(&mut self, hands: &mut Hands) {
        let changes = self.speakers.changes();
        for file in changes.written {
            self.speakers.forget(file);
            hands.attacher.release(file);
        }
        for path in changes.replaced {
            let group = self.group(None, None, 0);
            let about = About::Files { files: Vec::new(), watched: true };
            self.want(asking::host(0), group, about, Question::Examine(vec![(path, false)]), hands);
            self.done_with(group, hands);
        }
    }

    /// Readable when a file in a watched folder was replaced.
    pub(super) fn notify(&self) -> Option<BorrowedFd<'_>> {
        self.speakers.notify()
    }

    /// Asks which probed files no process has any more.
    pub(super) fn sweep(&self, asking: &mut Asking) {
        let doubtful: Vec<Probed> = self.speakers.doubtful();
        if !doubtful.is_empty() {
            asking.survey(Survey::Gone(doubtful), Purpose::Gone);
        }
    }

    /// The answer.
    pub(super) fn gone(&mut self, files: Vec<FileId>, attacher: &Attacher) {
        for file in files {
            // Under another number it would be probed beside what is still on its way out.
            if self.speakers.forget(file) {
                attacher.release(file);
            } else {
                attacher.retire(file);
            }
        }
    }

    fn group(&mut self, wait: Option<Wait>, process: Option<ProcessId>, time: u64) -> u64 {
        self.next += 1;
        let group = Group { wait, process, time, open: 1, before: Vec::new(), readable: false };
        self.groups.insert(self.next, group);
        self.next
    }

    /// A group for which an event waits.
    fn waiting(&mut self, time: u64, process: ProcessId, waits: &mut Vec<Wait>, hands: &mut Hands) -> u64 {
        let wait = hands.gate.wait();
        waits.push(wait);
        self.group(Some(wait), Some(process), time)
    }

    fn hold(&mut self, group: u64) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.open += 1;
        }
    }

    fn want(&mut self, subject: Subject, group: u64, about: About, question: Question, hands: &mut Hands) {
        self.hold(group);
        let purpose = Purpose::Program(Wanted { subject: subject.clone(), group, about });
        hands.asking.ask(&subject, question, purpose);
    }

    fn want_later(&mut self, subject: Subject, group: u64, about: About, question: Question, hands: &mut Hands) {
        self.hold(group);
        let purpose = Purpose::Program(Wanted { subject: subject.clone(), group, about });
        hands.asking.ask_later(subject, question, purpose);
    }

    fn before(&mut self, group: u64, event: impl FnOnce(u64) -> Event) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.before.push(event(group.time));
        }
    }

    /// One thing of a group is done; with the last of them the event that waits may pass.
    fn done_with(&mut self, number: u64, hands: &mut Hands) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        group.open -= 1;
        if group.open > 0 {
            return;
        }
        let Some(Group { wait, process, time, before, readable, .. }) = self.groups.remove(&number) else { return };
        let since = identity::boot_time();
        let readable = process.filter(|_| readable).map(|process| What::Readable(process, since));
        let after: Vec<Event> = readable.map(|what| Event { time, what }).into_iter().collect();
        match wait {
            Some(wait) => hands.out.extend(hands.gate.settle(wait, before, after)),
            None => hands.out.extend(before.into_iter().chain(after)),
        }
    }
}

fn degraded(what: &str, why: &str, time: u64) -> Event {
    let degraded = Degraded {
        what: what.into(),
        why: why.into(),
        effect:
            "its sessions are known by their connections and processes only: no authentications, commands and channels"
                .into(),
    };
    Event { time, what: What::Degraded(degraded) }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Who made the latest connections: SSH begins right after.
#[derive(Default)]
struct Callers(VecDeque<(ConnectionId, Task)>);

/// A burst of connections between two drains.
const CALLERS_MAX: usize = 256;

impl Callers {
    fn remember(&mut self, connect: &Connect) {
        if self.0.len() >= CALLERS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((connect.socket, connect.task.clone()));
    }

    fn of(&self, connection: ConnectionId) -> Option<&Task> {
        self.0.iter().rev().find(|(socket, _)| *socket == connection).map(|(_, task)| task)
    }
}
