//! A short-lived child of the broker for what may block while it is opened: the file that a process executes or has
//! mapped, its environment, its maps.
//!
//! It has the broker's rights to read, so that a mode of 0111 does not hide what the kernel executed; it reads nothing
//! itself, and sends what it opened to the worker without a way through the broker. Kernel facts: opening environ and
//! maps waits for the lock that an exec holds while it closes files (a user's FUSE delays that as long as it likes);
//! map_files waits for the process's memory lock; opening a file of FUSE asks its server, and so does *closing* it
//! (FUSE_FLUSH, which not even SIGKILL ends): no process that others wait for may hold such a descriptor, unless it is
//! O_PATH. statx(2) with AT_STATX_DONT_SYNC does not ask a server for the type; O_NONBLOCK refuses to wait for a lease.
//! It fails by missing descriptors; a deadline kills it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags, openat},
    process::Pid,
    thread::CapabilitySet,
};
use seccompiler::BpfProgram;

use super::{
    channel::{Channel, Wait},
    confine, file, fork,
    needs::Needs,
    slot, syscalls,
};

const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Does this question need an opener?
pub(super) fn is_needed(needs: &Needs) -> bool {
    needs.content || needs.environ || needs.maps || !needs.mapped.is_empty()
}

/// What it works on: the folder of the process in /proc, and its executable as O_PATH.
pub(super) struct Work {
    pub(super) process: OwnedFd,
    pub(super) exe: OwnedFd,
    pub(super) needs: Needs,
}

/// Runs in the child: one message with the descriptors, and one bit for each slot that is filled.
pub(super) fn run(channel: Channel, work: Work, parent: Pid, filter: &BpfProgram) -> i32 {
    let kept = fork::keep_only([channel.into_descriptor(), work.process, work.exe]);
    let Ok([channel, process, exe]) = kept else { return 2 };
    let channel = Channel::from_descriptor(channel);
    let _ = rustix::thread::set_name(c"sensor-opener");
    if confine(&work.needs, parent).is_err() || syscalls::install(filter).is_err() {
        return 3;
    }
    let opened = open_all(process.as_fd(), exe.as_fd(), &work.needs);
    let present = slot::bits(&opened);
    let descriptors: Vec<_> = opened.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
    match channel.send(&present.to_le_bytes(), &descriptors, Wait::Yes) {
        Ok(()) => 0,
        Err(_) => 4,
    }
}

fn confine(needs: &Needs, parent: Pid) -> Result<(), confine::Failure> {
    confine::end_with(parent)?;
    let mut keep = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    if !needs.mapped.is_empty() {
        let now = rustix::thread::capabilities(None).map_or(keep, |sets| sets.permitted);
        keep |= confine::mapped_capability(now);
    }
    confine::limit_capabilities(keep, keep)
}

fn open_all(process: BorrowedFd<'_>, exe: BorrowedFd<'_>, needs: &Needs) -> Vec<(u32, OwnedFd)> {
    let mut opened = Vec::new();
    let mut put = |at: u32, descriptor: Option<OwnedFd>| opened.extend(descriptor.map(|found| (at, found)));
    let of_process = |name: &str| openat(process, name, READ, Mode::empty()).ok();
    if needs.content {
        put(slot::CONTENT, file::reopen(exe).ok());
    }
    if needs.environ {
        put(slot::ENVIRON, of_process("environ"));
    }
    if needs.maps {
        put(slot::MAPS, of_process("maps"));
    }
    for (at, (start, end)) in (slot::MAPPED..).zip(&needs.mapped) {
        let name = format!("map_files/{start:x}-{end:x}");
        let path = openat(process, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
        put(at, path.and_then(|path| file::reopen(path).ok()));
    }
    opened
}
