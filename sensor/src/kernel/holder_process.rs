//! The holder's process, from its fork to its end.
//!
//! What enters: requests (`holder_wire`). What leaves: links, closed one by one as `holder_queue` says. It can do
//! nothing else: no capabilities, no new privileges, its own session without a terminal, no descriptors but its socket,
//! a lock file and the links. It outlives what ends the daemon: the signals of a terminal and SIGTERM are ignored
//! (under systemd the unit needs `KillMode=process`, or the end of the service kills it).
//!
//! All holders of a machine share one lock, so that only one link at a time is closed however many sensors have ended.
//! Where it cannot be had in `LOCK_PATIENCE` (a holder that was stopped), or its file cannot be made, a link goes
//! without.
#![allow(unsafe_code, reason = "fork(2), signal(2), close_range(2)")]

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, mkdir, open, openat},
    io::Errno,
    process::{Resource, Rlimit, chdir, getrlimit, setrlimit, setsid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::set_name,
};

use super::{
    Control,
    holder_queue::Queue,
    holder_wire::{self as wire, Answer, Verb},
};
use crate::privileges;

const NAME: &std::ffi::CStr = c"sensor-holder";
/// Only root can write to this folder, and it is gone at the next boot.
const FOLDER: &str = "/run/sensor";
const LOCK: &str = "release.lock";
/// Between two attempts to have the lock.
const LOCK_AGAIN: Duration = Duration::from_millis(100);
/// After which a link goes without.
const LOCK_PATIENCE: Duration = Duration::from_mins(1);
/// Descriptors, where the limit can be raised: all files of the budget with more probes than any program had so far.
const DESCRIPTORS: u64 = 65_536;

/// Forks. The parent returns.
pub(super) fn fork(socket: OwnedFd) -> io::Result<()> {
    // SAFETY: the caller has no other thread (`holder::start`), so no lock is held that the child would need.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let _end = Leave;
            serve(socket);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Ends the child without what the parent has registered for its own end, also if it panics.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // SAFETY: takes a number and does not return.
        unsafe { libc::_exit(0) }
    }
}

fn serve(socket: OwnedFd) {
    let Some(socket) = isolate(socket) else { return };
    let mut holder = Process::new(socket, lock_file());
    give_up_privileges();
    while holder.step().is_ok_and(|connected| connected) {}
    holder.finish();
}

/// Takes from the process what it has from the daemon. None: something is still there that must not be, and it is
/// better to end.
fn isolate(socket: OwnedFd) -> Option<OwnedFd> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // It fails only for the leader of a group, which a child is not.
    let _ = setsid();
    let _ = set_name(NAME);
    // No folder of anybody is in use.
    let _ = chdir("/");
    let null = open("/dev/null", OFlags::RDWR, Mode::empty()).ok()?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null)).ok()?;
    // Its owner ends first: a descriptor that is closed behind its owner ends a debug build.
    drop(null);
    close_others(socket.as_raw_fd());
    Some(socket)
}

/// Closes every descriptor but the standard ones and this. Their owners in this process's memory are never dropped: it
/// leaves by `_exit`.
fn close_others(keep: i32) {
    let keep = keep.cast_unsigned();
    let ranges = [(3, keep.saturating_sub(1)), (keep + 1, u32::MAX)];
    let closed = ranges.into_iter().filter(|(first, last)| first <= last).all(|(first, last)| {
        // SAFETY: takes numbers; see above.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
    });
    if closed {
        return;
    }
    // Before Linux 5.9.
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && fd.cast_unsigned() != keep) {
        // SAFETY: as above. The folder's own is closed already.
        unsafe { libc::close(fd) };
    }
}

/// What it needed privileges for comes first.
fn give_up_privileges() {
    // The last to be killed when memory runs out: all probes would be gone. Refused without CAP_SYS_RESOURCE.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(DESCRIPTORS, |most| most.max(DESCRIPTORS));
    let raised = Rlimit { current: Some(most), maximum: Some(most) };
    if setrlimit(Resource::Nofile, raised).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    let _ = privileges::drop_all();
}

/// The file whose lock all holders share.
fn lock_file() -> Option<OwnedFd> {
    // It is there already, or the next step fails.
    let _ = mkdir(FOLDER, Mode::RWXU);
    let folder = open(FOLDER, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&folder).ok()?;
    if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return None;
    }
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&folder, LOCK, flags, Mode::RUSR | Mode::WUSR).ok()?;
    let stat = fstat(&file).ok()?;
    (stat.st_uid == 0 && FileType::from_raw_mode(stat.st_mode).is_file()).then_some(file)
}

/// The lock that all holders share.
struct Turn {
    file: Option<OwnedFd>,
    /// It is another's since then.
    since: Option<Instant>,
}

impl Turn {
    /// May a link go now?
    fn take(&mut self) -> bool {
        let Some(file) = &self.file else { return true };
        let taken = flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let since = *self.since.get_or_insert_with(Instant::now);
        let goes = taken || since.elapsed() >= LOCK_PATIENCE;
        if goes {
            self.since = None;
        }
        goes
    }

    fn give(&self) {
        if let Some(file) = &self.file {
            // Not ours, if it was not to be had.
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

struct Process {
    socket: OwnedFd,
    turn: Turn,
    /// When the lock is given to others: half of a pause, so that they have the other half to find it free.
    gives: Option<Instant>,
    control: Option<Control>,
    queue: Queue<OwnedFd>,
    /// When the next link may go.
    next: Instant,
}

impl Process {
    fn new(socket: OwnedFd, lock: Option<OwnedFd>) -> Self {
        let turn = Turn { file: lock, since: None };
        Self { socket, turn, gives: None, control: None, queue: Queue::default(), next: Instant::now() }
    }

    /// When there is something to do that no request asks for.
    fn due(&self) -> Option<Instant> {
        self.gives.or_else(|| self.queue.is_waiting().then_some(self.next))
    }

    /// Does it. `ended`: since the daemon is gone.
    fn act(&mut self, ended: Duration) {
        if self.gives.take().is_some() {
            self.turn.give();
            return;
        }
        if !self.turn.take() {
            self.next = Instant::now() + LOCK_AGAIN;
            return;
        }
        let begun = Instant::now();
        drop(self.queue.next());
        let pause = self.queue.pause(begun.elapsed(), ended);
        let now = Instant::now();
        self.gives = Some(now + pause / 2);
        self.next = now + pause;
    }

    /// Waits for a request or what is due. False: the daemon is gone.
    fn step(&mut self) -> io::Result<bool> {
        let due = self.due();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = wait.map(|wait| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) });
        let mut files = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut files, wait.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return self.answer(),
            Err(error) => return Err(error.into()),
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            self.act(Duration::ZERO);
        }
        Ok(true)
    }

    fn answer(&mut self) -> io::Result<bool> {
        let Some((request, descriptors)) = wire::receive(self.socket.as_fd())? else { return Ok(false) };
        let whole = descriptors.len() == request.descriptors as usize;
        let yes = match request.verb {
            Verb::Control => {
                self.control = descriptors.first().and_then(|map| Control::of(map.as_fd()).ok());
                self.control.is_some()
            }
            Verb::Keep => {
                self.queue.keep(request.file, descriptors);
                whole
            }
            Verb::Retire => {
                self.queue.retire(request.file);
                true
            }
            Verb::Release => {
                self.queue.release(request.file);
                true
            }
            Verb::TakeBack => self.queue.take_back(request.file),
            Verb::Has => self.queue.has(request.file),
        };
        wire::answer(self.socket.as_fd(), Answer { number: request.number, yes })?;
        Ok(true)
    }

    /// The daemon is gone, however it went.
    fn finish(&mut self) {
        if let Some(control) = &self.control {
            control.silence();
        }
        self.queue.retire_all();
        let ended = Instant::now();
        while let Some(due) = self.due() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.act(ended.elapsed());
        }
    }
}
