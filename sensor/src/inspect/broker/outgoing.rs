//! Messages that wait for the daemon, in order.

use std::{collections::VecDeque, os::fd::OwnedFd};

use crate::inspect::message::{self, FromBroker};

/// One message for the daemon.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

pub(super) fn push(out: &mut VecDeque<Outgoing>, message: &FromBroker, descriptors: Vec<OwnedFd>) {
    if let Ok(bytes) = message::encode(message) {
        out.push_back(Outgoing { bytes, descriptors });
    }
}
