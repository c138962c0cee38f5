//! What is below the machine of SSH: the machine of deploys, and the findings that wait for their confirmation.
//!
//! What enters: findings of connections, and views of what happened. What leaves: findings that name their deploy, in
//! order. Some ciphers hand out what they decrypted before its integrity is checked (RFC 5647; encrypt-and-MAC):
//! findings of such packets wait until a later event of the connection shows that the program continued; if it ended
//! instead, they say `sensor.unconfirmed`. The machine of SSH reads
//! nothing back from here but the view of lineage, and which deploy an attempted connection is of.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    deploys::{Deploys, Of},
    facts::{CommandView, ConnectionView, Unreachable},
    lineage::{Lineage, SessionKey},
};
use crate::{
    event::ids::{ConnectionId, ProcessId},
    finding::{CommandId, Finding, Quality, Subject},
};

/// A finding waits so long for its confirmation: a program that got a broken packet ends within microseconds.
pub(super) const HOLD_NS: u64 = 200_000_000;

/// Findings that a later event of their connection confirms.
#[derive(Default)]
pub(super) struct Unconfirmed {
    /// Since when (boot ns), and what.
    held: BTreeMap<ConnectionId, (u64, Vec<Finding>)>,
}

impl Unconfirmed {
    /// Nothing contradicted them in time.
    pub(super) fn tick(&mut self, time: u64, out: &mut Vec<Finding>) {
        for (_, (_, findings)) in self.held.extract_if(.., |_, (since, _)| since.saturating_add(HOLD_NS) <= time) {
            out.extend(findings);
        }
    }
}

/// Below the machine of SSH, for the time of one event.
pub(super) struct Outlet<'a> {
    pub(super) lineage: &'a Lineage,
    pub(super) deploys: &'a mut Deploys,
    pub(super) unconfirmed: &'a mut Unconfirmed,
    pub(super) out: &'a mut Vec<Finding>,
    /// Sessions whose start was recorded.
    pub(super) announced: &'a mut Vec<SessionKey>,
    /// Time of the event at hand (boot ns).
    pub(super) now: u64,
}

impl<'a> Outlet<'a> {
    pub(super) fn lineage(&self) -> &'a Lineage {
        self.lineage
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Names the deploy that a record is about.
    pub(super) fn label(&self, of: Of<'_>, mut finding: Finding) -> Finding {
        self.deploys.label(of, &mut finding.subject);
        finding
    }

    pub(super) fn label_subject(&self, of: Of<'_>, subject: &mut Subject) {
        self.deploys.label(of, subject);
    }

    /// The start of a session is recorded.
    pub(super) fn announced(&mut self, session: SessionKey) {
        self.announced.push(session);
    }

    /// A finding that is complete.
    pub(super) fn push(&mut self, finding: Finding) {
        self.out.push(finding);
    }

    /// A finding of a connection: at once, or when what it says is confirmed.
    pub(super) fn emit(&mut self, conn: &ConnectionView<'_>, finding: Finding) {
        let finding = self.label(Of::Connection(conn.id), finding);
        self.hold_or_push(conn, finding);
    }

    /// A finding of a connection that needs no confirmation.
    pub(super) fn emit_at_once(&mut self, conn: &ConnectionView<'_>, finding: Finding) {
        let finding = self.label(Of::Connection(conn.id), finding);
        self.out.push(finding);
    }

    fn hold_or_push(&mut self, conn: &ConnectionView<'_>, finding: Finding) {
        if conn.unconfirmed {
            self.unconfirmed.held.entry(conn.id).or_insert_with(|| (self.now, Vec::new())).1.push(finding);
        } else {
            self.out.push(finding);
        }
    }

    /// The connection continued: what is held of it is true.
    pub(super) fn confirmed(&mut self, connection: ConnectionId) {
        if let Some((_, findings)) = self.unconfirmed.held.remove(&connection) {
            self.out.extend(findings);
        }
    }

    /// The connection ended: nothing came after what is held.
    pub(super) fn never_confirmed(&mut self, connection: ConnectionId) {
        for mut finding in self.unconfirmed.held.remove(&connection).map(|(_, findings)| findings).unwrap_or_default() {
            finding.quality.unconfirmed = true;
            self.out.push(finding);
        }
    }

    /// A message came over the connection.
    pub(super) fn spoke(&mut self, conn: &ConnectionView<'_>) {
        self.deploys.spoke(conn, self.lineage);
    }

    /// A command was not refused.
    pub(super) fn command_started(&mut self, conn: &ConnectionView<'_>, command: &CommandView<'_>) {
        let mut steps = Vec::new();
        self.deploys.command_started(conn, command, self.lineage, &mut steps);
        for step in steps {
            self.hold_or_push(conn, step);
        }
    }

    /// A command ended, with this status as a shell shows it. `about`: its connection.
    pub(super) fn command_ended(
        &mut self,
        time: u64,
        conn: &ConnectionView<'_>,
        command: &CommandView<'_>,
        status: Option<u32>,
        about: impl FnOnce() -> (Subject, Quality),
    ) {
        let elapsed = time.saturating_sub(command.time);
        if let Some(step) = self.deploys.command_ended(self.lineage.time(time), elapsed, conn, command, status, about) {
            self.hold_or_push(conn, step);
        }
    }

    /// The channel of a command is gone, or the command was refused.
    pub(super) fn command_gone(&mut self, connection: ConnectionId, command: &CommandId) {
        self.deploys.command_gone(connection, command);
    }

    /// A session has left the tables.
    pub(super) fn forget_session(&mut self, session: SessionKey) {
        self.deploys.forget_session(session);
    }

    /// The connection is over; more of it may be said until `forget`.
    pub(super) fn connection_over(&mut self, conn: &ConnectionView<'_>) {
        let mut steps = Vec::new();
        self.deploys.connection_over(conn, self.lineage, &mut steps);
        for step in steps {
            self.hold_or_push(conn, step);
        }
    }

    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.deploys.forget(connection);
    }

    /// A process made a TCP connection.
    pub(super) fn contacted(&mut self, process: ProcessId, address: IpAddr) {
        self.deploys.contacted(process, address, self.lineage);
    }

    pub(super) fn unreachable(&mut self, failed: &Unreachable<'_>) {
        self.deploys.unreachable(failed);
    }
}
