//! Records of the protocol: what they all say, and what each kind adds.

use std::sync::Arc;

use super::{
    changes::Pairing,
    connection::{Channel, Command, LINE_MAX, SshConnection},
    machine::Ssh,
};
use crate::{
    correlate::{
        facts::Role,
        lineage::{Lineage, network, session_id},
    },
    decode::ssh::fingerprint,
    event::{
        record::{
            Account, Action, Address, Auth, Both, Certificate, Channel as ChannelFields, Command as CommandFields,
            Destination, Endpoint, HostKey, Id, KeyFields, Outcome, Protocol, Record, Related, Software,
            Ssh as SshFields, SshSession, User,
        },
        ssh::{AuthRequest, Key},
        text::escape,
    },
};

/// The protocol's part of a record.
pub(super) fn protocol(record: &mut Record) -> &mut Protocol {
    record.ssh.get_or_insert_default().protocol.get_or_insert_default()
}

pub(super) fn describe_auth(record: &mut Record, request: &AuthRequest, partial: bool) {
    let method = text(record, &request.method, "ssh.auth.method");
    let key = request.key.as_ref().map(key);
    let certificate = request.key.as_ref().and_then(|key| key.certificate.as_ref()).map(|certificate| Certificate {
        key_id: escape(&certificate.key_id).0.into_owned(),
        serial: certificate.serial,
        principals: certificate.principals.iter().map(|name| escape(name).0.into_owned()).collect(),
        ca_fingerprint: certificate.ca_fingerprint.clone(),
    });
    if escape(&request.user).1 {
        escaped(record, "destination.user.name");
    }
    if let Some(related) = &mut record.related {
        related.hash.extend(key.as_ref().and_then(|key| key.fingerprint.clone()));
    }
    protocol(record).auth = Some(Auth { method: Some(method), partial: partial.then_some(true), key, certificate });
}

fn key(key: &Key) -> KeyFields {
    KeyFields { kind: escape(&key.kind).0.into_owned(), fingerprint: key.fingerprint.clone() }
}

impl HostKey {
    /// As far as the key itself goes.
    fn new(kind: String, fingerprint: Option<String>) -> Self {
        Self { kind, fingerprint, status: None, status_reason: None, checking: None, host_matched: None }
    }
}

pub(super) fn describe_host_key(record: &mut Record, shown: &Key) {
    let KeyFields { kind, fingerprint } = key(shown);
    if let (Some(related), Some(fingerprint)) = (&mut record.related, &fingerprint) {
        related.hash.push(fingerprint.clone());
    }
    protocol(record).host_key = Some(HostKey::new(kind, fingerprint));
}

fn escaped(record: &mut Record, field: &'static str) {
    record.sensor.escaped.get_or_insert_default().push(field);
}

fn text(record: &mut Record, bytes: &[u8], field: &'static str) -> String {
    let (text, stray) = escape(bytes);
    if stray {
        escaped(record, field);
    }
    text.into_owned()
}

impl Ssh {
    /// What every record of a connection says.
    pub(super) fn ssh_record(
        &self,
        time: u64,
        action: Action,
        outcome: Outcome,
        conn: &SshConnection,
        lineage: &Lineage,
    ) -> Record {
        let mut record = Record::new(lineage.wall(time), action, outcome);
        match (lineage.session_of(conn.id), conn.role) {
            (Some((key, session)), role) if role != Some(Role::Client) => {
                self.describe_session(&mut record, key, session, lineage);
            }
            _ => Self::describe_end(&mut record, conn, lineage),
        }
        let user = conn.user.clone();
        if let Some(destination) = &mut record.destination
            && let Some(name) = &user
        {
            destination.user.get_or_insert_default().name = Some(name.clone());
        }
        if conn.role == Some(Role::Server)
            && let Some(name) = &user
        {
            record.user.get_or_insert_default().name = Some(name.clone());
        }
        if let Some((local, remote)) = conn.endpoints
            && let Some(network) = &mut record.network
        {
            network.community_id = Some(fingerprint::community_id(local, remote));
        }
        let related = record.related.get_or_insert_default();
        related.user.extend(user.filter(|name| !related.user.contains(name)));
        let (session, application) = record.ssh.take().map(|ssh| (ssh.session, ssh.application)).unwrap_or_default();
        record.ssh = Some(SshFields {
            role: conn.role.map(Role::name),
            capture: conn.capture(),
            connection: conn.connection_id.clone().map(|id| Id { id }),
            session,
            application,
            ..SshFields::default()
        });
        record
    }

    /// A connection without a session by lineage: a client's, or a server's that we do not follow.
    fn describe_end(record: &mut Record, conn: &SshConnection, lineage: &Lineage) {
        let process = conn.process.and_then(|id| lineage.process(id)).or(conn.gone.as_deref());
        if let Some(task) = &conn.owner {
            Lineage::describe_task(record, task);
            lineage.describe_owner(record, task, process);
        } else if let Some(id) = conn.process {
            lineage.describe_process(record, id, process);
            if let Some(process) = process {
                record.user = process.user.as_ref().map(|(id, name)| User {
                    id: Some(id.to_string()),
                    name: name.clone(),
                    ..User::default()
                });
            }
        }
        let parent = process.and_then(|process| process.session).and_then(|key| lineage.session(key));
        let id = conn.session_id.clone().unwrap_or_else(|| {
            let entity = conn.process.map(|process| lineage.entity(process));
            session_id(&format!("{} {}", entity.as_deref().unwrap_or_default(), conn.id))
        });
        let carrier = conn.carried.as_ref().and_then(|carrier| carrier.session.clone());
        let parent = parent.map(|session| session.id.clone()).or_else(|| conn.parent.clone()).or(carrier);
        let parent = parent.map(|id| Id { id });
        let application = process.and_then(|process| process.application.clone());
        let session = SshSession { id, parent, ..SshSession::default() };
        record.ssh = Some(SshFields { session, application, ..SshFields::default() });
        let Some((local, remote)) = conn.endpoints else {
            record.destination = Some(carried_to(conn));
            return;
        };
        let (from, to, direction) = match conn.role {
            Some(Role::Server) => (remote, local, "ingress"),
            _ => (local, remote, "egress"),
        };
        record.source = Some(Endpoint::of(from));
        record.destination =
            Some(Destination { ip: Some(to.ip().to_string()), port: Some(to.port()), ..Destination::default() });
        record.network = Some(network(to.ip(), direction, Some("ssh")));
        let mut ip = vec![from.ip().to_string(), to.ip().to_string()];
        ip.dedup();
        record.related = Some(Related { ip, ..Related::default() });
    }

    /// `ssh-connection`.
    pub(super) fn connection_record(&mut self, conn: &SshConnection, lineage: &Lineage) -> Record {
        let complete = conn.has_keys();
        let outcome = if complete { Outcome::Success } else { Outcome::Failure };
        let mut record =
            self.ssh_record(conn.keyed.unwrap_or(conn.began), Action::SshConnection, outcome, conn, lineage);
        record.duration = conn.keyed.map(|keyed| keyed.saturating_sub(conn.began));
        record.error = (!complete).then(|| conn.no_keys());
        let role = conn.role.unwrap_or(Role::Client);
        let (client, server) = conn.software.by_role(role);
        let (client, server) = (client.clone(), server.clone());
        let software = |record: &mut Record, bytes: Option<Vec<u8>>, field| {
            bytes.map(|bytes| Software { software: text(record, &bytes, field) })
        };
        let (client_software, server_software) = (
            software(&mut record, client, "ssh.client.software"),
            software(&mut record, server, "ssh.server.software"),
        );
        let fields = protocol(&mut record);
        // Who is who is not known before the key exchange.
        if conn.role.is_some() {
            (fields.client, fields.server) = (client_software, server_software);
        }
        fields.host_key = conn.host_key.as_ref().map(key).map(|key| HostKey::new(key.kind, key.fingerprint));
        if let Some(role) = conn.role {
            let (client, server) = conn.kexinit.by_role(role);
            fields.hassh = client.as_deref().map(fingerprint::hassh_client);
            fields.hassh_server = server.as_deref().map(fingerprint::hassh_server);
            if let (Some(client), Some(server)) = (client, server) {
                let agreed = fingerprint::negotiate(client, server);
                let both = |client_to_server: Option<String>, server_to_client: Option<String>| {
                    let both = Both { client_to_server, server_to_client };
                    (both != Both::default()).then_some(both)
                };
                fields.kex = agreed.kex;
                fields.cipher = both(agreed.cipher_client, agreed.cipher_server);
                fields.mac = both(agreed.mac_client, agreed.mac_server);
                fields.compression = both(agreed.compression_client, agreed.compression_server);
            }
        }
        let hashes = [&fields.hassh, &fields.hassh_server].into_iter().flatten().cloned().collect::<Vec<_>>();
        let fingerprint = conn.host_key.as_ref().and_then(|key| key.fingerprint.clone());
        record.related.get_or_insert_default().hash = hashes.into_iter().chain(fingerprint).collect();
        if complete && conn.role == Some(Role::Client) {
            self.compare_with_last(&mut record, conn);
        }
        record
    }

    /// What differs from the last time that this application spoke to this server.
    fn compare_with_last(&mut self, record: &mut Record, conn: &SshConnection) {
        let application = record.ssh.as_ref().and_then(|ssh| ssh.application.as_ref());
        let application = match application {
            Some(app) => app.script.as_ref().or(app.module.as_ref()).unwrap_or(&app.name).as_str().into(),
            None => match record.process.as_ref().and_then(|process| process.executable.clone()) {
                Some(executable) => executable,
                None => return,
            },
        };
        let Some((_, server)) = conn.endpoints else { return };
        let user = record.user.as_ref().and_then(|user| user.id.clone());
        let changed = self.changes.compare(Pairing { user, application, server }, protocol(record));
        protocol(record).changed = (!changed.is_empty()).then_some(changed);
    }

    /// The method and key with which a session began.
    pub(super) fn add_login(record: &mut Record, conn: &SshConnection) {
        if let Some(login) = &conn.login {
            describe_auth(record, login, false);
        }
    }

    pub(super) fn channel_record(
        &self,
        time: u64,
        action: Action,
        outcome: Outcome,
        conn: &SshConnection,
        channel: &Channel,
        lineage: &Lineage,
    ) -> Record {
        let mut record = self.ssh_record(time, action, outcome, conn, lineage);
        let kind = text(&mut record, &channel.open.kind, "ssh.channel.type");
        let address = |end: &Option<(serde_bytes::ByteBuf, u32)>| {
            end.as_ref().map(|(address, port)| Address { address: escape(address).0.into_owned(), port: *port })
        };
        protocol(&mut record).channel = Some(ChannelFields {
            id: channel.local,
            kind,
            destination: address(&channel.open.destination),
            originator: address(&channel.open.originator),
            path: channel.open.path.as_ref().map(|path| escape(path).0.into_owned()),
            bytes_in: channel.bytes.incoming,
            bytes_out: channel.bytes.outgoing,
            reason: None,
            connection: channel.carried_id.clone().map(|id| Id { id }),
        });
        record
    }

    #[allow(clippy::too_many_arguments, reason = "one call, every argument another fact")]
    pub(super) fn command_record(
        &self,
        time: u64,
        action: Action,
        outcome: Outcome,
        conn: &SshConnection,
        command: &Command,
        pty: bool,
        lineage: &Lineage,
    ) -> Record {
        let mut record = self.ssh_record(time, action, outcome, conn, lineage);
        if command.process.is_some() {
            record.process.clone_from(&command.process);
        }
        let mut line = command.line.as_ref().map(|line| text(&mut record, line, "ssh.command.line"));
        let mut cut = command.cut;
        if let Some(line) = line.as_mut().filter(|line| line.len() > LINE_MAX) {
            line.truncate(line.floor_char_boundary(LINE_MAX));
            cut = true;
        }
        if cut {
            record.sensor.truncated.get_or_insert_default().push("ssh.command.line");
        }
        if command.redacted {
            record.sensor.redacted.get_or_insert_default().push("ssh.command.line");
        }
        if let Some(ssh) = &mut record.ssh {
            ssh.command = Some(CommandFields {
                id: command.id.clone(),
                kind: Some(command.kind),
                line,
                labels: command.line.as_ref().and_then(|line| self.labels_of(line)),
                pty: Some(pty),
                ..CommandFields::default()
            });
        }
        record
    }
}

/// Where a connection without a socket leads, as the channel has it that carries it.
fn carried_to(conn: &SshConnection) -> Destination {
    let to = conn.carried.as_ref().and_then(|carrier| carrier.destination.as_ref());
    let Some((address, port)) = to else { return Destination::default() };
    let address = escape(address).0.into_owned();
    let is_ip = address.parse::<std::net::IpAddr>().is_ok();
    Destination {
        ip: Some(address.clone()).filter(|_| is_ip),
        domain: Some(address).filter(|_| !is_ip),
        port: u16::try_from(*port).ok(),
        ..Destination::default()
    }
}

/// Who logged in, by name only.
pub(super) fn named(name: &Arc<str>) -> Account {
    Account { id: None, name: Some(name.clone()) }
}
