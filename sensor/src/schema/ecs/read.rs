//! A line as a finding: the subject. What a kind has of its own is in `read_kind`.
//!
//! What a finding cannot be without is an error that names the field: time, action, outcome, and the two names of a
//! process that is there. All else that is absent in the line is absent in the finding.

use super::{
    Line, fields,
    list::Texts,
    loose::loose,
    value::{Text, Word},
};
use crate::{
    finding::{
        Account, Application, Container, Destination, EntityId, EntryLeader, Finding, Flow, Leader, Network, Parent,
        Process, Quality, Session, Source, Ssh, Subject, User,
    },
    schema::{Error, Origin, Stamp},
};

impl<'a> Line<'a> {
    /// The three that `new` was given. A line that lacks one of their fields is an error.
    pub fn parse(line: &'a [u8]) -> Result<(Origin, Stamp, Finding), Error> {
        let line = Self::read(line)?;
        let (origin, stamp) = (line.origin(), line.stamp());
        Ok((origin?, stamp?, line.finding()?))
    }

    /// The fields of a JSON object; each that is not what it should be is absent.
    pub fn read(line: &'a [u8]) -> Result<Self, Error> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let line = loose(&mut json)?;
        json.end()?;
        line.ok_or(Error::NoObject)
    }

    /// The host and the run of the sensor that wrote it.
    pub fn origin(&self) -> Result<Origin, Error> {
        let host = self.host.as_ref();
        let sensor = self.sensor.as_ref();
        let text = |text: Option<&Text<'_>>, field| text.map(|text| text.0.to_string()).ok_or(Error::Field(field));
        Ok(Origin {
            host_name: text(host.and_then(|host| host.name.as_ref()), "host.name")?,
            host_id: text(host.and_then(|host| host.id.as_ref()), "host.id")?,
            version: text(sensor.and_then(|sensor| sensor.version.as_ref()), "sensor.version")?,
            boot_id: text(sensor.and_then(|sensor| sensor.boot_id.as_ref()), "sensor.boot_id")?,
        })
    }

    /// Which record of the run it is.
    pub fn stamp(&self) -> Result<Stamp, Error> {
        let event = self.event.as_ref();
        Ok(Stamp {
            id: event.and_then(|event| event.id).ok_or(Error::Field("event.id"))?,
            sequence: event.and_then(|event| event.sequence).ok_or(Error::Field("event.sequence"))?,
        })
    }

    /// What was found.
    pub fn finding(mut self) -> Result<Finding, Error> {
        let time = self.timestamp.ok_or(Error::Field("@timestamp"))?.0;
        let event = self.event.take().unwrap_or_default();
        let Word(action) = event.action.ok_or(Error::Field("event.action"))?;
        let Word(outcome) = event.outcome.ok_or(Error::Field("event.outcome"))?;
        let kind = self.read_kind(action)?;
        Ok(Finding {
            time,
            outcome,
            duration: event.duration,
            span: event.start.zip(event.end).map(|(start, end)| (start.0, end.0)),
            quality: self.sensor.as_ref().map(quality).unwrap_or_default(),
            subject: subject(self)?,
            kind,
        })
    }
}

fn subject(line: Line<'_>) -> Result<Subject, Error> {
    let flow = flow(&line);
    let container = line.container.and_then(|container| {
        let id = container.id.map(Text::arc);
        let claimed_user = container.user.and_then(|user| user.name).map(Text::arc);
        (id.is_some() || claimed_user.is_some()).then_some(Container { id, claimed_user })
    });
    Ok(Subject {
        process: line.process.map(process).transpose()?.flatten().map(Box::new),
        user: line.user.map(|user| User {
            real: Account { id: user.id.map(|id| id.0), name: user.name.map(Text::arc) },
            effective: user.effective.map(account),
            audit: user.audit.map(account),
        }),
        audit_session: line.auditd.and_then(|auditd| auditd.session).map(|session| session.0),
        container,
        flow,
        ssh: line.ssh.and_then(ssh),
        deploy: line.deploy.and_then(|deploy| deploy.id).map(|id| id.arc().into()),
    })
}

fn account(account: fields::Account<'_>) -> Account {
    Account { id: account.id.map(|id| id.0), name: account.name.map(Text::arc) }
}

/// None: the process itself is not known, only how it ended.
fn process(process: fields::Process<'_>) -> Result<Option<Process>, Error> {
    if process.pid.is_none() && process.entity_id.is_none() {
        return Ok(None);
    }
    let leader = |pid: Option<u32>, entity_id: Option<Text<'_>>, names: [&'static str; 2]| {
        let [pid_name, entity_name] = names;
        let entity_id: EntityId = entity_id.ok_or(Error::Field(entity_name))?.arc().into();
        Ok::<_, Error>(Leader { pid: pid.ok_or(Error::Field(pid_name))?, entity_id })
    };
    let own = leader(process.pid, process.entity_id, ["process.pid", "process.entity_id"])?;
    let parent = process.parent.map(|parent| {
        let names = ["process.parent.pid", "process.parent.entity_id"];
        let Leader { pid, entity_id } = leader(parent.pid, parent.entity_id, names)?;
        let (name, executable) = (parent.name.map(Text::arc), parent.executable.map(Text::arc));
        Ok::<_, Error>(Parent { pid, entity_id, name, executable })
    });
    let session_leader = process
        .session_leader
        .map(|of| leader(of.pid, of.entity_id, ["process.session_leader.pid", "process.session_leader.entity_id"]));
    let entry_leader = process.entry_leader.map(|entry| {
        let names = ["process.entry_leader.pid", "process.entry_leader.entity_id"];
        let Leader { pid, entity_id } = leader(entry.pid, entry.entity_id, names)?;
        let source = entry.entry_meta.and_then(|meta| meta.source).and_then(|source| source.ip);
        let source = source.ok_or(Error::Field("process.entry_leader.entry_meta.source.ip"))?;
        Ok::<_, Error>(EntryLeader { pid, entity_id, source })
    });
    Ok(Some(Process {
        pid: own.pid,
        entity_id: own.entity_id,
        name: process.name.map(Text::arc),
        title: process.title.map(Text::arc),
        executable: process.executable.map(Text::arc),
        args: process.args.map(Texts::strings).unwrap_or_default(),
        args_count: process.args_count,
        command_line: process.command_line.map(Text::arc),
        working_directory: process.working_directory.map(Text::arc),
        start: process.start.map(|start| start.0),
        thread: process.thread.and_then(|thread| thread.id),
        parent: parent.transpose()?,
        session_leader: session_leader.transpose()?,
        entry_leader: entry_leader.transpose()?,
    }))
}

fn flow(line: &Line<'_>) -> Option<Flow> {
    if line.source.is_none() && line.destination.is_none() && line.network.is_none() {
        return None;
    }
    let to = line.destination.clone().unwrap_or_default();
    Some(Flow {
        source: line
            .source
            .as_ref()
            .and_then(|source| Some(Source { ip: source.ip?, port: source.port, bytes: source.bytes })),
        destination: Destination {
            ip: to.ip,
            domain: to.domain.map(Text::string),
            port: to.port,
            bytes: to.bytes,
            login: to.user.map(account),
        },
        network: line.network.as_ref().and_then(|network| {
            Some(Network {
                direction: network.direction?.0,
                protocol: network.protocol.map(|protocol| protocol.0),
                community_id: network.community_id.clone().map(|id| id.arc().into()),
            })
        }),
    })
}

/// None: it says nothing of whose it is.
fn ssh(ssh: fields::Ssh<'_>) -> Option<Ssh> {
    let found = Ssh {
        role: ssh.role.map(|role| role.0),
        capture: ssh.capture.map(|capture| capture.0),
        connection: ssh.connection.and_then(|connection| connection.id).map(|id| id.arc().into()),
        session: ssh.session.and_then(|session| {
            Some(Session {
                id: session.id?.arc().into(),
                parent: session.parent.and_then(|parent| parent.id).map(|id| id.arc().into()),
                adopted: session.adopted == Some(true),
            })
        }),
        command: ssh.command.and_then(|command| command.id).map(|id| id.arc().into()),
        application: ssh.application.and_then(|application| {
            Some(
                Application {
                    name: application.name?.string(),
                    script: application.script.map(Text::string),
                    module: application.module.map(Text::string),
                    venv: application.venv.map(Text::string),
                }
                .into(),
            )
        }),
    };
    (found != Ssh::default()).then_some(found)
}

fn quality(sensor: &fields::Sensor<'_>) -> Quality {
    Quality {
        adopted_by: sensor.adopted_by.map(|by| by.0),
        lineage: sensor.lineage.map(|lineage| lineage.0),
        inferred: sensor.inferred == Some(true),
        unconfirmed: sensor.unconfirmed == Some(true),
        redacted: sensor.redacted.map(|names| names.0).unwrap_or_default(),
        escaped: sensor.escaped.map(|names| names.0).unwrap_or_default(),
        truncated: sensor.truncated.map(|names| names.0).unwrap_or_default(),
        original_size: sensor.original_size,
        sshd_internal: false,
    }
}
