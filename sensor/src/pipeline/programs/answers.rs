//! What the inspector says of programs and libraries, and what became of their probes.
//!
//! What enters: answers, each with what was asked about; attachments that are done. What leaves: further questions,
//! programs for the attacher, and the facts that an event waits for.

use std::os::fd::{AsFd as _, OwnedFd};

use super::{
    super::{
        attacher::{Attachment, Failed},
        purpose::Purpose,
    },
    About, EXAMINED_AT_ONCE, Executable, Hands, LIMITS_MAX, MAPPED_MAX, Programs, Wanted, degraded,
};
use crate::{
    event::stream::{Degraded, Event, EventKind, Probe, Role},
    host::{
        examine::{Examined, Program, Sites},
        identity,
    },
    inspect::{Answer, Candidate, Question, Range, Said, Subject, Unknown, Where},
};

impl Programs {
    /// An answer about programs.
    pub(in crate::pipeline) fn answered(
        &mut self,
        wanted: Wanted,
        said: Result<Said, Unknown>,
        descriptors: Vec<OwnedFd>,
        hands: &mut Hands,
    ) {
        let Wanted { subject, group, about } = wanted;
        let late = matches!(said, Err(Unknown::Deadline));
        let answer = said.ok().and_then(|said| if let Said::Answer(answer) = said { Some(answer) } else { None });
        match (about, answer) {
            (About::Candidates { watched }, Some(Answer::Candidates(found))) => {
                self.candidates(found, watched, &subject, group, hands);
            }
            (About::Ranges, Some(Answer::Ranges(found))) => self.ranges(found, &subject, group, hands),
            (About::Files { watched, .. }, Some(Answer::Examined(found))) => {
                self.learn_roles(&found);
                self.examined(found, descriptors, watched, &subject, group, hands);
            }
            (About::Mapped { .. }, Some(Answer::Examined(found))) => {
                self.examined(found, descriptors, false, &subject, group, hands);
            }
            (About::Files { files, .. }, _) => files.into_iter().for_each(|file| self.speakers.unseen(file)),
            (About::Mapped { ranges }, _) => self.mapped.retain(|known| !ranges.contains(known)),
            (About::Executable(executable), Some(Answer::Examined(found)))
                if found.first().is_some_and(|found| !executable.at_its_path || executable.is(found)) =>
            {
                self.executable(&executable, found, descriptors, &subject, group, hands);
            }
            (About::Executable(executable), _) if late && !executable.again => {
                self.later(executable, subject, group, hands);
            }
            (About::Executable(executable), _) => self.unreadable(executable, &subject, group, hands),
            (About::Places(program), Some(Answer::Places { wrong: None })) => {
                let attachment = hands.attacher.probe(*program);
                self.attachments.insert(attachment, group);
                self.hold(group);
            }
            (About::Places(program), answer) => {
                let why = if let Some(Answer::Places { wrong: Some(why) }) = answer {
                    why
                } else {
                    // It may be asked again.
                    self.speakers.forget(program.file);
                    "its text could not be looked at in time".to_owned()
                };
                self.probed(group, &program, Some(Failed { why, is_budget: false }), hands);
            }
            (About::Candidates { .. } | About::Ranges, _) => {}
        }
        self.done_with(group, hands);
    }

    /// What is found in the usual places is known before it is executed for the first time.
    fn learn_roles(&mut self, found: &[Examined]) {
        for Examined { file, role, .. } in found.iter().filter(|examined| examined.role != Role::Other) {
            self.executables.entry(*file).or_default().1 = Some(*role);
        }
    }

    fn executable(
        &mut self,
        executable: &Executable,
        found: Vec<Examined>,
        descriptors: Vec<OwnedFd>,
        subject: &Subject,
        group: u64,
        hands: &mut Hands,
    ) {
        let Executable { file, served, .. } = *executable;
        let role = found.first().map_or(Role::Other, |examined| examined.role);
        if let Some((_, known)) = self.executables.get_mut(&file) {
            *known = Some(role);
        }
        // A server's next exec is of the same file, for a connection, and may be right behind this one. Whether a
        // process is OpenSSH's ssh counts for its connections.
        if served || role != Role::Other {
            self.before(group, |time| Event { time, what: EventKind::Program { file, role } });
        }
        if self.examined(found, descriptors, false, subject, group, hands) {
            // Its siblings in the same root: sshd executes them for the next connection.
            let beside = self.group(None, None, 0);
            let question = Question::Candidates(Where::OpenSsh);
            self.want(subject, beside, About::Candidates { watched: false }, question, hands);
            self.done_with(beside, hands);
        }
    }

    /// No answer in the time that an event waits: a loaded machine, or a file system that does not answer. The event
    /// passes; probes are wanted all the same.
    fn later(&mut self, executable: Executable, subject: Subject, group: u64, hands: &mut Hands) {
        if let Some(role) = self.role(executable.file)
            && executable.served
        {
            let file = executable.file;
            self.before(group, |time| Event { time, what: EventKind::Program { file, role } });
        }
        let later = self.group(None, None, identity::boot_time());
        let question = match executable.at_its_path {
            true => Question::Examine(vec![(executable.name.clone(), false)]),
            false => Question::ExamineExecutable { name: executable.name.clone() },
        };
        let about = About::Executable(Executable { again: true, ..executable });
        self.want_later(subject, later, about, question, hands);
        self.done_with(later, hands);
    }

    /// What a process executes could not be examined: it is gone, or what it executes is on a file system that does not
    /// answer.
    fn unreadable(&mut self, executable: Executable, subject: &Subject, group: u64, hands: &mut Hands) {
        let Executable { file, ref name, served, at_its_path, .. } = executable;
        let role = self.role(file);
        if let Some(role) = role.filter(|_| served) {
            self.before(group, |time| Event { time, what: EventKind::Program { file, role } });
        }
        // Many programs are gone before they can be looked at: without this a loop of one would ask each time.
        if role.is_none() && !at_its_path && name.is_absolute() {
            let question = Question::Examine(vec![(name.clone(), false)]);
            let about = About::Executable(Executable { at_its_path: true, ..executable });
            self.want(subject, group, about, question, hands);
            return;
        }
        // Asked again when it is executed again: it may live longer then.
        self.executables.remove(&file);
        if served && role.is_none() {
            let degraded = Degraded {
                what: format!("executable {} (inode {})", name.display(), file.inode),
                why: "it serves a TCP connection, but cannot be read".into(),
                effect: "if it is an SSH server, it is known as one when it says so, and its sessions may be known by their \
                         connections and processes only"
                    .into(),
            };
            self.before(group, |time| Event { time, what: EventKind::Degraded(degraded) });
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
            self.want(subject, group, About::Files { files, watched }, Question::Examine(paths), hands);
        }
    }

    fn ranges(&mut self, found: Vec<Range>, subject: &Subject, group: u64, hands: &mut Hands) {
        if self.mapped.len() >= MAPPED_MAX {
            self.mapped.clear();
        }
        let key = |range: &Range| (range.file, range.name.clone());
        let fresh: Vec<Range> = found.into_iter().filter(|range| self.mapped.insert(key(range))).collect();
        for chunk in fresh.chunks(EXAMINED_AT_ONCE) {
            let about = About::Mapped { ranges: chunk.iter().map(key).collect() };
            self.want(subject, group, about, Question::ExamineMapped(chunk.to_vec()), hands);
        }
    }

    /// Files were examined: those that speak SSH are probed once their places were checked. True: there was one.
    fn examined(
        &mut self,
        found: Vec<Examined>,
        descriptors: Vec<OwnedFd>,
        watched: bool,
        subject: &Subject,
        group: u64,
        hands: &mut Hands,
    ) -> bool {
        let mut descriptors = descriptors.into_iter();
        let mut any = false;
        for examined in found {
            let open = examined.speaks.as_ref().and_then(|_| descriptors.next());
            let Some(program) = self.speakers.learn(examined, open, watched) else { continue };
            any = true;
            match program.sites.as_ref().map(Sites::offsets) {
                Ok(places) => self.want_checked(program, places, subject, group, hands),
                Err(why) => {
                    let failed = Failed { why: why.clone(), is_budget: false };
                    self.probed(group, &program, Some(failed), hands);
                }
            }
        }
        any
    }

    fn want_checked(&mut self, program: Program, places: Vec<u64>, subject: &Subject, group: u64, hands: &mut Hands) {
        self.hold(group);
        let file = program.open.try_clone();
        let about = About::Places(Box::new(program));
        let purpose = Purpose::Program(Wanted { subject: subject.clone(), group, about });
        match file {
            Ok(file) => hands.asking.check(subject, file.as_fd(), places, purpose),
            Err(_) => hands.asking.refuse(purpose),
        }
    }

    /// A limit of probed files was reached: said once for each, however many files there are.
    fn over_budget(&mut self, why: &str, hands: &mut Hands) {
        if self.limits.len() < LIMITS_MAX && self.limits.insert(why.to_owned()) {
            hands.out.push(degraded("SSH in further programs", why, identity::boot_time()));
        }
    }

    /// An attachment is done.
    pub(in crate::pipeline) fn attached(
        &mut self,
        attachment: Attachment,
        program: &Program,
        failed: Option<Failed>,
        hands: &mut Hands,
    ) {
        if let Some(group) = self.attachments.remove(&attachment) {
            self.probed(group, program, failed, hands);
            self.done_with(group, hands);
        }
    }

    /// A program is probed, or is not.
    fn probed(&mut self, group: u64, program: &Program, failed: Option<Failed>, hands: &mut Hands) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.readable |= failed.is_none() && program.is_library;
        }
        match &failed {
            Some(Failed { why, is_budget: false }) => {
                hands.out.push(degraded(&format!("SSH in {}", program.name), why, identity::boot_time()));
            }
            Some(Failed { why, is_budget: true }) => {
                self.speakers.forget(program.file);
                self.over_budget(why, hands);
            }
            None => {}
        }
        let state = if failed.is_none() { "attached" } else { "missing" };
        tracing::debug!(program = program.name, state, "a program that speaks SSH");
        if !self.started {
            let (name, target) = ("cipher".into(), program.name.clone());
            self.probes.push(Probe { name, target, state: state.into(), why: failed.map(|failed| failed.why) });
        }
    }
}
