//! The messages of a connection: its identification, key exchange and end; everything else goes to its own file.

use std::borrow::Cow;

use super::{
    connection::{self, Pair, SshConnection},
    machine::Ssh,
    served::Facts,
};
use crate::{
    correlate::{
        deploys::Of,
        lineage::{Lineage, session_id},
        outlet::Outlet,
    },
    decode::ssh::fingerprint,
    event::{
        ssh::{ClearLoss, ConnectionId, Direction, Message, Packet},
        stream::ProcessId,
    },
    finding::{
        Failure, Finding, FindingKind, Outcome, Quality, Role,
        ssh::{Disconnect, SessionEnded},
    },
};

/// After the keys, the first decrypted packet comes within a round trip. Then it is known whether this program can be
/// read.
pub(super) const KEYED_WAIT_NS: u64 = 1_000_000_000;
/// A client's process is gone; its socket's end should follow.
const CLOSE_WAIT_NS: u64 = 1_000_000_000;

impl Ssh {
    /// A message of an SSH connection.
    pub(in crate::correlate) fn packet(&mut self, time: u64, packet: &Packet, out: &mut Outlet<'_>) {
        let Some(mut conn) = self.conns.take_or_new(packet.connection, time) else { return };
        if conn.endpoints.is_none() {
            conn.endpoints = packet.endpoints;
        }
        notice_role(&mut conn, packet);
        out.spoke(&conn.view());
        if let Some(process) = packet.process {
            out.confirmed(conn.id);
            Self::decrypted(time, &mut conn, process, packet);
        }
        self.message(time, &mut conn, packet, out);
        self.share(&conn, out);
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

    fn message(&mut self, time: u64, conn: &mut SshConnection, packet: &Packet, out: &mut Outlet<'_>) {
        let direction = packet.direction;
        match &packet.message {
            Message::Identification(software) => {
                let first = conn.software.incoming.is_none() && conn.software.outgoing.is_none();
                *conn.software.at(direction) = Some(software.to_vec());
                if first && conn.role == Some(Role::Client) {
                    self.noted_spoken(conn.process, conn.endpoints.map(|(_, remote)| remote), out.lineage());
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
            // Of a compressed direction nothing more is recorded; the connection's record says that it is.
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
        out: &mut Outlet<'_>,
    ) {
        let name = disconnect_reason(reason);
        let by = conn.role.map(|role| connection::sender(role, direction));
        let text = String::from_utf8_lossy(description).into_owned();
        let description = Some(text.clone()).filter(|text| !text.is_empty());
        conn.disconnect = Some(Disconnect { reason: name.clone(), description, by });
        if by == Some(Role::Server) {
            self.attempts_exhausted(time, conn, out);
        }
        if !matches!(reason, 4 | 10..=15) {
            self.protocol_error(time, conn, name, &text, out);
        }
    }

    pub(super) fn protocol_error(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        code: impl Into<Cow<'static, str>>,
        text: &str,
        out: &mut Outlet<'_>,
    ) {
        if conn.errors >= connection::ERRORS_MAX || conn.is_relayed() {
            return;
        }
        conn.errors += 1;
        let failure = Failure { code: Some(code.into()), message: Some(text.to_owned().into()) };
        let kind = FindingKind::SshProtocolError(failure);
        let finding = self.finding(time, Outcome::Failure, kind, conn, out.lineage());
        out.emit(&conn.view(), finding);
    }

    /// Timers: connections that cannot be decrypted, clients that are gone.
    pub(in crate::correlate) fn tick(&mut self, time: u64, out: &mut Outlet<'_>) {
        let waits = |conn: &SshConnection| {
            !conn.connection_emitted && conn.keyed.is_some_and(|keyed| keyed.saturating_add(KEYED_WAIT_NS) <= time)
        };
        for id in self.conns.which(waits) {
            if let Some(mut conn) = self.conns.take(id) {
                self.emit_connection(&mut conn, out);
                self.host_key_not_read(&mut conn, out);
                self.share(&conn, out);
                self.conns.put(conn);
            }
        }
        self.host_keys_without_files(time, out);
        let gone = |conn: &SshConnection| conn.closing.is_some_and(|since| since.saturating_add(CLOSE_WAIT_NS) <= time);
        for id in self.conns.which(gone) {
            let since = self.conns.get(id).and_then(|conn| conn.closing);
            if let Some(left) = self.ended(since.unwrap_or(time), id, None, out) {
                out.push(left);
            }
        }
    }

    /// The process that a client's connection belongs to is gone: what is left to say of it needs to know what it was.
    pub(in crate::correlate) fn exited(&mut self, time: u64, process: ProcessId, lineage: &Lineage) {
        self.speakers.remove(&process);
        if !self.conns.exited(process) {
            return;
        }
        for id in self.conns.which(|conn| conn.process == Some(process) && conn.role != Some(Role::Server)) {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.closing.get_or_insert(time);
                conn.gone = lineage.process(process).cloned().map(Box::new);
                let session = conn.gone.as_ref().and_then(|process| process.session);
                conn.parent = session.and_then(|key| lineage.session(key)).map(|session| session.id.clone());
            }
        }
    }

    /// The connection is over. In the server role its session's end follows; a client without a session has a last
    /// finding of its own, which is for the caller to emit.
    pub(super) fn ended(
        &mut self,
        time: u64,
        id: ConnectionId,
        bytes: Option<(u64, u64)>,
        out: &mut Outlet<'_>,
    ) -> Option<Finding> {
        let mut conn = self.conns.end(id)?;
        out.never_confirmed(id);
        conn.unverified = false;
        self.emit_connection(&mut conn, out);
        self.host_key_not_decided(&mut conn, out);
        self.unanswered(time, &mut conn, out);
        self.channels_ended(time, &mut conn, out);
        out.connection_over(&conn.view());
        self.share(&conn, out);
        let left = if conn.role == Some(Role::Client) { self.client_ended(time, &mut conn, bytes, out) } else { None };
        out.forget(id);
        left
    }

    /// The end of a client's connection: of its session, or the finding that is left to emit.
    fn client_ended(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        bytes: Option<(u64, u64)>,
        out: &mut Outlet<'_>,
    ) -> Option<Finding> {
        if conn.started || conn.authenticated {
            self.start_client(time, conn, out);
            let mut quality = Quality::default();
            let ended = SessionEnded {
                login: Self::login(conn, &mut quality),
                commands: Some(conn.commands),
                bytes_in: bytes.map(|(bytes_in, _)| bytes_in),
                bytes_out: bytes.map(|(_, bytes_out)| bytes_out),
                disconnect: conn.disconnect.clone(),
                ..SessionEnded::default()
            };
            let kind = FindingKind::SshSessionEnded(Box::new(ended));
            let mut finding = self.finding(time, Outcome::Success, kind, conn, out.lineage());
            finding.duration = Some(time.saturating_sub(conn.began));
            finding.quality.add_fields(&quality);
            out.emit_at_once(&conn.view(), finding);
            return None;
        }
        let left = self.client_left(time, conn, bytes, out.lineage());
        Some(out.label(Of::Connection(conn.id), left))
    }

    /// `ssh-connection`, once.
    pub(super) fn emit_connection(&mut self, conn: &mut SshConnection, out: &mut Outlet<'_>) {
        let began = conn.software.incoming.is_some() || conn.software.outgoing.is_some();
        if conn.connection_emitted || conn.is_relayed() || !(began || conn.decrypted) {
            return;
        }
        conn.connection_emitted = true;
        Self::notice_miss(conn, out.lineage());
        let finding = self.connection_finding(conn, out.lineage());
        out.emit_at_once(&conn.view(), finding);
        let Pair { incoming, outgoing } = &mut conn.kexinit;
        if let (Some(incoming), Some(outgoing)) = (incoming, outgoing)
            && let Some(role) = conn.role
        {
            let (client, server) = if role == Role::Client { (outgoing, incoming) } else { (incoming, outgoing) };
            fingerprint::keep_agreed(client, server);
        }
    }

    /// `ssh-session-started` of a client.
    pub(super) fn start_client(&mut self, time: u64, conn: &mut SshConnection, out: &mut Outlet<'_>) {
        if conn.role != Some(Role::Client) || std::mem::replace(&mut conn.started, true) {
            return;
        }
        let mut quality = Quality::default();
        let kind = FindingKind::SshSessionStarted(Self::login(conn, &mut quality).map(Box::new));
        let mut finding = self.finding(time, Outcome::Success, kind, conn, out.lineage());
        finding.quality.add_fields(&quality);
        out.emit(&conn.view(), finding);
    }

    /// Notes for the session of lineage what the protocol knows.
    pub(super) fn share(&mut self, conn: &SshConnection, out: &Outlet<'_>) {
        if conn.role == Some(Role::Client) {
            return;
        }
        let Some((key, _)) = out.lineage().session_of(conn.id) else { return };
        self.sessions.entry(key).or_default().facts = Some(Facts {
            user: conn.user.clone(),
            connection: conn.connection_id.clone(),
            capture: conn.capture(),
            login: conn.login.clone().map(Box::new),
            disconnect: conn.disconnect.clone(),
            commands: conn.decrypted.then_some(conn.commands),
        });
    }
}

/// `ssh.session.id`: of the session by lineage in the server role, else of this process's connection.
pub(super) fn note_session(conn: &mut SshConnection, lineage: &Lineage) {
    if let Some((_, session)) = lineage.session_of(conn.id) {
        conn.session_id = Some(session.id.clone());
    } else if conn.session_id.is_none() {
        let entity = conn.process.map(|process| lineage.entity(process));
        let entity = entity.as_deref().unwrap_or_default();
        conn.session_id = Some(session_id(&format!("{entity} {}", conn.id)));
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
fn disconnect_reason(code: u32) -> Cow<'static, str> {
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
        other => return other.to_string().into(),
    };
    name.into()
}
