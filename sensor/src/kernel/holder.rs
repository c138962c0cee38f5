//! The holder: a small process that has the links of the probes, so that the daemon's end, by any signal, costs
//! nothing.
//!
//! *Measured*: the kernel takes 0.1 s for each uprobe's link that is closed and blocks every attachment; with 510
//! probed files the daemon's exit took 87 s after SIGTERM and 35 s after SIGKILL, and other sensors could not attach
//! for 40 to 50 s. A process that ends waits for its descriptors. So the daemon has none of them: it passes each link
//! to the holder as soon as it is attached. When the daemon is gone, the holder silences the programs and closes the
//! links one by one (`holder_process`).
//!
//! What enters: links by file, and what is to become of them. What leaves: whether they are still there. It is forked
//! from the daemon before there is any thread or probe. If the holder dies first, the probes are gone with it: the next
//! request fails, and `is_lost` says so.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SocketFlags, SocketType, socketpair,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use super::{
    holder_process,
    holder_wire::{self as wire, Request, Verb},
};
use crate::event::stream::FileId;

/// For an answer: the holder may be in the middle of a link that the kernel takes its time for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The daemon's end. When its last copy is gone, the holder releases what it has and ends.
#[derive(Clone, Debug)]
pub struct Holder(Arc<Mutex<End>>);

#[derive(Debug)]
struct End {
    socket: OwnedFd,
    number: u32,
}

/// Starts the holder. To be called before anything else: a process that has threads must not be forked, and what is
/// open now is what the holder inherits and closes.
pub fn start() -> io::Result<Holder> {
    let (own, others) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&own, Timeout::Recv, Some(PATIENCE))?;
    set_socket_timeout(&own, Timeout::Send, Some(PATIENCE))?;
    holder_process::fork(others)?;
    Ok(Holder(Arc::new(Mutex::new(End { socket: own, number: 0 }))))
}

impl Holder {
    /// The map whose switch the holder turns when the daemon is gone.
    pub(super) fn set_control(&self, map: BorrowedFd) -> io::Result<()> {
        let none = FileId { dev: 0, inode: 0 };
        if self.ask(Verb::Control, none, &[map])? { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    /// Hands links over. The caller closes its own copies then, which costs nothing: they are not the last.
    pub(super) fn keep(&self, file: FileId, links: &[OwnedFd]) -> io::Result<()> {
        for part in links.chunks(wire::DESCRIPTORS) {
            let part: Vec<BorrowedFd> = part.iter().map(OwnedFd::as_fd).collect();
            if !self.ask(Verb::Keep, file, &part)? {
                return Err(io::Error::other("the holder cannot have more descriptors (its RLIMIT_NOFILE)"));
            }
        }
        Ok(())
    }

    pub(super) fn retire(&self, file: FileId) -> io::Result<()> {
        self.ask(Verb::Retire, file, &[]).map(drop)
    }

    pub(super) fn release(&self, file: FileId) -> io::Result<()> {
        self.ask(Verb::Release, file, &[]).map(drop)
    }

    /// True: every link of the file is there, and stays.
    pub(super) fn take_back(&self, file: FileId) -> io::Result<bool> {
        self.ask(Verb::TakeBack, file, &[])
    }

    /// Is any link of the file left?
    pub(super) fn has(&self, file: FileId) -> io::Result<bool> {
        self.ask(Verb::Has, file, &[])
    }

    /// Has the holder died? Its links are gone then.
    pub(super) fn is_lost(&self) -> bool {
        let end = self.end();
        let mut files = [PollFd::new(&end.socket, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let [file] = match poll(&mut files, Some(&now)) {
            Ok(_) => files,
            Err(_) => return false,
        };
        file.revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    fn ask(&self, verb: Verb, file: FileId, descriptors: &[BorrowedFd]) -> io::Result<bool> {
        let mut end = self.end();
        end.number = end.number.wrapping_add(1);
        let request = Request { number: end.number, verb, file, descriptors: descriptors.len() as u32 };
        wire::send(end.socket.as_fd(), request, descriptors)?;
        wire::answer_to(end.socket.as_fd(), end.number)
    }

    fn end(&self) -> MutexGuard<'_, End> {
        // Nothing panics while it has the lock; and if, a number was used up.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
