//! Who speaks over which connection, and what of it can be read: a program whose cipher calls are probed is bound to
//! its connection at its first packet. One that was probed too late is not, and one that has several connections whose
//! packets cannot be distinguished is not read any more: both are `partial`.

use super::{connection::SshConnection, machine::Ssh};
use crate::{
    correlate::lineage::Lineage,
    decode::ssh::fingerprint::{authenticates, negotiate},
    event::ssh::ConnectionOwner,
    finding::Role,
};

impl SshConnection {
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

impl Ssh {
    /// Who speaks over which connection.
    pub(in crate::correlate) fn bound(&mut self, time: u64, bound: &ConnectionOwner) {
        let Some(mut conn) = self.conns.take_or_new(bound.connection, time) else { return };
        if conn.endpoints.is_none() {
            conn.endpoints = bound.endpoints;
        }
        conn.speaks(bound.process);
        conn.bound = true;
        self.conns.put(conn);
    }

    /// The same; of those of its process that have a context for each packet (AEAD) nothing more is read.
    pub(in crate::correlate) fn ambiguous(&mut self, time: u64, bound: &ConnectionOwner) {
        self.bound(time, bound);
        for id in self.conns.which(|conn| conn.process == Some(bound.process) && !conn.has_mac()) {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.missed_start = true;
            }
        }
    }

    /// Was the program's library probed too late for this connection?
    pub(super) fn notice_miss(conn: &mut SshConnection, lineage: &Lineage) {
        let process = conn.process.and_then(|id| lineage.process(id)).or(conn.gone.as_deref());
        if !conn.is_read()
            && let (Some(since), Some(keyed)) = (process.and_then(|process| process.readable_since), conn.keyed)
        {
            conn.missed_start = since > keyed;
        }
    }
}
