//! SSH connections: what the protocol says of them, joined with processes and sessions.
//!
//! What enters: messages of the clear phase and decrypted ones, in the order of the kernel's ring. What leaves: `ssh-*`
//! records. In the server role the connection's session is the one that lineage knows by the same socket: it has one
//! id, starts once and ends once, whoever saw it first. In the client role the session is the connection's own.
//!
//! Some ciphers hand out what they decrypted before its integrity is checked (RFC 5647; encrypt-and-MAC): records of
//! such packets are held until a later event of the connection shows that the program went on; if it ended instead,
//! they say `sensor.unconfirmed`.

mod attempt;
mod auth;
mod changes;
mod channels;
mod commands;
mod connection;
mod connections;
mod ending;
mod host_key;
mod owner;
mod records;
#[cfg(test)]
mod tests;
mod tunnel;

pub(super) use attempt::Servers;
pub(super) use changes::Changes;
use connection::Pair;
pub(super) use connection::{Command, Role, SshConnection};
pub(super) use connections::SshConnections;
pub(super) use host_key::PendingHostKey;
pub(super) use records::{describe_auth, named, protocol};

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
/// After the keys, the first decrypted packet comes within a round trip. Then it is known whether this program can be
/// read.
const KEYED_WAIT_NS: u64 = 1_000_000_000;
/// A client's process is gone; its socket's end should follow.
const CLOSE_WAIT_NS: u64 = 1_000_000_000;

impl Correlate {
    /// A message of an SSH connection.
    pub(super) fn ssh(&mut self, time: u64, packet: &Packet, out: &mut Vec<Record>) {
        let Some(mut conn) = self.conns.take_or_new(packet.connection, time) else { return };
        if conn.endpoints.is_none() {
            conn.endpoints = packet.endpoints;
        }
        notice_role(&mut conn, packet);
        self.deploy_of_talk(&mut conn);
        if let Some(process) = packet.process {
            self.release(&mut conn, out);
            Self::decrypted(time, &mut conn, process, packet);
        }
        self.message(time, &mut conn, packet, out);
        self.share(&conn);
        self.name_carried(&conn);
        self.conns.put(conn);
    }

    fn decrypted(time: u64, conn: &mut SshConnection, process: ProcessId, packet: &Packet) {
        conn.speaks(process);
        // What this side sends is its own; that it sends confirms what came before.
        conn.unverified = packet.direction == Direction::In && (packet.before_mac || !verifies_first(conn));
        if !conn.decrypted {
            conn.decrypted = true;
            // A connection's first message after the keys is a request for authentication, or the end.
            conn.missed_start |= !matches!(packet.message, Message::AuthRequest(_) | Message::Disconnect { .. });
            if conn.keyed.is_none() {
                conn.keyed = Some(time);
            }
        }
    }

    fn message(&mut self, time: u64, conn: &mut SshConnection, packet: &Packet, out: &mut Vec<Record>) {
        let direction = packet.direction;
        match &packet.message {
            Message::Identification(software) => {
                let first = conn.software.incoming.is_none() && conn.software.outgoing.is_none();
                *conn.software.at(direction) = Some(software.to_vec());
                if first && conn.role == Some(Role::Client) {
                    self.spoke(conn.process, conn.endpoints.map(|(_, remote)| remote));
                }
            }
            Message::KexInit(kexinit) => {
                *conn.kexinit.at(direction) = Some(kexinit.clone());
            }
            Message::HostKey(key) => conn.host_key = Some(key.clone()),
            Message::NewKeys => {
                *conn.new_keys.at(direction) = true;
                conn.keyed.get_or_insert(time);
            }
            Message::ClearLost(loss) => {
                conn.clear_lost = Some(*loss);
                if *loss == ClearLoss::Malformed {
                    let text = "the clear phase is not SSH as RFC 4253 has it";
                    self.protocol_error(time, conn, "malformed", text, out);
                }
            }
            Message::Disconnect { reason, description } => {
                self.disconnected(time, conn, direction, *reason, description, out);
            }
            Message::Malformed { number, .. } => {
                let text = format!("message {number} does not hold what its number promises");
                self.protocol_error(time, conn, "malformed", &text, out);
            }
            Message::Encrypted => *conn.encrypted.at(direction) = true,
            // Of a compressed direction nothing more is told; the connection's record says that it is.
            Message::KexStart | Message::Rekey | Message::Compressed => {}
            Message::AuthRequest(_)
            | Message::AuthFailure { .. }
            | Message::AuthSuccess
            | Message::AuthAsk
            | Message::AuthAnswer => self.auth(time, conn, packet, out),
            _ => self.channels(time, conn, packet, out),
        }
        if conn.decrypted {
            self.emit_connection(conn, out);
        }
        self.notice_host_key(time, conn, packet, out);
    }

    fn disconnected(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        direction: Direction,
        reason: u32,
        description: &[u8],
        out: &mut Vec<Record>,
    ) {
        let name = disconnect_reason(reason);
        let by = conn.role.map(|role| role.sender(direction));
        let text = String::from_utf8_lossy(description).into_owned();
        let description = Some(text.clone()).filter(|text| !text.is_empty());
        conn.disconnect = Some(Disconnect { reason: name.clone(), description, by });
        if by == Some("server") {
            self.attempts_exhausted(time, conn, out);
        }
        if !matches!(reason, 4 | 10..=15) {
            self.protocol_error(time, conn, &name, &text, out);
        }
    }

    fn protocol_error(&mut self, time: u64, conn: &mut SshConnection, code: &str, text: &str, out: &mut Vec<Record>) {
        if conn.errors >= connection::ERRORS_MAX || conn.is_relayed() {
            return;
        }
        conn.errors += 1;
        let mut record = self.ssh_record(time, Action::SshProtocolError, Outcome::Failure, conn);
        record.error = Some(Error { code: Some(code.into()), message: Some(text.into()) });
        self.emit(conn, record, out);
    }

    /// Writes a record, or holds it until what it says is confirmed.
    pub(in crate::correlate) fn emit(&mut self, conn: &mut SshConnection, record: Record, out: &mut Vec<Record>) {
        if conn.decrypted && conn.unverified {
            if conn.held.is_empty() {
                conn.held_since = self.now;
            }
            conn.held.push(record);
        } else {
            out.push(record);
        }
    }

    /// The connection went on: what was held is true.
    #[allow(clippy::unused_self, reason = "reads as the others do")]
    fn release(&self, conn: &mut SshConnection, out: &mut Vec<Record>) {
        out.append(&mut conn.held);
    }

    /// A process of a session did something: what its connection said is confirmed.
    pub(super) fn confirm(&mut self, socket: Option<ConnectionId>, out: &mut Vec<Record>) {
        if let Some(conn) = socket.and_then(|id| self.conns.get_mut(id)) {
            out.append(&mut conn.held);
        }
    }

    /// Timers: unconfirmed records, connections that cannot be decrypted, clients that are gone.
    pub(super) fn ssh_tick(&mut self, time: u64, out: &mut Vec<Record>) {
        for id in self.conns.which(|conn| !conn.held.is_empty() && conn.held_since.saturating_add(HOLD_NS) <= time) {
            self.confirm(Some(id), out);
        }
        let waits = |conn: &SshConnection| {
            !conn.connection_emitted && conn.keyed.is_some_and(|keyed| keyed.saturating_add(KEYED_WAIT_NS) <= time)
        };
        for id in self.conns.which(waits) {
            if let Some(mut conn) = self.conns.take(id) {
                self.emit_connection(&mut conn, out);
                self.host_key_not_read(&mut conn, out);
                self.share(&conn);
                self.conns.put(conn);
            }
        }
        self.host_keys_without_files(time, out);
        let gone = |conn: &SshConnection| conn.closing.is_some_and(|since| since.saturating_add(CLOSE_WAIT_NS) <= time);
        for id in self.conns.which(gone) {
            let since = self.conns.get(id).and_then(|conn| conn.closing);
            let left = self.ssh_ended(since.unwrap_or(time), id, None, out);
            out.extend(left);
        }
    }

    /// The process that a client's connection belongs to is gone: what is left to say of it needs to know what it was.
    pub(super) fn ssh_exited(&mut self, time: u64, process: ProcessId) {
        if !self.conns.exited(process) {
            return;
        }
        for id in self.conns.which(|conn| conn.process == Some(process) && conn.role != Some(Role::Server)) {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.closing.get_or_insert(time);
                conn.gone = self.processes.get(process).cloned().map(Box::new);
                let session = conn.gone.as_ref().and_then(|process| process.session);
                conn.parent = session.and_then(|key| self.sessions.get(key)).map(|session| session.id.clone());
            }
        }
    }

    /// The connection is over. In the server role its session's end follows; a client without a session has a last
    /// record of its own, which is for the caller to write.
    pub(super) fn ssh_ended(
        &mut self,
        time: u64,
        id: ConnectionId,
        bytes: Option<(u64, u64)>,
        out: &mut Vec<Record>,
    ) -> Option<Record> {
        let mut conn = self.conns.end(id)?;
        // Nothing came after these.
        for mut record in conn.held.drain(..) {
            record.sensor.unconfirmed = Some(true);
            out.push(record);
        }
        conn.unverified = false;
        self.emit_connection(&mut conn, out);
        self.host_key_not_decided(&mut conn, out);
        self.unanswered(time, &mut conn, out);
        self.channels_ended(time, &mut conn, out);
        self.target_ended(&mut conn, out);
        self.deploy_disconnected(&conn);
        self.share(&conn);
        if conn.role != Some(Role::Client) {
            return None;
        }
        if conn.started || conn.authenticated {
            self.start_client(time, &mut conn, out);
            let mut record = self.ssh_record(time, Action::SshSessionEnded, Outcome::Success, &conn);
            record.duration = Some(time.saturating_sub(conn.began));
            if let Some(ssh) = &mut record.ssh {
                ssh.session.commands = Some(conn.commands);
                ssh.session.bytes_in = bytes.map(|(bytes_in, _)| bytes_in);
                ssh.session.bytes_out = bytes.map(|(_, bytes_out)| bytes_out);
            }
            Self::add_login(&mut record, &conn);
            records::protocol(&mut record).disconnect.clone_from(&conn.disconnect);
            out.push(record);
            return None;
        }
        Some(self.client_left(time, &conn, bytes))
    }

    /// `ssh-connection`, once.
    fn emit_connection(&mut self, conn: &mut SshConnection, out: &mut Vec<Record>) {
        let began = conn.software.incoming.is_some() || conn.software.outgoing.is_some();
        if conn.connection_emitted || conn.is_relayed() || !(began || conn.decrypted) {
            return;
        }
        conn.connection_emitted = true;
        self.notice_miss(conn);
        let record = self.connection_record(conn);
        out.push(record);
        let Pair { incoming, outgoing } = &mut conn.kexinit;
        if let (Some(incoming), Some(outgoing)) = (incoming, outgoing)
            && let Some(role) = conn.role
        {
            let (client, server) = if role == Role::Client { (outgoing, incoming) } else { (incoming, outgoing) };
            fingerprint::keep_agreed(client, server);
        }
    }

    /// `ssh-session-started` of a client.
    fn start_client(&mut self, time: u64, conn: &mut SshConnection, out: &mut Vec<Record>) {
        if conn.role != Some(Role::Client) || std::mem::replace(&mut conn.started, true) {
            return;
        }
        let mut record = self.ssh_record(time, Action::SshSessionStarted, Outcome::Success, conn);
        Self::add_login(&mut record, conn);
        self.emit(conn, record, out);
    }

    /// Tells the session of lineage what the protocol knows.
    pub(in crate::correlate) fn share(&mut self, conn: &SshConnection) {
        if conn.role == Some(Role::Client) {
            return;
        }
        let Some(session) = self.sessions.by_socket(conn.id).and_then(|key| self.sessions.get_mut(key)) else { return };
        session.ssh = Some(Facts {
            user: conn.user.clone(),
            connection: conn.connection_id.clone(),
            capture: conn.capture(),
            login: conn.login.clone().map(Box::new),
            disconnect: conn.disconnect.clone(),
            commands: conn.decrypted.then_some(conn.commands),
        });
        session.deploy.clone_from(&conn.deploy);
    }

    /// `ssh.session.id`: of the session by lineage in the server role, else of this process's connection.
    fn session_of(&mut self, conn: &mut SshConnection) {
        let by_lineage = self.sessions.by_socket(conn.id).and_then(|key| self.sessions.get(key));
        if let Some(session) = by_lineage {
            conn.session_id = Some(session.id.clone());
        } else if conn.session_id.is_none() {
            let entity = conn.process.map(|process| self.processes.entity(process));
            let entity = entity.as_deref().unwrap_or_default();
            conn.session_id = Some(session_id(&format!("{entity} {}", conn.id)));
        }
    }
}

/// What a message says about who is who.
fn notice_role(conn: &mut SshConnection, packet: &Packet) {
    let client_sends = match &packet.message {
        Message::KexStart | Message::AuthRequest(_) | Message::AuthAnswer => true,
        Message::HostKey(_) | Message::AuthFailure { .. } | Message::AuthSuccess | Message::AuthAsk => false,
        _ => return,
    };
    let client = (packet.direction == Direction::Out) == client_sends;
    conn.role.get_or_insert(if client { Role::Client } else { Role::Server });
    if conn.connection_id.is_none()
        && let Some(role) = conn.role
        && let (Some(client), Some(server)) = conn.kexinit.by_role(role)
    {
        conn.connection_id = Some(fingerprint::connection_id(&client.cookie, &server.cookie).into());
    }
}

/// Is the incoming cipher one that checks before it decrypts?
fn verifies_first(conn: &SshConnection) -> bool {
    let Some(role) = conn.role else { return false };
    let (Some(client), Some(server)) = conn.kexinit.by_role(role) else { return false };
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
