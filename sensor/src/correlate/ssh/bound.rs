//! Who speaks over which connection, and what of it can be read: a program whose cipher calls are probed is bound to its connection at its first packet. One that was probed too late is not, and one that
//! has several connections whose packets cannot be told apart is not heard any more: both are said to be `partial`.

use super::{
    Correlate,
    talk::{Role, Talk},
};
use crate::{
    decode::ssh::fingerprint::{authenticates, negotiate},
    event::ssh::Bound,
};

impl Talk {
    /// Is its cipher one that needs a MAC?
    pub(super) fn has_mac(&self) -> bool {
        let (Some(client), Some(server)) = self.kexinit.by_role(self.role.unwrap_or(Role::Client)) else { return true };
        negotiate(client, server).cipher_client.is_none_or(|cipher| !authenticates(&cipher))
    }

    /// Can the packets of the program be read after the keys?
    pub(super) fn is_read(&self) -> bool {
        self.decrypted || self.bound
    }
}

impl Correlate {
    /// Who speaks over which connection.
    pub(in crate::correlate) fn ssh_bound(&mut self, time: u64, bound: &Bound) {
        let Some(mut talk) = self.talks.take_or_new(bound.connection, time) else { return };
        if talk.endpoints.is_none() {
            talk.endpoints = bound.endpoints;
        }
        talk.speaks(bound.process);
        talk.bound = true;
        self.talks.put(talk);
    }

    /// The same; of those of its process that have a context for each packet (AEAD) no more is told.
    pub(in crate::correlate) fn ssh_mixed(&mut self, time: u64, bound: &Bound) {
        self.ssh_bound(time, bound);
        for id in self.talks.which(|talk| talk.process == Some(bound.process) && !talk.has_mac()) {
            if let Some(talk) = self.talks.get_mut(id) {
                talk.late = true;
            }
        }
    }

    /// Was the program's library probed too late for this connection?
    pub(super) fn notice_miss(&self, talk: &mut Talk) {
        let process = talk.process.and_then(|id| self.processes.get(id)).or(talk.gone.as_deref());
        if !talk.is_read()
            && let (Some(since), Some(keyed)) = (process.and_then(|process| process.readable_since), talk.keyed)
        {
            talk.late = since > keyed;
        }
    }
}
