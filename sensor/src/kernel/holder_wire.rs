//! What the daemon and the holder say to each other: fixed structures over a SOCK_SEQPACKET socket, descriptors beside
//! them (SCM_RIGHTS, unix(7)).
//!
//! Each request has one answer, with the request's number: an answer that comes too late for its request is passed
//! over. Both ends are one program, so a message of another size is an error and ends the connection. Descriptors that
//! the receiver has no room for are closed by the kernel (MSG_CTRUNC): the count in the request says how many should
//! have come.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    cmsg_space,
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};

use crate::event::stream::FileId;

/// Descriptors in one message; the kernel takes up to 253.
pub(super) const DESCRIPTORS: usize = 64;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// The map CONTROL: its descriptor comes with it.
    Control,
    /// These links belong to the file.
    Keep,
    /// In time: the file may come back.
    Retire,
    /// Soon: what is at the places has changed.
    Release,
    /// The file has come back.
    TakeBack,
    /// Is any link of the file left?
    Has,
}

impl Verb {
    const ALL: [Self; 6] = [Self::Control, Self::Keep, Self::Retire, Self::Release, Self::TakeBack, Self::Has];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) number: u32,
    pub(super) verb: Verb,
    pub(super) file: FileId,
    /// Descriptors beside it.
    pub(super) descriptors: u32,
}

const REQUEST: usize = 24;

impl Request {
    fn to_bytes(self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        let words = [self.number, self.verb as u32, self.file.dev, self.descriptors];
        let words = words.into_iter().flat_map(u32::to_ne_bytes).chain(self.file.inode.to_ne_bytes());
        for (to, byte) in bytes.iter_mut().zip(words) {
            *to = byte;
        }
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let (words, inode) = bytes.split_first_chunk::<16>()?;
        let (words, _) = words.as_chunks::<4>();
        let [number, verb, dev, descriptors] =
            words.iter().map(|word| u32::from_ne_bytes(*word)).collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let verb = *Verb::ALL.get(verb as usize)?;
        let inode = u64::from_ne_bytes(inode.try_into().ok()?);
        Some(Self { number, verb, file: FileId { dev, inode }, descriptors })
    }
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) number: u32,
    /// Kept, still there; or not.
    pub(super) yes: bool,
}

const ANSWER: usize = 8;

impl Answer {
    fn to_bytes(self) -> [u8; ANSWER] {
        (u64::from(self.number) << 32 | u64::from(self.yes)).to_ne_bytes()
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let word = u64::from_ne_bytes(bytes.try_into().ok()?);
        Some(Self { number: (word >> 32) as u32, yes: word & 1 != 0 })
    }
}

pub(super) fn send(socket: BorrowedFd, request: Request, descriptors: &[BorrowedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    again(|| sendmsg(socket, &[IoSlice::new(&request.to_bytes())], &mut beside, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// None: the other end is closed.
pub(super) fn receive(socket: BorrowedFd) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    let mut bytes = [0; REQUEST + 1];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let message = again(|| recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC))?;
    let mut descriptors = Vec::new();
    for part in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    let request = bytes.get(..message.bytes).and_then(Request::of).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((request, descriptors)))
}

pub(super) fn answer(socket: BorrowedFd, answer: Answer) -> io::Result<()> {
    again(|| rustix::net::send(socket, &answer.to_bytes(), SendFlags::NOSIGNAL))?;
    Ok(())
}

/// The answer to this request.
pub(super) fn answer_to(socket: BorrowedFd, number: u32) -> io::Result<bool> {
    loop {
        let mut bytes = [0; ANSWER];
        let (_, count) = again(|| rustix::net::recv(socket, &mut bytes, RecvFlags::empty()))?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = bytes.get(..count).and_then(Answer::of).ok_or(io::ErrorKind::InvalidData)?;
        if answer.number == number {
            return Ok(answer.yes);
        }
    }
}

/// A signal does not end a call.
fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn requests_arrive_with_their_descriptors_and_answers_find_their_request() {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let file = FileId { dev: 0xdead_beef, inode: u64::MAX - 7 };
        let null = std::fs::File::open("/dev/null").unwrap();
        for (number, verb) in (1..).zip(Verb::ALL) {
            let descriptors = vec![null.as_fd(); if number == 2 { DESCRIPTORS } else { 0 }];
            let request = Request { number, verb, file, descriptors: descriptors.len() as u32 };
            send(one.as_fd(), request, &descriptors).unwrap();
            let (received, beside) = receive(other.as_fd()).unwrap().unwrap();
            assert_eq!((received, beside.len()), (request, descriptors.len()));
        }
        answer(other.as_fd(), Answer { number: 7, yes: false }).unwrap();
        answer(other.as_fd(), Answer { number: u32::MAX, yes: true }).unwrap();
        assert!(answer_to(one.as_fd(), u32::MAX).unwrap(), "an answer that came too late is passed over");
        drop(one);
        assert!(receive(other.as_fd()).unwrap().is_none());
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        for bytes in [&[0; 3][..], &[9; REQUEST], &[0; REQUEST + 9]] {
            rustix::net::send(&one, bytes, SendFlags::empty()).unwrap();
            assert!(receive(other.as_fd()).is_err(), "{bytes:?}");
        }
    }
}
