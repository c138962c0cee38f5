//! A worker: one user's rights on files, no capabilities, one question at a time.
//!
//! What enters: `Job`s of the broker with descriptors. What leaves: an encoded `WorkerAnswer` each, with descriptors.
//! It ends when its socket closes, when the broker kills it, and by itself when anything is wrong: its end is the
//! answer `Unknown::Crashed`.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::Pid;
use seccompiler::BpfProgram;

use super::{
    answer::Answered,
    channel::{Channel, Wait},
    confine::{self, Identity},
    file, fork, message,
    message::{ANSWER_MAX, DESCRIPTORS_MAX, Job, QUESTION_MAX, WorkerAnswer},
    place::Place,
    question::Question,
    questions, slot, syscalls,
    unknown::Unknown,
};

/// A worker that answered so many is replaced: its processor time is limited in all.
pub(super) const QUESTIONS_MAX: u32 = 256;
/// A job: its question, ranges of addresses, numbers.
const JOB_MAX: usize = QUESTION_MAX + 4096;

/// Runs in the child, until the broker closes the socket.
pub(super) fn run(channel: Channel, identity: &Identity, dedicated: u32, parent: Pid, filter: &BpfProgram) -> i32 {
    let Ok([descriptor]) = fork::keep_only([channel.into_descriptor()]) else { return 2 };
    let channel = Channel::from_descriptor(descriptor);
    let _ = rustix::thread::set_name(c"sensor-worker");
    if confine::worker(identity, dedicated, parent).is_err() {
        // It may still have what it should not: one message, and no file.
        let answer: WorkerAnswer = Err(Unknown::Identity);
        let _ = message::encode(&answer).map(|bytes| channel.send(&bytes, &[], Wait::Yes));
        return 3;
    }
    if syscalls::install(filter).is_err() {
        return 4;
    }
    serve(&channel)
}

fn serve(channel: &Channel) -> i32 {
    let mut buffer = vec![0; JOB_MAX];
    loop {
        let Ok(received) = channel.receive(&mut buffer, Wait::Yes) else { return 5 };
        if received.length == 0 {
            return 0;
        }
        let bytes = buffer.get(..received.length).unwrap_or_default();
        let Ok(job) = message::decode::<Job>(bytes) else { return 6 };
        let Ok(question) = message::decode::<Question>(&job.question) else { return 7 };
        let Some(slots) = slots(job.present, received.descriptors) else {
            let _ = send(channel, Err(Unknown::Crashed).into());
            continue;
        };
        let Some(place) = Place::new(&job.needs, slots) else { return 8 };
        #[cfg(test)]
        if let Some((bytes, descriptor)) = questions::raw(&question) {
            let descriptors: Vec<_> = descriptor.iter().map(|descriptor| descriptor.as_fd()).collect();
            let _ = channel.send(&bytes, &descriptors, Wait::Yes);
            continue;
        }
        if send(channel, questions::answer(question, place)).is_err() {
            return 9;
        }
    }
}

/// What the broker sent, and what the opener sends.
fn slots(present: u64, descriptors: Vec<OwnedFd>) -> Option<Vec<(u32, OwnedFd)>> {
    let mut slots = slot::slots(present, descriptors);
    if let Some(at) = slots.iter().position(|(at, _)| *at == slot::OPENER) {
        let opener = Channel::from_descriptor(slots.swap_remove(at).1);
        let mut bits = [0; size_of::<u64>()];
        let received = opener.receive(&mut bits, Wait::Yes).ok()?;
        if received.length != bits.len() {
            return None;
        }
        slots.extend(slot::slots(u64::from_le_bytes(bits), received.descriptors));
    }
    Some(slots)
}

fn send(channel: &Channel, answered: Answered) -> rustix::io::Result<()> {
    let Answered { answer, descriptors: opened } = answered;
    // One that is closed here may make this process wait, and no other.
    let descriptors: Result<Vec<_>, _> = opened.iter().map(file::as_path).collect();
    let (answer, descriptors) = match descriptors {
        Ok(descriptors) => (answer, descriptors),
        Err(error) => (Err(error.into()), Vec::new()),
    };
    let answer: WorkerAnswer = if descriptors.len() > DESCRIPTORS_MAX { Err(Unknown::Budget) } else { answer };
    let (bytes, sent) = match message::encode(&answer) {
        Ok(bytes) if bytes.len() <= ANSWER_MAX => (bytes, answer.is_ok()),
        _ => {
            let too_large: WorkerAnswer = Err(Unknown::Budget);
            (message::encode(&too_large).unwrap_or_default(), false)
        }
    };
    let borrowed: Vec<_> = descriptors.iter().filter(|_| sent).map(|descriptor| descriptor.as_fd()).collect();
    channel.send(&bytes, &borrowed, Wait::Yes)
}
