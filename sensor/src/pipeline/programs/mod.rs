//! Probes in the programs and libraries that speak SSH: at the start, when one is executed or begins to speak, when a
//! file is replaced, and away when no process has it any more.
//!
//! What enters: events as they come in; answers of the inspector; attachments that are done. What leaves: questions,
//! programs for the attacher, and facts: what an executable is (`EventKind::Program`), what cannot be probed
//! (`Degraded`), and `Readable` for a process whose library was new, so that a connection which had its keys by then is
//! known to be missed and not taken for one that cannot be read. An event waits until what it shows to be new is
//! examined and probed: its connection's records say how much of it could be read.

mod answers;
mod callers;

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    asking::Asking,
    attacher::{Attacher, Attachment},
    gate::{Gate, Wait},
    purpose::{About, Executable, MappedFile, Purpose, Wanted},
};
use crate::{
    event::{
        ssh::Message,
        stream::{Degraded, Event, EventKind, Exec, FileId, FileStamp, Probe, ProcessId, Role, Task},
    },
    host::{holders::Probed, identity, libraries::Call, ssh_binaries::SshBinaries},
    inspect::{Question, Subject, Survey, Where},
};
use callers::Callers;

/// Mapped libraries that were examined; a host with more starts over.
const MAPPED_MAX: usize = 16_384;
/// Executables; likewise.
const EXECUTABLES_MAX: usize = 16_384;
/// Limits that are reported: one for each user.
const LIMITS_MAX: usize = 256;
/// Files in one question: an answer has room for as many descriptors, and a worker a deadline for all of them.
const EXAMINED_AT_ONCE: usize = 4;

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
    speakers: SshBinaries,
    callers: Callers,
    groups: HashMap<u64, Group>,
    next: u64,
    attachments: HashMap<Attachment, u64>,
    /// Executables that were examined, or are being: which content, and what it is.
    executables: HashMap<FileId, (Option<FileStamp>, Option<Role>)>,
    /// Libraries that were examined where they were mapped.
    mapped: HashSet<MappedFile>,
    probes: Vec<Probe>,
    /// The probes of the start were recorded.
    started: bool,
    /// Limits of probed files that were reported.
    limits: HashSet<String>,
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
    pub(super) fn new() -> Self {
        Self {
            speakers: SshBinaries::new(),
            callers: Callers::default(),
            groups: HashMap::new(),
            next: 0,
            attachments: HashMap::new(),
            executables: HashMap::new(),
            mapped: HashSet::new(),
            probes: Vec::new(),
            started: false,
            limits: HashSet::new(),
        }
    }

    /// The host's own places.
    pub(super) fn begin(&mut self, hands: &mut Hands) {
        let group = self.group(None, None, 0);
        self.want(
            &hands.asking.of_host(0),
            group,
            About::Candidates { watched: true },
            Question::Candidates(Where::Usual),
            hands,
        );
        self.done_with(group, hands);
    }

    /// A process that is there at the start: what it executes and has mapped.
    pub(super) fn present(&mut self, task: &Task, file: Option<FileId>, name: &Path, hands: &mut Hands) {
        let Some(file) = file else { return };
        let group = self.group(None, None, 0);
        let subject = hands.asking.subject(task);
        if self.is_fresh(file, None) {
            let about = About::Executable(Executable::new(file, name.into(), false, None));
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
        self.executables.get(&file).and_then(|(_, role)| *role)
    }

    /// What was probed, and what was not, at the start.
    pub(super) fn take_probes(&mut self) -> Vec<Probe> {
        self.started = true;
        std::mem::take(&mut self.probes)
    }

    /// Asks for what an event shows to be new.
    pub(super) fn observe(&mut self, event: &Event, waits: &mut Vec<Wait>, hands: &mut Hands) {
        match &event.what {
            EventKind::Exec(exec) => self.executed(event.time, exec, waits, hands),
            EventKind::Connect(connect) => self.callers.remember(connect),
            EventKind::Ssh(packet) if matches!(packet.message, Message::Identification(_)) => {
                let Some(task) = self.callers.of(packet.connection).cloned() else { return };
                let group = self.waiting(event.time, task.id, waits, hands);
                let subject = hands.asking.subject(&task);
                self.want(&subject, group, About::Ranges, Question::Ranges, hands);
                self.done_with(group, hands);
            }
            _ => {}
        }
    }

    fn executed(&mut self, time: u64, exec: &Exec, waits: &mut Vec<Wait>, hands: &mut Hands) {
        let Some(file) = exec.file else { return };
        let name = exec.executable.as_ref().map(|path| path_of(&path.bytes)).unwrap_or_default();
        let served = exec.served.is_some();
        // Also while the answer about it is under way: this event needs it.
        let fresh = self.is_fresh(file, exec.stamp) || served && self.role(file).is_none();
        // An interpreter takes its libraries from where it was started: they may be new though it is not.
        let call = Call::of(exec);
        if !fresh && call.is_none() {
            if served && let Some(role) = self.role(file) {
                hands.gate.push(Event { time, what: EventKind::Program { file, role } }, &[], Instant::now());
            }
            return;
        }
        let subject = hands.asking.subject(&exec.task);
        let group = self.waiting(time, exec.task.id, waits, hands);
        if fresh {
            let about = About::Executable(Executable::new(file, name.clone(), served, exec.stamp));
            self.want(&subject, group, about, Question::ExamineExecutable { name }, hands);
        }
        if let Some(call) = call {
            let question = Question::Candidates(Where::Interpreter(call));
            self.want(&subject, group, About::Candidates { watched: false }, question, hands);
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
            self.want(&hands.asking.of_host(0), group, about, Question::Examine(vec![(path, false)]), hands);
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

    /// Has this content of an executable not been examined? Then it is from now on. By its number alone it could be
    /// another file's that is gone: a virtual environment that is replaced does that.
    fn is_fresh(&mut self, file: FileId, stamp: Option<FileStamp>) -> bool {
        if self.executables.get(&file).is_some_and(|(known, _)| *known == stamp) {
            return false;
        }
        if self.executables.len() >= EXECUTABLES_MAX {
            self.executables.clear();
        }
        let role = self.role(file);
        self.executables.insert(file, (stamp, role));
        true
    }

    /// The probes of these files are gone: what is found again is probed again.
    pub(super) fn lost(&mut self, files: &[FileId], hands: &mut Hands) {
        for file in files {
            self.speakers.forget(*file);
        }
        self.executables.clear();
        self.mapped.clear();
        let why = format!("the process that held the probes of {} files has died", files.len());
        hands.out.push(degraded("SSH in programs that were probed", &why, identity::boot_time()));
        self.begin(hands);
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

    fn want(&mut self, subject: &Subject, group: u64, about: About, question: Question, hands: &mut Hands) {
        self.hold(group);
        let purpose = Purpose::Program(Wanted { subject: subject.clone(), group, about });
        hands.asking.ask(subject, question, purpose);
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
        let readable = process.filter(|_| readable).map(|process| EventKind::LibraryProbed(process, since));
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
    Event { time, what: EventKind::Degraded(degraded) }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
