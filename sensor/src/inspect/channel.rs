//! One end of a SOCK_SEQPACKET pair: whole messages, with descriptors (unix(7), SCM_RIGHTS).
//!
//! What enters and leaves: bytes. A message that did not fit, or whose descriptors did not, is marked `cut`: the rest
//! is gone. An empty message means that the other end is closed (a peer that sends empty messages gets what it asks
//! for).

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::{Errno, Result},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
    },
};

use super::message::DESCRIPTORS_MAX;

/// Of the daemon's and the broker's end: some thousand questions. The kernel doubles it for its own account.
const BUFFER: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// What came.
#[derive(Debug)]
pub(super) struct Received {
    /// Bytes in the buffer; 0: the other end is closed.
    pub(super) length: usize,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) cut: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Yes,
    No,
}

impl Channel {
    pub(super) fn pair() -> Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    pub(super) fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Room for more messages. Without CAP_NET_ADMIN net.core.wmem_max bounds it; less room means earlier refusals,
    /// nothing else.
    pub(super) fn widen(&self) {
        if sockopt::set_socket_send_buffer_size_force(&self.0, BUFFER).is_err() {
            let _ = sockopt::set_socket_send_buffer_size(&self.0, BUFFER);
        }
    }

    pub(super) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>], wait: Wait) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::TOOBIG);
        }
        let flags = SendFlags::NOSIGNAL | if wait == Wait::No { SendFlags::DONTWAIT } else { SendFlags::empty() };
        loop {
            match sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn receive(&self, buffer: &mut [u8], wait: Wait) -> Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | if wait == Wait::No { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        let message = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
                Ok(message) => break message,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        };
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                descriptors.extend(rights);
            }
        }
        let cut = message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        Ok(Received { length: message.bytes, descriptors, cut })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
