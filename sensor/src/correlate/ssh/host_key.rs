//! `ssh-host-key`: the key that a server showed to a client of this host, what the client's files say of it, and
//! whether the client went on.
//!
//! Two things come in any order: the decision (the client sends something under the new keys, read or not, or the
//! connection ends) and what the files say (`EventKind::KnownHosts`, read beside the stream). The record waits for
//! both, for the second not longer than `WAIT_NS`. OpenSSH and Net::SSH look before they send NEWKEYS, Paramiko after;
//! who goes is gone before anything else is sent.

use super::{
    connection::{PendingHostKey, SshConnection},
    machine::Ssh,
    records::{describe_host_key, protocol},
};
use crate::{
    correlate::{deploys::Of, facts::Role, outlet::Outlet},
    event::{
        host_key::{Checking, Extent, KnownHosts, Marker},
        record::{Action, Outcome, Record},
        ssh::{Direction, Message, Packet},
    },
};

/// More than the patience of the question (3 s and 0.5 s for the broker): what comes at all, comes before.
pub(super) const WAIT_NS: u64 = 4_000_000_000;
/// Records that wait for what the files say.
const WAITING_MAX: usize = 256;

impl Ssh {
    /// Does this message say that the client went on?
    pub(super) fn notice_host_key(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        packet: &Packet,
        out: &mut Outlet<'_>,
    ) {
        if conn.role != Some(Role::Client) {
            return;
        }
        match &packet.message {
            Message::HostKey(_) => conn.host_key_shown = Some(time),
            Message::Disconnect { .. } => {}
            _ if packet.process.is_some() && packet.direction == Direction::Out => {
                self.host_key_decided(conn, Outcome::Success, out);
            }
            _ => {}
        }
    }

    /// A program that cannot be read is known by then to be such a one.
    pub(super) fn host_key_not_read(&mut self, conn: &mut SshConnection, out: &mut Outlet<'_>) {
        if conn.encrypted.outgoing {
            self.host_key_decided(conn, Outcome::Success, out);
        }
    }

    /// The connection ended.
    pub(super) fn host_key_not_decided(&mut self, conn: &mut SshConnection, out: &mut Outlet<'_>) {
        let outcome = match conn.encrypted.outgoing {
            true => Outcome::Success,
            false if conn.is_read() || conn.clear_lost.is_none() => Outcome::Failure,
            false => Outcome::Unknown,
        };
        self.host_key_decided(conn, outcome, out);
    }

    fn host_key_decided(&mut self, conn: &mut SshConnection, outcome: Outcome, out: &mut Outlet<'_>) {
        let (Some(time), Some(key)) = (conn.host_key_shown.take(), conn.host_key.clone()) else { return };
        self.emit_connection(conn, out);
        let mut record = self.ssh_record(time, Action::SshHostKey, outcome, conn, out.lineage());
        describe_host_key(&mut record, &key);
        let record = out.label(Of::Connection(conn.id), record);
        match conn.known_hosts.take() {
            Some(known) => out.push(told(record, &known)),
            None if self.undecided.len() < WAITING_MAX => {
                self.undecided.push(PendingHostKey { connection: conn.id, since: out.now(), record: Box::new(record) });
            }
            None => out.push(without_files(record, "busy")),
        }
    }

    /// What the files say.
    pub(in crate::correlate) fn known_hosts(&mut self, known: &KnownHosts, out: &mut Outlet<'_>) {
        if let Some(at) = self.undecided.iter().position(|waiting| waiting.connection == known.connection) {
            out.push(told(*self.undecided.remove(at).record, known));
        } else if let Some(conn) = self.conns.get_mut(known.connection) {
            conn.known_hosts = Some(Box::new(known.clone()));
        }
    }

    /// Nothing came.
    pub(super) fn host_keys_without_files(&mut self, time: u64, out: &mut Outlet<'_>) {
        let late = |waiting: &mut PendingHostKey| waiting.since.saturating_add(WAIT_NS) <= time;
        for waiting in self.undecided.extract_if(.., late) {
            out.push(without_files(*waiting.record, "no-answer"));
        }
    }
}

fn told(mut record: Record, known: &KnownHosts) -> Record {
    if let Some(host_key) = &mut protocol(&mut record).host_key {
        host_key.status = status(known);
        host_key.status_reason = known.extent.reason().filter(|_| host_key.status.is_none());
        host_key.checking = known.checking.map(Checking::name);
        if host_key.status == Some("known") {
            host_key.host_matched = Some(known.entries.iter().any(|entry| entry.same_key && entry.named));
        }
    }
    record
}

fn without_files(mut record: Record, reason: &'static str) -> Record {
    if let Some(host_key) = &mut protocol(&mut record).host_key {
        host_key.status_reason = Some(reason);
    }
    record
}

/// What the entries mean. An entry that came after the key was seen is the client's own answer and no knowledge.
fn status(known: &KnownHosts) -> Option<&'static str> {
    let any = |fits: &dyn Fn(Marker, bool, bool) -> bool| {
        known.entries.iter().any(|entry| !entry.late && fits(entry.marker, entry.same_key, entry.named))
    };
    if any(&|marker, same, _| marker == Marker::Revoked && same) {
        Some("revoked")
    } else if any(&|_, same, _| same) {
        Some("known")
    } else if any(&|marker, same, named| marker == Marker::None && !same && named) {
        Some("changed")
    } else {
        (known.extent == Extent::Whole).then_some("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::host_key::Entry;

    #[test]
    fn entries_mean_what_ssh_makes_of_them() {
        let entry = |marker, same_key, named| Entry { marker, same_key, named, late: false };
        let late = |entry: Entry| Entry { late: true, ..entry };
        let (none, revoked) = (Marker::None, Marker::Revoked);
        for (entries, whole, expected) in [
            (vec![], true, Some("unknown")),
            (vec![], false, None),
            (vec![entry(none, true, false)], false, Some("known")),
            (vec![entry(none, false, true)], false, Some("changed")),
            (vec![entry(none, false, true), entry(none, true, true)], true, Some("known")),
            (vec![entry(none, true, true), entry(revoked, true, true)], true, Some("revoked")),
            (vec![entry(Marker::Authority, true, true)], true, Some("known")),
            // accept-new, AutoAddPolicy: it was added when it had been accepted.
            (vec![late(entry(none, true, true))], true, Some("unknown")),
            (vec![late(entry(none, true, true)), entry(none, false, true)], true, Some("changed")),
        ] {
            let known = KnownHosts {
                entries: entries.clone(),
                extent: if whole { Extent::Whole } else { Extent::Part },
                ..KnownHosts::default()
            };
            assert_eq!(status(&known), expected, "{entries:?}");
        }
    }
}
