//! One finding of each action with every field set: what `sensor schema` lists as the fields of that action, and what
//! the tests write and read back.
//!
//! A field that is added to a finding and not set here is missing in the reference and untested; the structs are
//! written out without `..`, so the compiler asks for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::finding::{
    Account, Action, AdoptedBy, Application, Capture, ConnectionClosed, Container, Destination, Direction, EntryLeader,
    Exit, Failure, Field, Finding, FindingKind, Flow, Leader, Lineage, Network, Outcome, Parent, Process, Protocol,
    Quality, Role, Session, Source, Ssh, Subject, Time, User,
    deploy::{
        Claim, ConfigChange, ConfigFiles, DeployFinished, DeployStarted, DeployStep, Description, Evidence, Extent,
        FileHash, Image, Kind,
    },
    health::{Counted, Degraded, Drains, Limit, Lost, Probe, RecordCounts, SensorStopped, Suppressed},
    ssh::{
        Address, Agreed, Auth, ByDirection, Certificate, Channel, Checking, Command, CommandKind, Disconnect, Forward,
        ForwardKind, Handshake, HostKey, HostKeyStatus, Key, NoStatus, SessionEnded,
    },
};

const TIME: Time = Time(1_795_295_924_000_000_005);

/// A finding of this action, with this text wherever a finding holds text.
pub fn finding(action: Action, text: &str) -> Finding {
    let kind = kind(action, text);
    Finding {
        time: TIME,
        outcome: Outcome::Success,
        duration: Some(u64::MAX),
        span: Some((Time(0), TIME)),
        subject: subject(&kind, text),
        kind,
        quality: quality(),
    }
}

fn quality() -> Quality {
    Quality {
        adopted_by: Some(AdoptedBy::AuditSession),
        lineage: Some(Lineage::Delegated),
        inferred: true,
        unconfirmed: true,
        redacted: Field::ProcessArgs.into(),
        escaped: Field::ALL.into_iter().collect(),
        truncated: Field::Record.into(),
        original_size: Some(u32::MAX),
        sshd_internal: false,
    }
}

/// What the sensor finds of itself has no subject; a summary has its user and session.
fn subject(kind: &FindingKind, text: &str) -> Subject {
    let name = || Some(text.into());
    let account = || Account { id: Some(u32::MAX), name: name() };
    let user = User { real: account(), effective: Some(account()), audit: Some(account()) };
    match kind {
        FindingKind::SensorStarted(_)
        | FindingKind::SensorStopped(_)
        | FindingKind::SensorConfigReloaded
        | FindingKind::SensorDegraded(_)
        | FindingKind::SensorEventsLost(_) => return Subject::default(),
        FindingKind::SensorSuppressed(_) => {
            return Subject { user: Some(user), ssh: Some(ssh(text)), ..Subject::default() };
        }
        _ => {}
    }
    let login = Some(account());
    Subject {
        process: Some(Box::new(process(text))),
        user: Some(user),
        audit_session: Some(7),
        container: Some(Container { id: name(), claimed_user: name() }),
        flow: Some(Flow {
            source: Some(Source {
                ip: IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
                port: Some(u16::MAX),
                bytes: Some(u64::MAX),
            }),
            destination: Destination {
                ip: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
                domain: Some(text.into()),
                port: Some(22),
                bytes: Some(0),
                login,
            },
            network: Some(Network {
                direction: Direction::Egress,
                protocol: Some(Protocol::Ssh),
                community_id: Some(text.into()),
            }),
        }),
        ssh: Some(ssh(text)),
        deploy: Some(text.into()),
    }
}

fn process(text: &str) -> Process {
    let name = || Some(text.into());
    Process {
        pid: 4711,
        entity_id: text.into(),
        name: name(),
        title: name(),
        executable: name(),
        args: vec![text.into(), String::new()],
        args_count: Some(3),
        command_line: name(),
        working_directory: name(),
        start: Some(Time(-1)),
        thread: Some(4712),
        parent: Some(Parent { pid: 1, entity_id: text.into(), name: name(), executable: name() }),
        session_leader: Some(Leader { pid: 2, entity_id: text.into() }),
        entry_leader: Some(EntryLeader {
            pid: 3,
            entity_id: text.into(),
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        }),
    }
}

fn ssh(text: &str) -> Ssh {
    Ssh {
        role: Some(Role::Server),
        capture: Some(Capture::Full),
        connection: Some(text.into()),
        session: Some(Session { id: text.into(), parent: Some(text.into()), adopted: true }),
        command: Some(text.into()),
        application: Some(
            Application {
                name: text.into(),
                script: Some(text.into()),
                module: Some(text.into()),
                venv: Some(text.into()),
            }
            .into(),
        ),
    }
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn kind(action: Action, text: &str) -> FindingKind {
    let string = || Some(text.to_owned());
    match action {
        Action::SshConnection => FindingKind::SshConnection(Box::new(handshake(text))),
        Action::SshHostKey => FindingKind::SshHostKey(Box::new(HostKey {
            key: Key { kind: text.into(), fingerprint: string(), owner: None },
            status: Some(HostKeyStatus::Known),
            status_reason: Some(NoStatus::Incomplete),
            checking: Some(Checking::AcceptNew),
            host_matched: Some(false),
        })),
        Action::SshKeyOffered => FindingKind::SshKeyOffered(Box::new(auth(text))),
        Action::SshAuthentication => FindingKind::SshAuthentication(Box::new(auth(text))),
        Action::SshChannelOpened => FindingKind::SshChannelOpened(Box::new(Channel {
            failure: Some(failure(text)),
            reason: Some(text.to_owned().into()),
            ..channel(text)
        })),
        Action::SshChannelClosed => FindingKind::SshChannelClosed(Box::new(Channel {
            bytes_in: Some(u64::MAX),
            bytes_out: Some(0),
            ..channel(text)
        })),
        Action::SshForwardRequested => FindingKind::SshForwardRequested(Box::new(Forward {
            kind: ForwardKind::Streamlocal,
            bind_address: string(),
            bind_port: Some(0),
            path: string(),
        })),
        Action::SshCommandStarted => FindingKind::SshCommandStarted(Box::new(command(text))),
        Action::SshCommandEnded => FindingKind::SshCommandEnded(Box::new(Command {
            exit_status: Some(u32::MAX),
            exit_signal: string(),
            ..command(text)
        })),
        Action::SshProtocolError => FindingKind::SshProtocolError(failure(text)),
        Action::SshSessionStarted => FindingKind::SshSessionStarted(Some(Box::new(auth(text)))),
        Action::SshSessionEnded => FindingKind::SshSessionEnded(Box::new(SessionEnded {
            login: Some(auth(text)),
            commands: Some(1),
            processes: Some(2),
            processes_surviving: Some(3),
            bytes_in: Some(4),
            bytes_out: Some(5),
            disconnect: Some(disconnect(text)),
        })),
        Action::ProcessStarted => FindingKind::ProcessStarted,
        Action::ProcessEnded => FindingKind::ProcessEnded(Exit { code: 137, signal: Some(9) }),
        Action::ConnectionOpened => FindingKind::ConnectionOpened,
        Action::ConnectionClosed => FindingKind::ConnectionClosed(ConnectionClosed {
            failure: Some(failure(text)),
            disconnect: Some(Box::new(disconnect(text))),
            tried_user: None,
        }),
        Action::ConnectionFailed => FindingKind::ConnectionFailed(failure(text)),
        Action::DeployConfigChanged => FindingKind::DeployConfigChanged(Box::new(ConfigChange {
            path: text.into(),
            now: Some(FileHash { sha256: [0xff; 32], secret: false }),
            previous: Some([0; 32]),
            keyed: true,
        })),
        Action::DeployStarted => {
            FindingKind::DeployStarted(Box::new(DeployStarted { description: description(text), extent: extent(text) }))
        }
        Action::DeployStep => FindingKind::DeployStep(Box::new(step(text))),
        Action::DeployFinished => FindingKind::DeployFinished(Box::new(DeployFinished {
            description: description(text),
            extent: extent(text),
            contacted: vec![text.into()],
            steps: Some(0),
            evidence: Some(Evidence::TrafficSwitched),
            reason: Some(text.to_owned().into()),
            message: Some(text.to_owned().into()),
            exit: Some(Exit { code: 130, signal: Some(2) }),
        })),
        Action::SensorConfigReloaded => FindingKind::SensorConfigReloaded,
        Action::SensorStarted
        | Action::SensorStopped
        | Action::SensorDegraded
        | Action::SensorEventsLost
        | Action::SensorSuppressed => health(action, text),
    }
}

fn health(action: Action, text: &str) -> FindingKind {
    let name = || text.to_owned();
    match action {
        Action::SensorStarted => {
            FindingKind::SensorStarted(vec![Probe { name: name(), target: name(), state: name(), why: Some(name()) }])
        }
        Action::SensorStopped => FindingKind::SensorStopped(Box::new(SensorStopped {
            programs: vec![Counted { name: name(), seen: 3, sent: 2, lost: 1, fallback_handled: 1, skipped: Some(0) }],
            drain: Some(Drains { drains: 1, late: 0, latency_max_ns: u64::MAX }),
            records: Some(RecordCounts { written: 1, suppressed: 0, lost: vec![(name(), 1)] }),
        })),
        Action::SensorEventsLost => FindingKind::SensorEventsLost(Box::new(Lost {
            stage: name(),
            kind: name(),
            count: u64::MAX,
            sequence: vec![(1, 2), (4, u64::MAX)],
        })),
        Action::SensorSuppressed => FindingKind::SensorSuppressed(Box::new(Suppressed {
            count: 3,
            limit: Limit::Bytes,
            actions: vec![(Action::ProcessStarted, 2), (Action::ConnectionFailed, 1)],
            executables: vec![text.into()],
        })),
        _ => FindingKind::SensorDegraded(Box::new(Degraded { what: name(), why: name(), effect: name() })),
    }
}

fn failure(text: &str) -> Failure {
    Failure { code: Some(text.to_owned().into()), message: Some(text.to_owned().into()) }
}

fn handshake(text: &str) -> Handshake {
    let string = || Some(text.to_owned());
    let both = || Some(ByDirection { client_to_server: string(), server_to_client: string() });
    Handshake {
        client: string(),
        server: string(),
        hassh: string(),
        hassh_server: string(),
        kex: string(),
        cipher: both(),
        mac: both(),
        compression: both(),
        host_key: Some(Key { kind: text.into(), fingerprint: string(), owner: None }),
        changed: Agreed::ALL.to_vec(),
        failure: Some(failure(text)),
    }
}

fn auth(text: &str) -> Auth {
    Auth {
        method: text.into(),
        partial: true,
        key: Some(Key { kind: text.into(), fingerprint: Some(text.into()), owner: Some(text.into()) }),
        certificate: Some(Certificate {
            key_id: text.into(),
            serial: u64::MAX,
            principals: vec![text.into()],
            ca_fingerprint: Some(text.into()),
        }),
    }
}

fn channel(text: &str) -> Channel {
    let end = || Some(Address { address: text.into(), port: u32::MAX });
    Channel {
        id: Some(0),
        kind: text.into(),
        destination: end(),
        originator: end(),
        path: Some(text.into()),
        bytes_in: None,
        bytes_out: None,
        connection: Some(text.into()),
        reason: None,
        failure: None,
    }
}

fn command(text: &str) -> Command {
    Command {
        kind: CommandKind::Exec,
        line: Some(text.into()),
        labels: vec![text.into()],
        pty: true,
        exit_status: None,
        exit_signal: None,
    }
}

fn disconnect(text: &str) -> Disconnect {
    Disconnect { reason: text.to_owned().into(), description: Some(text.into()), by: Some(Role::Client) }
}

fn description(text: &str) -> Description {
    let string = || Some(text.to_owned());
    Description {
        tool: Some(text.into()),
        tool_version: string(),
        action: Some(Kind::Rollback),
        verb: string(),
        service: string(),
        destination: string(),
        version: string(),
        previous_version: string(),
        performer: string(),
        claimed: vec![Claim::Performer, Claim::ToolVersion],
    }
}

fn extent(text: &str) -> Extent {
    let list = || vec![text.to_owned()];
    let config = Some(ConfigFiles { files: list(), unread: list() });
    Extent { hosts: list(), roles: list(), secrets: list(), config, connections: vec![text.into()] }
}

fn step(text: &str) -> DeployStep {
    let string = || Some(text.to_owned());
    DeployStep {
        description: description(text),
        kind: text.into(),
        line: string(),
        host: string(),
        role: string(),
        exit_status: Some(1),
        secrets: vec![text.into()],
        registry: string(),
        container: string(),
        image: Some(Image { name: string(), tag: string() }),
        exit: Some(Exit { code: 1, signal: None }),
    }
}
