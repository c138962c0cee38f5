//! `ssh-host-key`: the key that a server showed to a client of this host, what the client's files say of it, and
//! whether the client went on.
//!
//! Two things come in any order: the decision (the client sends something under the new keys, read or not, or the
//! connection ends) and what the files say (`EventKind::KnownHosts`, read beside the stream). The record waits for
//! both, for the second not longer than `WAIT_NS`. OpenSSH and Net::SSH look before they send NEWKEYS, Paramiko after;
//! who goes is gone before anything else is sent.

use super::{
    connection::{PendingHostKey, SshConnection},
    findings,
    machine::Ssh,
};
use crate::{
    correlate::{deploys::Of, outlet::Outlet},
    event::{
        host_key::{Extent, KnownHosts, Marker},
        ssh::{Direction, Message, Packet},
    },
    finding::{
        Finding, FindingKind, Outcome, Role,
        ssh::{HostKey, HostKeyStatus, NoStatus},
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
        let shown = HostKey::new(findings::key(&key));
        let kind = FindingKind::SshHostKey(Box::default());
        let finding = self.finding(time, outcome, kind, conn, out.lineage());
        let finding = Box::new(out.label(Of::Connection(conn.id), finding));
        let pending = PendingHostKey { connection: conn.id, since: out.now(), finding, shown };
        match conn.known_hosts.take() {
            Some(known) => out.push(pending.told(&known)),
            None if self.undecided.len() < WAITING_MAX => self.undecided.push(pending),
            None => out.push(pending.without_files(NoStatus::Busy)),
        }
    }

    /// What the files say.
    pub(in crate::correlate) fn known_hosts(&mut self, known: &KnownHosts, out: &mut Outlet<'_>) {
        if let Some(at) = self.undecided.iter().position(|waiting| waiting.connection == known.connection) {
            out.push(self.undecided.remove(at).told(known));
        } else if let Some(conn) = self.conns.get_mut(known.connection) {
            conn.known_hosts = Some(Box::new(known.clone()));
        }
    }

    /// Nothing came.
    pub(super) fn host_keys_without_files(&mut self, time: u64, out: &mut Outlet<'_>) {
        let late = |waiting: &mut PendingHostKey| waiting.since.saturating_add(WAIT_NS) <= time;
        for waiting in self.undecided.extract_if(.., late) {
            out.push(waiting.without_files(NoStatus::NoAnswer));
        }
    }
}

impl PendingHostKey {
    /// With what the files say.
    fn told(mut self, known: &KnownHosts) -> Finding {
        self.shown.status = status(known);
        self.shown.status_reason = match known.extent {
            _ if self.shown.status.is_some() => None,
            Extent::Whole => None,
            Extent::Part => Some(NoStatus::Incomplete),
            Extent::Deadline => Some(NoStatus::Deadline),
            Extent::Gone => Some(NoStatus::ClientGone),
            Extent::Busy => Some(NoStatus::Busy),
            Extent::Unreadable => Some(NoStatus::Unreadable),
        };
        self.shown.checking = known.checking;
        if self.shown.status == Some(HostKeyStatus::Known) {
            self.shown.host_matched = Some(known.entries.iter().any(|entry| entry.same_key && entry.named));
        }
        self.complete()
    }

    fn without_files(mut self, reason: NoStatus) -> Finding {
        self.shown.status_reason = Some(reason);
        self.complete()
    }

    fn complete(self) -> Finding {
        Finding { kind: FindingKind::SshHostKey(Box::new(self.shown)), ..*self.finding }
    }
}

/// What the entries mean. An entry that came after the key was seen is the client's own answer and no knowledge.
fn status(known: &KnownHosts) -> Option<HostKeyStatus> {
    let any = |fits: &dyn Fn(Marker, bool, bool) -> bool| {
        known.entries.iter().any(|entry| !entry.late && fits(entry.marker, entry.same_key, entry.named))
    };
    if any(&|marker, same, _| marker == Marker::Revoked && same) {
        Some(HostKeyStatus::Revoked)
    } else if any(&|_, same, _| same) {
        Some(HostKeyStatus::Known)
    } else if any(&|marker, same, named| marker == Marker::None && !same && named) {
        Some(HostKeyStatus::Changed)
    } else {
        (known.extent == Extent::Whole).then_some(HostKeyStatus::Unknown)
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
            (vec![], true, Some(HostKeyStatus::Unknown)),
            (vec![], false, None),
            (vec![entry(none, true, false)], false, Some(HostKeyStatus::Known)),
            (vec![entry(none, false, true)], false, Some(HostKeyStatus::Changed)),
            (vec![entry(none, false, true), entry(none, true, true)], true, Some(HostKeyStatus::Known)),
            (vec![entry(none, true, true), entry(revoked, true, true)], true, Some(HostKeyStatus::Revoked)),
            (vec![entry(Marker::Authority, true, true)], true, Some(HostKeyStatus::Known)),
            // accept-new, AutoAddPolicy: it was added when it had been accepted.
            (vec![late(entry(none, true, true))], true, Some(HostKeyStatus::Unknown)),
            (vec![late(entry(none, true, true)), entry(none, false, true)], true, Some(HostKeyStatus::Changed)),
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
