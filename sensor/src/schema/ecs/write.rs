//! A finding as a line: the subject, then what its kind adds.
//!
//! Nothing is copied but what ECS says twice. An object is there where the finding has the part that it shows, or a
//! field in it.

use super::{
    Line, VERSION,
    fields::{
        Account, Address, Application, Auditd, Connection, Container, ContainerUser, Deploy, Destination, Ecs,
        EntryLeader, EntryMeta, EntrySource, Error, Event, Host, Leader, Network, Parent, Process, Sensor, Session,
        SessionParent, Source, Ssh, Thread, User,
    },
    list::{FieldNames, Texts},
    related::related,
    value::{Id, Text, Timestamp, Word},
    words::meaning,
};
use crate::{
    finding::{self, Direction, Failure, Fields, Finding, Quality, Subject},
    schema::{Origin, Stamp},
};

impl<'a> Line<'a> {
    pub fn new(origin: &'a Origin, stamp: &Stamp, finding: &'a Finding) -> Self {
        let subject = &finding.subject;
        let mut line = Self {
            timestamp: Some(Timestamp(finding.time)),
            ecs: Some(Ecs { version: Some(VERSION.into()) }),
            event: Some(event(stamp, finding)),
            host: Some(Host { name: Some((&origin.host_name).into()), id: Some((&origin.host_id).into()) }),
            sensor: Some(sensor(origin, &finding.quality)),
            process: subject.process.as_deref().map(process),
            user: subject.user.as_ref().map(user),
            auditd: subject.audit_session.map(|session| Auditd { session: Some(Id(session)) }),
            container: subject.container.as_ref().map(|of| Box::new(container(of))),
            related: related(finding).map(Box::new),
            ssh: subject.ssh.as_ref().map(ssh),
            ..Self::default()
        };
        line.flow(subject);
        line.deploy =
            subject.deploy.as_ref().map(|id| Box::new(Deploy { id: Some(id.as_str().into()), ..Deploy::default() }));
        line.kind(finding);
        line
    }

    fn flow(&mut self, subject: &'a Subject) {
        let Some(flow) = &subject.flow else { return };
        self.source =
            flow.source.as_ref().map(|source| Source { ip: Some(source.ip), port: source.port, bytes: source.bytes });
        let to = &flow.destination;
        self.destination = Some(Destination {
            ip: to.ip,
            domain: to.domain.as_ref().map(Text::from),
            port: to.port,
            bytes: to.bytes,
            user: to.login.as_ref().map(account),
        });
        // The other end's: both are of one family where a kernel made the socket.
        let from = flow.source.as_ref().map(|source| source.ip);
        let other = |direction| if direction == Direction::Ingress { from.or(to.ip) } else { to.ip.or(from) };
        self.network = flow.network.as_ref().map(|network| Network {
            transport: Some("tcp".into()),
            protocol: network.protocol.map(Word),
            kind: other(network.direction).map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" }.into()),
            direction: Some(Word(network.direction)),
            community_id: network.community_id.as_ref().map(|id| id.as_str().into()),
        });
    }
}

fn event(stamp: &Stamp, finding: &Finding) -> Event<'static> {
    let action = finding.action();
    let meaning = meaning(action);
    Event {
        id: Some(stamp.id),
        sequence: Some(stamp.sequence),
        kind: Some("event".into()),
        category: Some(Texts::Fixed(meaning.category)),
        kinds: Some(Texts::Fixed(meaning.kind)),
        action: Some(Word(action)),
        outcome: Some(Word(finding.outcome)),
        dataset: Some(meaning.dataset.into()),
        duration: finding.duration,
        start: finding.span.map(|(start, _)| Timestamp(start)),
        end: finding.span.map(|(_, end)| Timestamp(end)),
    }
}

fn sensor<'a>(origin: &'a Origin, quality: &Quality) -> Sensor<'a> {
    let names = |fields: Fields| (!fields.is_empty()).then_some(FieldNames(fields));
    Sensor {
        version: Some((&origin.version).into()),
        boot_id: Some((&origin.boot_id).into()),
        adopted_by: quality.adopted_by.map(Word),
        lineage: quality.lineage.map(Word),
        inferred: quality.inferred.then_some(true),
        unconfirmed: quality.unconfirmed.then_some(true),
        redacted: names(quality.redacted),
        escaped: names(quality.escaped),
        truncated: names(quality.truncated),
        original_size: quality.original_size,
        ..Sensor::default()
    }
}

fn process(process: &finding::Process) -> Process<'_> {
    Process {
        pid: Some(process.pid),
        entity_id: Some(process.entity_id.as_str().into()),
        name: process.name.as_ref().map(Text::from),
        title: process.title.as_ref().map(Text::from),
        executable: process.executable.as_ref().map(Text::from),
        args: strings(&process.args),
        args_count: process.args_count,
        command_line: process.command_line.as_ref().map(Text::from),
        working_directory: process.working_directory.as_ref().map(Text::from),
        start: process.start.map(Timestamp),
        end: None,
        exit_code: None,
        exit_signal: None,
        thread: process.thread.map(|id| Thread { id: Some(id) }),
        parent: process.parent.as_ref().map(|parent| Parent {
            pid: Some(parent.pid),
            entity_id: Some(parent.entity_id.as_str().into()),
            name: parent.name.as_ref().map(Text::from),
            executable: parent.executable.as_ref().map(Text::from),
        }),
        session_leader: process
            .session_leader
            .as_ref()
            .map(|leader| Leader { pid: Some(leader.pid), entity_id: Some(leader.entity_id.as_str().into()) }),
        entry_leader: process.entry_leader.as_ref().map(|leader| EntryLeader {
            pid: Some(leader.pid),
            entity_id: Some(leader.entity_id.as_str().into()),
            entry_meta: Some(EntryMeta {
                kind: Some("sshd".into()),
                source: Some(EntrySource { ip: Some(leader.source) }),
            }),
        }),
    }
}

fn user(user: &finding::User) -> User<'_> {
    User {
        id: user.real.id.map(Id),
        name: user.real.name.as_ref().map(Text::from),
        effective: user.effective.as_ref().map(account),
        audit: user.audit.as_ref().map(account),
    }
}

fn account(account: &finding::Account) -> Account<'_> {
    Account { id: account.id.map(Id), name: account.name.as_ref().map(Text::from) }
}

fn container(container: &finding::Container) -> Container<'_> {
    Container {
        id: container.id.as_ref().map(Text::from),
        user: container.claimed_user.as_ref().map(|name| ContainerUser { name: Some(name.into()) }),
        ..Container::default()
    }
}

fn ssh(ssh: &finding::Ssh) -> Ssh<'_> {
    Ssh {
        role: ssh.role.map(Word),
        capture: ssh.capture.map(Word),
        connection: ssh.connection.as_ref().map(|id| Connection { id: Some(id.as_str().into()) }),
        session: ssh.session.as_ref().map(|session| Session {
            id: Some(session.id.as_str().into()),
            parent: session.parent.as_ref().map(|id| SessionParent { id: Some(id.as_str().into()) }),
            adopted: session.adopted.then_some(true),
            ..Session::default()
        }),
        command: ssh
            .command
            .as_ref()
            .map(|id| super::fields::Command { id: Some(id.as_str().into()), ..super::fields::Command::default() }),
        application: ssh.application.as_deref().map(|application| {
            Box::new(Application {
                name: Some((&application.name).into()),
                script: application.script.as_ref().map(Text::from),
                module: application.module.as_ref().map(Text::from),
                venv: application.venv.as_ref().map(Text::from),
            })
        }),
        ..Ssh::default()
    }
}

pub(super) fn address(end: &finding::ssh::Address) -> Address<'_> {
    Address { address: Some((&end.address).into()), port: Some(end.port) }
}

/// Also of nothing: a failure without a word is one.
pub(super) fn error(failure: &Failure) -> Error<'_> {
    Error { code: failure.code.as_ref().map(Text::from), message: failure.message.as_ref().map(Text::from) }
}

/// Absent where there is none.
pub(super) fn strings(list: &[String]) -> Option<Texts<'_>> {
    (!list.is_empty()).then_some(Texts::Strings(list))
}
