//! Findings of the protocol: what they all say, and what each kind adds.

use std::{net::IpAddr, sync::Arc};

use serde_bytes::ByteBuf;

use super::{
    changes::Pairing,
    connection::{self, LINE_MAX, SshConnection},
    machine::Ssh,
};
use crate::{
    correlate::lineage::{Lineage, session_id, ssh_flow},
    decode::ssh::fingerprint,
    event::{
        ssh::{AuthRequest, Key},
        text::escape,
    },
    finding::{
        Account, Destination, Direction, Field, Finding, FindingKind, Flow, Outcome, Quality, Role, Session,
        Ssh as SshSubject, Subject, User,
        ssh::{Address, Auth, ByDirection, Certificate, Channel, Command, Handshake, Key as KeyFields},
    },
};

pub(super) fn auth(request: &AuthRequest, partial: bool, quality: &mut Quality) -> Auth {
    let certificate = request.key.as_ref().and_then(|key| key.certificate.as_ref()).map(|certificate| Certificate {
        key_id: escape(&certificate.key_id).0.into_owned(),
        serial: certificate.serial,
        principals: certificate.principals.iter().map(|name| escape(name).0.into_owned()).collect(),
        ca_fingerprint: certificate.ca_fingerprint.clone(),
    });
    if escape(&request.user).1 {
        quality.escaped.add(Field::LoginUser);
    }
    let method = text(&request.method, Field::AuthMethod, quality);
    Auth { method, partial, key: request.key.as_ref().map(key), certificate }
}

pub(super) fn key(key: &Key) -> KeyFields {
    KeyFields { kind: escape(&key.kind).0.into_owned(), fingerprint: key.fingerprint.clone(), owner: None }
}

fn text(bytes: &[u8], field: Field, quality: &mut Quality) -> String {
    let (text, stray) = escape(bytes);
    if stray {
        quality.escaped.add(field);
    }
    text.into_owned()
}

impl Ssh {
    /// What every finding of a connection says.
    pub(super) fn finding(
        &self,
        time: u64,
        outcome: Outcome,
        kind: FindingKind,
        conn: &SshConnection,
        lineage: &Lineage,
    ) -> Finding {
        let (subject, quality) = self.subject(conn, lineage);
        Finding { subject, quality, ..Finding::new(lineage.time(time), outcome, kind) }
    }

    /// Who and where, of every finding of a connection.
    pub(super) fn subject(&self, conn: &SshConnection, lineage: &Lineage) -> (Subject, Quality) {
        let (mut subject, mut quality) = (Subject::default(), Quality::default());
        match (lineage.session_of(conn.id), conn.role) {
            (Some((key, session)), role) if role != Some(Role::Client) => {
                self.describe_session(&mut subject, &mut quality, key, session, lineage);
            }
            _ => describe_end(&mut subject, conn, lineage),
        }
        if let Some(name) = &conn.user {
            if let Some(flow) = &mut subject.flow {
                flow.destination.login.get_or_insert_default().name = Some(name.clone());
            }
            if conn.role == Some(Role::Server) {
                subject.user.get_or_insert_default().real.name = Some(name.clone());
            }
        }
        if let Some((local, remote)) = conn.endpoints
            && let Some(network) = subject.flow.as_mut().and_then(|flow| flow.network.as_mut())
        {
            network.community_id = Some(fingerprint::community_id(local, remote).into());
        }
        let ssh = subject.ssh.get_or_insert_default();
        ssh.role = conn.role;
        ssh.capture = Some(conn.capture());
        ssh.connection.clone_from(&conn.connection_id);
        (subject, quality)
    }

    /// `ssh-connection`.
    pub(super) fn connection_finding(&mut self, conn: &SshConnection, lineage: &Lineage) -> Finding {
        let complete = conn.has_keys();
        let outcome = if complete { Outcome::Success } else { Outcome::Failure };
        let mut quality = Quality::default();
        let mut handshake = handshake(conn, &mut quality);
        handshake.failure = (!complete).then(|| conn.no_keys());
        let time = conn.keyed.unwrap_or(conn.began);
        let placeholder = FindingKind::SshConnection(Box::default());
        let mut finding = self.finding(time, outcome, placeholder, conn, lineage);
        finding.duration = conn.keyed.map(|keyed| keyed.saturating_sub(conn.began));
        finding.quality.add_fields(&quality);
        if complete
            && conn.role == Some(Role::Client)
            && let Some(pairing) = pairing(&finding.subject, conn)
        {
            handshake.changed = self.changes.compare(pairing, &handshake);
        }
        finding.kind = FindingKind::SshConnection(Box::new(handshake));
        finding
    }

    /// The request by which the session of a client began.
    pub(super) fn login(conn: &SshConnection, quality: &mut Quality) -> Option<Auth> {
        conn.login.as_ref().map(|login| auth(login, false, quality))
    }

    /// A channel, as its findings show it; the kind is of the peer's choice.
    pub(super) fn channel(channel: &connection::Channel, quality: &mut Quality) -> Channel {
        let address = |end: &Option<(ByteBuf, u32)>| {
            end.as_ref().map(|(address, port)| Address { address: escape(address).0.into_owned(), port: *port })
        };
        Channel {
            id: channel.local,
            kind: text(&channel.open.kind, Field::ChannelType, quality),
            destination: address(&channel.open.destination),
            originator: address(&channel.open.originator),
            path: channel.open.path.as_ref().map(|path| escape(path).0.into_owned()),
            bytes_in: channel.bytes.incoming,
            bytes_out: channel.bytes.outgoing,
            connection: channel.carried_id.clone(),
            reason: None,
            failure: None,
        }
    }

    /// A command, as its findings show it.
    pub(super) fn command(&self, command: &connection::Command, pty: bool, quality: &mut Quality) -> Command {
        let mut line = command.line.as_ref().map(|line| text(line, Field::CommandLine, quality));
        let mut cut = command.cut;
        if let Some(line) = line.as_mut().filter(|line| line.len() > LINE_MAX) {
            line.truncate(line.floor_char_boundary(LINE_MAX));
            cut = true;
        }
        if cut {
            quality.truncated.add(Field::CommandLine);
        }
        if command.redacted {
            quality.redacted.add(Field::CommandLine);
        }
        Command {
            kind: command.kind,
            line,
            labels: command.line.as_ref().map(|line| self.labels_of(line)).unwrap_or_default(),
            pty,
            exit_status: None,
            exit_signal: None,
        }
    }

    /// The subject of a command's findings: its connection, and the process that it became.
    pub(super) fn command_finding(
        &self,
        time: u64,
        outcome: Outcome,
        kind: FindingKind,
        conn: &SshConnection,
        command: &connection::Command,
        lineage: &Lineage,
    ) -> Finding {
        let mut finding = self.finding(time, outcome, kind, conn, lineage);
        if command.process.is_some() {
            finding.subject.process.clone_from(&command.process);
        }
        if let Some(ssh) = &mut finding.subject.ssh {
            ssh.command = Some(command.id.clone());
        }
        finding
    }
}

/// The clear phase.
fn handshake(conn: &SshConnection, quality: &mut Quality) -> Handshake {
    let mut fields = Handshake::default();
    // Who is who is not known before the key exchange; strays count all the same.
    let (client, server) = conn.software.by_role(conn.role.unwrap_or(Role::Client));
    let client = client.as_ref().map(|bytes| text(bytes, Field::ClientSoftware, quality));
    let server = server.as_ref().map(|bytes| text(bytes, Field::ServerSoftware, quality));
    fields.host_key = conn.host_key.as_ref().map(key);
    let Some(role) = conn.role else { return fields };
    (fields.client, fields.server) = (client, server);
    let (client, server) = conn.kexinit.by_role(role);
    fields.hassh = client.as_deref().map(fingerprint::hassh_client);
    fields.hassh_server = server.as_deref().map(fingerprint::hassh_server);
    if let (Some(client), Some(server)) = (client, server) {
        let agreed = fingerprint::negotiate(client, server);
        let both = |client_to_server: Option<String>, server_to_client: Option<String>| {
            let both = ByDirection { client_to_server, server_to_client };
            (both != ByDirection::default()).then_some(both)
        };
        fields.kex = agreed.kex;
        fields.cipher = both(agreed.cipher_client, agreed.cipher_server);
        fields.mac = both(agreed.mac_client, agreed.mac_server);
        fields.compression = both(agreed.compression_client, agreed.compression_server);
    }
    fields
}

/// Who speaks to which server, to be compared with the last time.
fn pairing(subject: &Subject, conn: &SshConnection) -> Option<Pairing> {
    let application = match subject.ssh.as_ref().and_then(|ssh| ssh.application.as_ref()) {
        Some(application) => application.identity().into(),
        None => subject.process.as_ref().and_then(|process| process.executable.clone())?,
    };
    let (_, server) = conn.endpoints?;
    let user = subject.user.as_ref().and_then(|user| user.real.id);
    Some(Pairing { user, application, server })
}

/// A connection without a session by lineage: a client's, or a server's that is not followed.
fn describe_end(subject: &mut Subject, conn: &SshConnection, lineage: &Lineage) {
    let process = conn.process.and_then(|id| lineage.process(id)).or(conn.gone.as_deref());
    if let Some(task) = &conn.owner {
        Lineage::describe_task(subject, task);
        lineage.describe_owner(subject, task, process);
    } else if let Some(id) = conn.process {
        lineage.describe_process(subject, id, process);
        subject.user = process
            .and_then(|process| process.user.as_ref())
            .map(|(id, name)| User { real: Account { id: Some(*id), name: name.clone() }, ..User::default() });
    }
    let parent = process.and_then(|process| process.session).and_then(|key| lineage.session(key));
    let id = conn.session_id.clone().unwrap_or_else(|| {
        let entity = conn.process.map(|process| lineage.entity(process));
        session_id(&format!("{} {}", entity.as_deref().unwrap_or_default(), conn.id))
    });
    let carrier = conn.carried.as_ref().and_then(|carrier| carrier.session.clone());
    let parent = parent.map(|session| session.id.clone()).or_else(|| conn.parent.clone()).or(carrier);
    let application = process.and_then(|process| process.application.clone());
    subject.ssh = Some(SshSubject {
        session: Some(Session { id, parent, adopted: false }),
        application,
        ..SshSubject::default()
    });
    subject.flow = Some(match (conn.endpoints, conn.role) {
        (Some((local, remote)), Some(Role::Server)) => ssh_flow(remote, local, Direction::Ingress),
        (Some((local, remote)), _) => ssh_flow(local, remote, Direction::Egress),
        (None, _) => Flow { destination: carried_to(conn), ..Flow::default() },
    });
}

/// Where a connection without a socket leads, as the channel has it that carries it.
fn carried_to(conn: &SshConnection) -> Destination {
    let to = conn.carried.as_ref().and_then(|carrier| carrier.destination.as_ref());
    let Some((address, port)) = to else { return Destination::default() };
    let address = escape(address).0.into_owned();
    let ip = address.parse::<IpAddr>().ok();
    Destination {
        ip,
        domain: Some(address).filter(|_| ip.is_none()),
        port: u16::try_from(*port).ok(),
        ..Destination::default()
    }
}

impl Ssh {
    /// The labels of a command line.
    fn labels_of(&self, line: &[u8]) -> Vec<Arc<str>> {
        let line = line.get(..LINE_MAX).unwrap_or(line);
        self.labels.iter().filter(|(_, set)| set.is_match(line)).map(|(name, _)| name.clone()).collect()
    }
}
