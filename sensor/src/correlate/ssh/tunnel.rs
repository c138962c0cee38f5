//! Connections that run through a channel of another one.
//!
//! What enters: which channel carries which connection. What leaves: the carried connection's destination and parent,
//! its id in the carrier's channel, and its end with that channel. Where the carrier is a server, this host is a jump
//! host: it passes on what it cannot read, so the carried connection has no records of its own here, but the channel
//! that carried it names it.

use super::{
    connection::{SshConnection, Tunnel},
    machine::Ssh,
    messages::note_session,
};
use crate::{correlate::lineage::Lineage, event::ssh::Tunnelled, finding::Role};

impl Ssh {
    pub(in crate::correlate) fn tunnelled(&mut self, time: u64, carried: &Tunnelled, lineage: &Lineage) {
        let Some(mut conn) = self.conns.take_or_new(carried.connection, time) else { return };
        let mut carrier = Tunnel { carried: *carried, destination: None, session: None, relays: false };
        if let Some(mut outer) = self.conns.take(carried.carrier) {
            note_session(&mut outer, lineage);
            carrier.relays = outer.role == Some(Role::Server);
            carrier.session.clone_from(&outer.session_id);
            if let Some(channel) = outer.channel(carried.direction, carried.recipient) {
                channel.carries = Some(carried.connection);
                carrier.destination.clone_from(&channel.open.destination);
            }
            self.conns.put(outer);
        }
        conn.carried = Some(carrier);
        self.conns.put(conn);
    }

    /// Tells the carrier's channel the id of what it carries, once it is known.
    pub(super) fn name_carried(&mut self, conn: &SshConnection) {
        let (Some(carrier), Some(id)) = (&conn.carried, &conn.connection_id) else { return };
        let Tunnelled { carrier, recipient, direction, .. } = carrier.carried;
        let outer = self.conns.get_mut(carrier);
        if let Some(channel) = outer.and_then(|outer| outer.channel(direction, recipient)) {
            channel.carried_id.get_or_insert_with(|| id.clone());
        }
    }
}
