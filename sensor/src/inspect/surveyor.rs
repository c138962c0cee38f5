//! The child that runs a survey: root's uid, two capabilities to read /proc, no user's file.
//!
//! What leaves, a message each: `A` and a process's number before it is looked at, `I` and an encoded item, `E` at the
//! end. The broker looks at the first byte only.

use std::path::Path;

use rustix::{process::Pid, thread::CapabilitySet};
use seccompiler::BpfProgram;

use super::{
    channel::{Channel, Wait},
    confine, fork, message,
    message::ANSWER_MAX,
    surveys::{self, Course, Emit, Survey, SurveyItem},
    syscalls,
};

pub(super) const AT: u8 = b'A';
pub(super) const ITEM: u8 = b'I';
pub(super) const END: u8 = b'E';

struct Out<'a> {
    channel: &'a Channel,
    skip: &'a [u32],
    broken: bool,
}

impl Out<'_> {
    fn send(&mut self, tag: u8, bytes: &[u8]) {
        let mut message = Vec::with_capacity(bytes.len() + 1);
        message.push(tag);
        message.extend_from_slice(bytes);
        self.broken |= self.channel.send(&message, &[], Wait::Yes).is_err();
    }
}

impl Emit for Out<'_> {
    fn at(&mut self, pid: u32) -> bool {
        self.send(AT, &pid.to_le_bytes());
        !self.broken && !self.skip.contains(&pid)
    }

    fn emit(&mut self, item: &SurveyItem) {
        // One that does not fit is as good as one of a process that is gone: surveys bound what they carry.
        if let Ok(bytes) = message::encode(item)
            && bytes.len() < ANSWER_MAX
        {
            self.send(ITEM, &bytes);
        }
    }
}

/// Runs in the child.
pub(super) fn run(
    channel: Channel,
    survey: &Survey,
    course: &Course,
    proc: &Path,
    parent: Pid,
    filter: &BpfProgram,
) -> i32 {
    let Ok([descriptor]) = fork::keep_only([channel.into_descriptor()]) else { return 2 };
    let channel = Channel::from_descriptor(descriptor);
    let _ = rustix::thread::set_name(c"sensor-survey");
    let keep = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    if confine::end_with(parent).is_err() || confine::limit_capabilities(keep, keep).is_err() {
        return 3;
    }
    if syscalls::install(filter).is_err() {
        return 4;
    }
    let mut out = Out { channel: &channel, skip: &course.skip, broken: false };
    surveys::run(survey, proc, course, &mut out);
    out.send(END, &[]);
    i32::from(out.broken)
}
