//! What leaves: one audit record, in the field names of the Elastic Common Schema 8.17; `ssh.*` and `sensor.*` are
//! ours.
//!
//! A field that is not known is absent: never null, never a made-up zero. `render` adds what only a writer knows:
//! `event.sequence`, `event.id` and the host. Times are ns since the epoch here and RFC 3339 there.

use std::{net::SocketAddr, sync::Arc};

use serde::Serialize;
use serde_with::skip_serializing_none;

pub use super::{record_config::*, record_deploy::*, record_sensor::*, record_ssh::*, time::Time};

/// `event.action`, with what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    SshConnection,
    SshHostKey,
    SshKeyOffered,
    SshAuthentication,
    SshChannelOpened,
    SshChannelClosed,
    SshForwardRequested,
    SshCommandStarted,
    SshCommandEnded,
    SshProtocolError,
    SshSessionStarted,
    SshSessionEnded,
    ProcessStarted,
    ProcessEnded,
    ConnectionOpened,
    ConnectionClosed,
    ConnectionFailed,
    DeployConfigChanged,
    DeployStarted,
    DeployStep,
    DeployFinished,
    SensorStarted,
    SensorStopped,
    SensorConfigReloaded,
    SensorDegraded,
    SensorEventsLost,
    SensorSuppressed,
}

/// What an action means in ECS terms.
pub struct Meaning {
    pub name: &'static str,
    pub dataset: &'static str,
    pub category: &'static [&'static str],
    pub kind: &'static [&'static str],
}

impl Action {
    pub const ALL: [Self; 27] = [
        Self::SshConnection,
        Self::SshHostKey,
        Self::SshKeyOffered,
        Self::SshAuthentication,
        Self::SshChannelOpened,
        Self::SshChannelClosed,
        Self::SshForwardRequested,
        Self::SshCommandStarted,
        Self::SshCommandEnded,
        Self::SshProtocolError,
        Self::SshSessionStarted,
        Self::SshSessionEnded,
        Self::ProcessStarted,
        Self::ProcessEnded,
        Self::ConnectionOpened,
        Self::ConnectionClosed,
        Self::ConnectionFailed,
        Self::DeployConfigChanged,
        Self::DeployStarted,
        Self::DeployStep,
        Self::DeployFinished,
        Self::SensorStarted,
        Self::SensorStopped,
        Self::SensorConfigReloaded,
        Self::SensorDegraded,
        Self::SensorEventsLost,
        Self::SensorSuppressed,
    ];

    pub fn meaning(self) -> Meaning {
        const SSH: &str = "sensor.ssh";
        let (name, dataset, category, kind): (_, _, &[_], &[_]) = match self {
            Self::SshConnection => ("ssh-connection", SSH, &["network", "session"], &["connection", "start"]),
            Self::SshHostKey => ("ssh-host-key", SSH, &["authentication"], &["info"]),
            Self::SshKeyOffered => ("ssh-key-offered", SSH, &["authentication"], &["info"]),
            Self::SshAuthentication => ("ssh-authentication", SSH, &["authentication"], &["start"]),
            Self::SshChannelOpened => ("ssh-channel-opened", SSH, &["network"], &["connection", "start"]),
            Self::SshChannelClosed => ("ssh-channel-closed", SSH, &["network"], &["end"]),
            Self::SshForwardRequested => ("ssh-forward-requested", SSH, &["network"], &["info"]),
            Self::SshCommandStarted => ("ssh-command-started", SSH, &["process", "session"], &["start"]),
            Self::SshCommandEnded => ("ssh-command-ended", SSH, &["process", "session"], &["end"]),
            Self::SshProtocolError => ("ssh-protocol-error", SSH, &["network"], &["error"]),
            Self::SshSessionStarted => ("ssh-session-started", "sensor.ssh", &["session"], &["start"]),
            Self::SshSessionEnded => ("ssh-session-ended", "sensor.ssh", &["session"], &["end"]),
            Self::ProcessStarted => ("process-started", "sensor.process", &["process"], &["start"]),
            Self::ProcessEnded => ("process-ended", "sensor.process", &["process"], &["end"]),
            Self::ConnectionOpened => ("connection-opened", "sensor.network", &["network"], &["connection", "start"]),
            Self::ConnectionClosed => ("connection-closed", "sensor.network", &["network"], &["connection", "end"]),
            Self::ConnectionFailed => ("connection-failed", "sensor.network", &["network"], &["connection", "denied"]),
            Self::DeployConfigChanged => {
                ("deploy-config-changed", "sensor.deploy", &["configuration", "file"], &["change"])
            }
            Self::DeployStarted => ("deploy-started", "sensor.deploy", &["configuration", "process"], &["start"]),
            Self::DeployStep => ("deploy-step", "sensor.deploy", &["process"], &["info"]),
            Self::DeployFinished => ("deploy-finished", "sensor.deploy", &["configuration", "process"], &["end"]),
            Self::SensorStarted => ("sensor-started", "sensor.health", &["configuration", "process"], &["start"]),
            Self::SensorStopped => ("sensor-stopped", "sensor.health", &["configuration", "process"], &["end"]),
            Self::SensorConfigReloaded => {
                ("sensor-config-reloaded", "sensor.health", &["configuration", "process"], &["change"])
            }
            Self::SensorDegraded => ("sensor-degraded", "sensor.health", &["configuration"], &["error"]),
            Self::SensorEventsLost => ("sensor-events-lost", "sensor.health", &["configuration"], &["error"]),
            Self::SensorSuppressed => ("sensor-suppressed", "sensor.health", &["configuration"], &["info"]),
        };
        Meaning { name, dataset, category, kind }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Success,
    Failure,
    Unknown,
}

/// A record before it is rendered.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// ns since the epoch.
    #[serde(skip)]
    pub time: i64,
    #[serde(skip)]
    pub action: Action,
    #[serde(skip)]
    pub outcome: Outcome,
    /// `event.duration`, ns.
    #[serde(skip)]
    pub duration: Option<u64>,
    /// `event.start` and `event.end`, ns since the epoch.
    #[serde(skip)]
    pub span: Option<(i64, i64)>,
    pub process: Option<Box<Process>>,
    pub user: Option<User>,
    pub auditd: Option<Auditd>,
    pub container: Option<Container>,
    pub source: Option<Endpoint>,
    pub destination: Option<Destination>,
    pub network: Option<Network>,
    pub ssh: Option<Ssh>,
    /// `file.*` and `deploy.config.*` of a configuration file; such a record has no other `deploy` fields.
    #[serde(flatten)]
    pub config: Option<Box<ConfigChange>>,
    pub deploy: Option<Deploy>,
    pub error: Option<Error>,
    pub related: Option<Related>,
    /// `render` merges it with its own.
    #[serde(skip)]
    pub sensor: Sensor,
}

impl Record {
    pub fn new(time: i64, action: Action, outcome: Outcome) -> Self {
        Self {
            time,
            action,
            outcome,
            duration: None,
            span: None,
            process: None,
            user: None,
            auditd: None,
            container: None,
            source: None,
            destination: None,
            network: None,
            ssh: None,
            config: None,
            deploy: None,
            error: None,
            related: None,
            sensor: Sensor::default(),
        }
    }
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    pub pid: u32,
    pub entity_id: Arc<str>,
    pub name: Option<Arc<str>>,
    /// `args[0]` as it was given, where its base name is not the executable's: a link (`sh` is dash), or a name that
    /// the caller of execve chose (`exec -a`). Programs are recognised by the executable, never by this.
    pub title: Option<Arc<str>>,
    pub executable: Option<Arc<str>>,
    pub args: Option<Vec<String>>,
    pub args_count: Option<u32>,
    pub command_line: Option<String>,
    pub working_directory: Option<String>,
    pub start: Option<Time>,
    pub end: Option<Time>,
    pub exit_code: Option<u16>,
    pub exit_signal: Option<u8>,
    pub thread: Option<Thread>,
    pub parent: Option<Parent>,
    pub session_leader: Option<Leader>,
    pub entry_leader: Option<EntryLeader>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Thread {
    pub id: u32,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Parent {
    pub pid: u32,
    pub entity_id: Arc<str>,
    pub name: Option<Arc<str>>,
    pub executable: Option<Arc<str>>,
}

/// A process group's or session's leader.
#[derive(Clone, Debug, Serialize)]
pub struct Leader {
    pub pid: u32,
    pub entity_id: Arc<str>,
}

#[derive(Clone, Debug, Serialize)]
pub struct EntryLeader {
    pub pid: u32,
    pub entity_id: Arc<str>,
    pub entry_meta: EntryMeta,
}

#[derive(Clone, Debug, Serialize)]
pub struct EntryMeta {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub source: IpOnly,
}

#[derive(Clone, Debug, Serialize)]
pub struct IpOnly {
    pub ip: String,
}

/// A user: the id always, the name if known.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct User {
    pub id: Option<String>,
    pub name: Option<Arc<str>>,
    pub effective: Option<Account>,
    pub audit: Option<Account>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    pub id: Option<String>,
    pub name: Option<Arc<str>>,
}

/// The kernel's audit session, as Auditbeat names it.
#[derive(Clone, Debug, Serialize)]
pub struct Auditd {
    pub session: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    pub ip: String,
    /// Absent where it is not known (a connection that failed before it had one).
    pub port: Option<u16>,
    /// Payload sent by this side.
    pub bytes: Option<u64>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Destination {
    pub ip: Option<String>,
    pub domain: Option<String>,
    pub port: Option<u16>,
    /// Payload sent by this side.
    pub bytes: Option<u64>,
    pub user: Option<Account>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Network {
    pub transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub direction: &'static str,
    /// Community ID v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community_id: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Error {
    pub code: Option<String>,
    pub message: Option<String>,
}

/// What a search should find this record by.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Related {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<String>,
}

impl Endpoint {
    pub fn of(address: SocketAddr) -> Self {
        // Port 0 is no port: the kernel had not chosen one.
        Self { ip: address.ip().to_string(), port: Some(address.port()).filter(|port| *port != 0), bytes: None }
    }
}
