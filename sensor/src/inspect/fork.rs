//! What the C library has no safe door to: fork, closing all descriptors but some, ignoring signals, ending without
//! exit handlers.
//!
//! Fact: after fork(2) of a process with several threads, a child may only use what is async-signal-safe; every process
//! that forks here has one thread (the daemon at its start, the spawner, the broker). glibc and musl keep their
//! allocators usable in the child all the same, for the tests. It fails as fork does, with EAGAIN or ENOMEM.
#![allow(unsafe_code, reason = "fork, and descriptors by number")]

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::process::Pid;

/// Where the first kept descriptor of a child is: after stdin, stdout and stderr.
const FIRST: RawFd = 3;
/// Of a kernel without close_range(2), before 5.9: descriptors above are not expected.
const CLOSE_MAX: RawFd = 65_536;

/// Runs `child` in a new process, which ends with what it returns. Nothing of the parent's is dropped in the child.
pub(super) fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the child runs `child` only and ends in `_exit`, so nothing of this stack is unwound or dropped twice;
    // callers have one thread.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => {
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: ends this process at once; buffers and handlers are the parent's business.
            unsafe { libc::_exit(code) }
        }
        -1 => Err(io::Error::last_os_error()),
        pid => Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into()),
    }
}

/// Closes every descriptor above stderr but these, which get the numbers from 3 on, in order.
pub(super) fn keep_only<const N: usize>(kept: [OwnedFd; N]) -> io::Result<[OwnedFd; N]> {
    let count = N as RawFd;
    // First out of the way: one of them may sit on a number that another is to get.
    let mut aside = Vec::with_capacity(N);
    for descriptor in kept {
        aside.push(rustix::io::fcntl_dupfd_cloexec(&descriptor, FIRST + count)?);
    }
    for (number, descriptor) in (FIRST..).zip(&aside) {
        // SAFETY: takes two numbers. What had the number before is closed: no code of this process uses it, and an
        // owner of it is never dropped.
        if unsafe { libc::dup3(descriptor.as_raw_fd(), number, libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for descriptor in aside {
        // `close_from` closes it.
        let _ = descriptor.into_raw_fd();
    }
    close_from(FIRST + count);
    // SAFETY: the loop above made these numbers, and nothing else owns them.
    Ok(std::array::from_fn(|at| unsafe { OwnedFd::from_raw_fd(FIRST + at as RawFd) }))
}

fn close_from(first: RawFd) {
    // SAFETY: takes numbers; owners of these descriptors in the parent's memory are never dropped in this process.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if closed != 0 {
        for number in first..CLOSE_MAX {
            // SAFETY: as above.
            unsafe { libc::close(number) };
        }
    }
}

/// A stop of the whole group (systemd's SIGTERM, ^C) is the daemon's to handle: its children end when it has what it
/// needs of them.
pub(super) fn ignore_stops() -> io::Result<()> {
    use Signal::{SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    for number in [SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        // SAFETY: no handler is installed, the signal is ignored.
        unsafe { signal(number, SigHandler::SigIgn) }?;
    }
    Ok(())
}
