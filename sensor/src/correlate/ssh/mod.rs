//! SSH connections: what the protocol says of them, joined with processes and sessions.
//!
//! What enters: messages of the clear phase and decrypted ones, in the order of the kernel's ring. What leaves: `ssh-*` records. In the server role the connection's session is
//! the one that lineage knows by the same socket: it has one id, starts once and ends once, whoever saw it first. In the client role the session is the connection's own.
//!
//! Some ciphers hand out what they decrypted before its integrity is checked (RFC 5647; encrypt-and-MAC): records of such packets are held until a later event of the connection shows that the
//! program went on; if it ended instead, they say `sensor.unconfirmed`.

mod attempt;
mod auth;
mod bound;
mod carried;
mod changes;
mod channels;
mod commands;
mod ending;
mod host_key;
mod records;
mod talk;
mod talks;
#[cfg(test)]
mod tests;

pub(super) use attempt::Servers;
pub(super) use changes::Changes;
pub(super) use host_key::Undecided;
pub(super) use records::{describe_auth, named, protocol};
use talk::Pair;
pub(super) use talk::{Command, Role, Talk};
pub(super) use talks::Talks;

use super::{Correlate, build::session_id, sessions::Facts};
use crate::{
    decode::ssh::fingerprint,
    event::{
        record::{Action, Disconnect, Error, Outcome, Record},
        ssh::{ClearLoss, ConnectionId, Direction, Message, Packet},
        stream::ProcessId,
    },
};

/// A record waits so long for its confirmation: a program that got a broken packet ends within microseconds.
const HOLD_NS: u64 = 200_000_000;
/// After the keys, the first decrypted packet comes within a round trip. Then it is known whether this program can be read.
const KEYED_WAIT_NS: u64 = 1_000_000_000;
/// A client's process is gone; its socket's end should follow.
const CLOSE_WAIT_NS: u64 = 1_000_000_000;

impl Correlate {
    /// A message of an SSH connection.
    pub(super) fn ssh(&mut self, time: u64, packet: &Packet, out: &mut Vec<Record>) {
        let Some(mut talk) = self.talks.take_or_new(packet.connection, time) else { return };
        if talk.endpoints.is_none() {
            talk.endpoints = packet.endpoints;
        }
        notice_role(&mut talk, packet);
        self.deploy_of_talk(&mut talk);
        if let Some(process) = packet.process {
            self.release(&mut talk, out);
            Self::decrypted(time, &mut talk, process, packet);
        }
        self.message(time, &mut talk, packet, out);
        self.share(&talk);
        self.name_carried(&talk);
        self.talks.put(talk);
    }

    fn decrypted(time: u64, talk: &mut Talk, process: ProcessId, packet: &Packet) {
        talk.speaks(process);
        // What this side sends is its own; that it sends confirms what came before.
        talk.unverified = packet.direction == Direction::In && (packet.before_mac || !verifies_first(talk));
        if !talk.decrypted {
            talk.decrypted = true;
            // A connection's first message after the keys is a request for authentication, or the end.
            talk.late |= !matches!(packet.message, Message::AuthRequest(_) | Message::Disconnect { .. });
            if talk.keyed.is_none() {
                talk.keyed = Some(time);
            }
        }
    }

    fn message(&mut self, time: u64, talk: &mut Talk, packet: &Packet, out: &mut Vec<Record>) {
        let direction = packet.direction;
        match &packet.message {
            Message::Identification(software) => {
                let first = talk.software.incoming.is_none() && talk.software.outgoing.is_none();
                *talk.software.at(direction) = Some(software.to_vec());
                if first && talk.role == Some(Role::Client) {
                    self.spoke(talk.process, talk.endpoints.map(|(_, remote)| remote));
                }
            }
            Message::KexInit(kexinit) => {
                *talk.kexinit.at(direction) = Some(kexinit.clone());
            }
            Message::HostKey(key) => talk.host_key = Some(key.clone()),
            Message::NewKeys => {
                *talk.new_keys.at(direction) = true;
                talk.keyed.get_or_insert(time);
            }
            Message::ClearLost(loss) => {
                talk.clear_lost = Some(*loss);
                if *loss == ClearLoss::Malformed {
                    let text = "the clear phase is not SSH as RFC 4253 has it";
                    self.protocol_error(time, talk, "malformed", text, out);
                }
            }
            Message::Disconnect { reason, description } => {
                self.disconnected(time, talk, direction, *reason, description, out);
            }
            Message::Malformed { number, .. } => {
                let text = format!("message {number} does not hold what its number promises");
                self.protocol_error(time, talk, "malformed", &text, out);
            }
            Message::Encrypted => *talk.encrypted.at(direction) = true,
            // Of a compressed direction nothing more is told; the connection's record says that it is.
            Message::KexStart | Message::Rekey | Message::Compressed => {}
            Message::AuthRequest(_)
            | Message::AuthFailure { .. }
            | Message::AuthSuccess
            | Message::AuthAsk
            | Message::AuthAnswer => self.auth(time, talk, packet, out),
            _ => self.channels(time, talk, packet, out),
        }
        if talk.decrypted {
            self.tell_connection(talk, out);
        }
        self.notice_host_key(time, talk, packet, out);
    }

    fn disconnected(
        &mut self,
        time: u64,
        talk: &mut Talk,
        direction: Direction,
        reason: u32,
        description: &[u8],
        out: &mut Vec<Record>,
    ) {
        let name = disconnect_reason(reason);
        let by = talk.role.map(|role| role.sender(direction));
        let text = String::from_utf8_lossy(description).into_owned();
        let description = Some(text.clone()).filter(|text| !text.is_empty());
        talk.disconnect = Some(Disconnect { reason: name.clone(), description, by });
        if by == Some("server") {
            self.attempts_exhausted(time, talk, out);
        }
        if !matches!(reason, 4 | 10..=15) {
            self.protocol_error(time, talk, &name, &text, out);
        }
    }

    fn protocol_error(&mut self, time: u64, talk: &mut Talk, code: &str, text: &str, out: &mut Vec<Record>) {
        if talk.errors >= talk::ERRORS_MAX || talk.is_relayed() {
            return;
        }
        talk.errors += 1;
        let mut record = self.ssh_record(time, Action::SshProtocolError, Outcome::Failure, talk);
        record.error = Some(Error { code: Some(code.into()), message: Some(text.into()) });
        self.tell(talk, record, out);
    }

    /// Writes a record, or holds it until what it says is confirmed.
    pub(in crate::correlate) fn tell(&mut self, talk: &mut Talk, record: Record, out: &mut Vec<Record>) {
        if talk.decrypted && talk.unverified {
            if talk.held.is_empty() {
                talk.held_since = self.now;
            }
            talk.held.push(record);
        } else {
            out.push(record);
        }
    }

    /// The connection went on: what was held is true.
    #[allow(clippy::unused_self, reason = "reads as the others do")]
    fn release(&self, talk: &mut Talk, out: &mut Vec<Record>) {
        out.append(&mut talk.held);
    }

    /// A process of a session did something: what its connection said is confirmed.
    pub(super) fn confirm(&mut self, socket: Option<ConnectionId>, out: &mut Vec<Record>) {
        if let Some(talk) = socket.and_then(|id| self.talks.get_mut(id)) {
            out.append(&mut talk.held);
        }
    }

    /// Timers: unconfirmed records, connections that cannot be decrypted, clients that are gone.
    pub(super) fn ssh_tick(&mut self, time: u64, out: &mut Vec<Record>) {
        for id in self.talks.which(|talk| !talk.held.is_empty() && talk.held_since.saturating_add(HOLD_NS) <= time) {
            self.confirm(Some(id), out);
        }
        let waits = |talk: &Talk| {
            !talk.connection_told && talk.keyed.is_some_and(|keyed| keyed.saturating_add(KEYED_WAIT_NS) <= time)
        };
        for id in self.talks.which(waits) {
            if let Some(mut talk) = self.talks.take(id) {
                self.tell_connection(&mut talk, out);
                self.host_key_not_read(&mut talk, out);
                self.share(&talk);
                self.talks.put(talk);
            }
        }
        self.host_keys_without_files(time, out);
        let gone = |talk: &Talk| talk.closing.is_some_and(|since| since.saturating_add(CLOSE_WAIT_NS) <= time);
        for id in self.talks.which(gone) {
            let since = self.talks.get(id).and_then(|talk| talk.closing);
            let left = self.ssh_ended(since.unwrap_or(time), id, None, out);
            out.extend(left);
        }
    }

    /// The process that a client's connection belongs to is gone: what is left to say of it needs to know what it was.
    pub(super) fn ssh_exited(&mut self, time: u64, process: ProcessId) {
        if self.talks.len() == 0 {
            return;
        }
        for id in self.talks.which(|talk| talk.process == Some(process) && talk.role != Some(Role::Server)) {
            if let Some(talk) = self.talks.get_mut(id) {
                talk.closing.get_or_insert(time);
                talk.gone = self.processes.get(process).cloned().map(Box::new);
                let session = talk.gone.as_ref().and_then(|process| process.session);
                talk.parent = session.and_then(|key| self.sessions.get(key)).map(|session| session.id.clone());
            }
        }
    }

    /// The connection is over. In the server role its session's end follows; a client without a session has a last record of its own, which is for the caller to write.
    pub(super) fn ssh_ended(
        &mut self,
        time: u64,
        id: ConnectionId,
        bytes: Option<(u64, u64)>,
        out: &mut Vec<Record>,
    ) -> Option<Record> {
        let mut talk = self.talks.end(id)?;
        // Nothing came after these.
        for mut record in talk.held.drain(..) {
            record.sensor.unconfirmed = Some(true);
            out.push(record);
        }
        talk.unverified = false;
        self.tell_connection(&mut talk, out);
        self.host_key_not_decided(&mut talk, out);
        self.unanswered(time, &mut talk, out);
        self.channels_ended(time, &mut talk, out);
        self.target_ended(&mut talk, out);
        self.deploy_disconnected(&talk);
        self.share(&talk);
        if talk.role != Some(Role::Client) {
            return None;
        }
        if talk.started || talk.authenticated {
            self.start_client(time, &mut talk, out);
            let mut record = self.ssh_record(time, Action::SshSessionEnded, Outcome::Success, &talk);
            record.duration = Some(time.saturating_sub(talk.began));
            if let Some(ssh) = &mut record.ssh {
                ssh.session.commands = Some(talk.commands);
                ssh.session.bytes_in = bytes.map(|(bytes_in, _)| bytes_in);
                ssh.session.bytes_out = bytes.map(|(_, bytes_out)| bytes_out);
            }
            Self::add_login(&mut record, &talk);
            records::protocol(&mut record).disconnect.clone_from(&talk.disconnect);
            out.push(record);
            return None;
        }
        Some(self.client_left(time, &talk, bytes))
    }

    /// `ssh-connection`, once.
    fn tell_connection(&mut self, talk: &mut Talk, out: &mut Vec<Record>) {
        let began = talk.software.incoming.is_some() || talk.software.outgoing.is_some();
        if talk.connection_told || talk.is_relayed() || !(began || talk.decrypted) {
            return;
        }
        talk.connection_told = true;
        self.notice_miss(talk);
        let record = self.connection_record(talk);
        out.push(record);
        let Pair { incoming, outgoing } = &mut talk.kexinit;
        if let (Some(incoming), Some(outgoing)) = (incoming, outgoing)
            && let Some(role) = talk.role
        {
            let (client, server) = if role == Role::Client { (outgoing, incoming) } else { (incoming, outgoing) };
            fingerprint::keep_agreed(client, server);
        }
    }

    /// `ssh-session-started` of a client.
    fn start_client(&mut self, time: u64, talk: &mut Talk, out: &mut Vec<Record>) {
        if talk.role != Some(Role::Client) || std::mem::replace(&mut talk.started, true) {
            return;
        }
        let mut record = self.ssh_record(time, Action::SshSessionStarted, Outcome::Success, talk);
        Self::add_login(&mut record, talk);
        self.tell(talk, record, out);
    }

    /// Tells the session of lineage what the protocol knows.
    pub(in crate::correlate) fn share(&mut self, talk: &Talk) {
        if talk.role == Some(Role::Client) {
            return;
        }
        let Some(session) = self.sessions.by_socket(talk.id).and_then(|key| self.sessions.get_mut(key)) else { return };
        session.ssh = Some(Facts {
            user: talk.user.clone(),
            connection: talk.connection_id.clone(),
            capture: talk.capture(),
            login: talk.login.clone().map(Box::new),
            disconnect: talk.disconnect.clone(),
            commands: talk.decrypted.then_some(talk.commands),
        });
        session.deploy.clone_from(&talk.deploy);
    }

    /// `ssh.session.id`: of the session by lineage in the server role, else of this process's connection.
    fn session_of(&mut self, talk: &mut Talk) {
        let by_lineage = self.sessions.by_socket(talk.id).and_then(|key| self.sessions.get(key));
        if let Some(session) = by_lineage {
            talk.session_id = Some(session.id.clone());
        } else if talk.session_id.is_none() {
            let entity = talk.process.map(|process| self.processes.entity(process));
            let entity = entity.as_deref().unwrap_or_default();
            talk.session_id = Some(session_id(&format!("{entity} {}", talk.id)));
        }
    }
}

/// What a message says about who is who.
fn notice_role(talk: &mut Talk, packet: &Packet) {
    let client_sends = match &packet.message {
        Message::KexStart | Message::AuthRequest(_) | Message::AuthAnswer => true,
        Message::HostKey(_) | Message::AuthFailure { .. } | Message::AuthSuccess | Message::AuthAsk => false,
        _ => return,
    };
    let client = (packet.direction == Direction::Out) == client_sends;
    talk.role.get_or_insert(if client { Role::Client } else { Role::Server });
    if talk.connection_id.is_none()
        && let Some(role) = talk.role
        && let (Some(client), Some(server)) = talk.kexinit.by_role(role)
    {
        talk.connection_id = Some(fingerprint::connection_id(&client.cookie, &server.cookie).into());
    }
}

/// Is the incoming cipher one that checks before it decrypts?
fn verifies_first(talk: &Talk) -> bool {
    let Some(role) = talk.role else { return false };
    let (Some(client), Some(server)) = talk.kexinit.by_role(role) else { return false };
    let agreed = fingerprint::negotiate(client, server);
    let (cipher, mac) = match role {
        Role::Client => (agreed.cipher_server, agreed.mac_server),
        Role::Server => (agreed.cipher_client, agreed.mac_client),
    };
    match (cipher.as_deref(), mac) {
        (Some("chacha20-poly1305@openssh.com"), _) => true,
        (Some(_), Some(mac)) => mac.ends_with("-etm@openssh.com"),
        _ => false,
    }
}

/// RFC 4250, 4.2.2, in lower case.
fn disconnect_reason(code: u32) -> String {
    let name = match code {
        1 => "host_not_allowed_to_connect",
        2 => "protocol_error",
        3 => "key_exchange_failed",
        4 => "reserved",
        5 => "mac_error",
        6 => "compression_error",
        7 => "service_not_available",
        8 => "protocol_version_not_supported",
        9 => "host_key_not_verifiable",
        10 => "connection_lost",
        11 => "by_application",
        12 => "too_many_connections",
        13 => "auth_cancelled_by_user",
        14 => "no_more_auth_methods_available",
        15 => "illegal_user_name",
        other => return other.to_string(),
    };
    name.into()
}
