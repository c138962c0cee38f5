//! Servers whose program could not be examined in time, known by what they say.
//!
//! What enters: processes that serve a TCP connection with a program of which nothing is known (it was too late on a
//! loaded machine, or the process was gone), and who identifies itself as an SSH server. What leaves: the session of
//! such a connection. An SSH server sends its identification (RFC 4253, 4.2) before it forks for the authentication, so
//! nothing of its lineage is missed.
//!
//! Not for processes that are in a session: nobody leaves theirs by playing a server.

use super::{facts::LineageFact, machine::Lineage};
use crate::event::{
    ssh::{Direction, Message, Packet},
    stream::{ProcessId, Served},
};

impl Lineage {
    /// A process serves a connection; what its program is, is not known.
    pub(super) fn may_serve(&mut self, id: ProcessId, served: Served) {
        if self.processes.get(id).is_some_and(|process| process.session.is_none() && !process.server) {
            self.candidates.add(id, served);
        }
    }

    /// What its program is, is known now.
    pub(super) fn serves_no_ssh(&mut self, served: Served) {
        if let Some(socket) = served.socket {
            self.candidates.take(socket);
        }
    }

    /// The side that accepted a connection identifies itself as SSH: its process is a server.
    pub(in crate::correlate) fn identified(&mut self, time: u64, packet: &Packet, facts: &mut Vec<LineageFact>) {
        if packet.direction != Direction::Out || !matches!(packet.message, Message::Identification(_)) {
            return;
        }
        let Some((id, served)) = self.candidates.take(packet.connection) else { return };
        let Some(process) = self.processes.get_mut(id).filter(|process| process.session.is_none()) else { return };
        process.server = true;
        self.serve(time, id, served, facts);
    }
}
