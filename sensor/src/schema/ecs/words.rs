//! The words of closed sets, as ECS and the contract of records write them.
//!
//! One table for writing and for reading. A word that is not in it, of a newer sensor, is read as absent.

use crate::{
    event::host_key::Checking,
    finding::{
        Action, AdoptedBy, Capture, Direction, Field, Lineage, Outcome, Protocol, Role,
        deploy::{Claim, Evidence, Kind},
        health::Limit,
        ssh::{Agreed, CommandKind, ForwardKind, HostKeyStatus, NoStatus},
    },
};

pub trait Words: Copy + 'static {
    const ALL: &'static [Self];

    fn word(self) -> &'static str;
}

macro_rules! words {
    ($($type:ident { $($value:ident = $word:literal),* $(,)? })*) => {$(
        impl Words for $type {
            const ALL: &'static [Self] = &[$(Self::$value),*];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word),*
                }
            }
        }
    )*};
}

words! {
    Action {
        SshConnection = "ssh-connection",
        SshHostKey = "ssh-host-key",
        SshKeyOffered = "ssh-key-offered",
        SshAuthentication = "ssh-authentication",
        SshChannelOpened = "ssh-channel-opened",
        SshChannelClosed = "ssh-channel-closed",
        SshForwardRequested = "ssh-forward-requested",
        SshCommandStarted = "ssh-command-started",
        SshCommandEnded = "ssh-command-ended",
        SshProtocolError = "ssh-protocol-error",
        SshSessionStarted = "ssh-session-started",
        SshSessionEnded = "ssh-session-ended",
        ProcessStarted = "process-started",
        ProcessEnded = "process-ended",
        ConnectionOpened = "connection-opened",
        ConnectionClosed = "connection-closed",
        ConnectionFailed = "connection-failed",
        DeployConfigChanged = "deploy-config-changed",
        DeployStarted = "deploy-started",
        DeployStep = "deploy-step",
        DeployFinished = "deploy-finished",
        SensorStarted = "sensor-started",
        SensorStopped = "sensor-stopped",
        SensorConfigReloaded = "sensor-config-reloaded",
        SensorDegraded = "sensor-degraded",
        SensorEventsLost = "sensor-events-lost",
        SensorSuppressed = "sensor-suppressed",
    }
    Outcome { Success = "success", Failure = "failure", Unknown = "unknown" }
    Role { Client = "client", Server = "server" }
    Capture { Full = "full", Partial = "partial", Handshake = "handshake", Lineage = "lineage" }
    Direction { Ingress = "ingress", Egress = "egress" }
    Protocol { Ssh = "ssh" }
    Lineage { Delegated = "delegated" }
    AdoptedBy { Connection = "connection", AuditSession = "audit-session", SshConnection = "ssh-connection" }
    Field {
        ProcessExecutable = "process.executable",
        ProcessWorkingDirectory = "process.working_directory",
        ProcessArgs = "process.args",
        ProcessCommandLine = "process.command_line",
        ProcessTitle = "process.title",
        ClientSoftware = "ssh.client.software",
        ServerSoftware = "ssh.server.software",
        AuthMethod = "ssh.auth.method",
        LoginUser = "destination.user.name",
        ChannelType = "ssh.channel.type",
        CommandLine = "ssh.command.line",
        DeployStepLine = "deploy.step.line",
        FilePath = "file.path",
        Record = "record",
    }
    Agreed {
        ClientSoftware = "ssh.client.software",
        ServerSoftware = "ssh.server.software",
        Kex = "ssh.kex",
        Cipher = "ssh.cipher",
        Mac = "ssh.mac",
        Compression = "ssh.compression",
        HostKey = "ssh.host_key",
    }
    HostKeyStatus { Known = "known", Unknown = "unknown", Changed = "changed", Revoked = "revoked" }
    NoStatus {
        Incomplete = "incomplete",
        Deadline = "deadline",
        ClientGone = "client-gone",
        Busy = "busy",
        Unreadable = "unreadable",
        NoAnswer = "no-answer",
    }
    Checking { Strict = "strict", Ask = "ask", AcceptNew = "accept-new", Off = "off" }
    ForwardKind {
        Tcpip = "tcpip-forward",
        Streamlocal = "streamlocal-forward@openssh.com",
        Agent = "agent",
        X11 = "x11",
    }
    CommandKind { Exec = "exec", Shell = "shell", Subsystem = "subsystem" }
    Kind {
        Deploy = "deploy",
        Rollback = "rollback",
        ConfigChange = "config-change",
        Secret = "secret",
        Maintenance = "maintenance",
        Lock = "lock",
        Exec = "exec",
        Inspect = "inspect",
        Unknown = "unknown",
        None = "none",
    }
    Evidence {
        None = "none",
        Connections = "connections",
        Commands = "commands",
        TrafficSwitched = "traffic-switched",
    }
    Claim {
        Destination = "deploy.destination",
        Hosts = "deploy.hosts",
        Performer = "deploy.performer",
        PreviousVersion = "deploy.previous_version",
        Roles = "deploy.roles",
        Secrets = "deploy.secrets",
        Service = "deploy.service",
        ToolVersion = "deploy.tool_version",
        Version = "deploy.version",
    }
    Limit {
        Records = "limits.session_records_per_second",
        Bytes = "limits.session_bytes_per_second",
        File = "output.max_bytes",
    }
}

/// What an action means in ECS terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// `event.dataset`
    pub dataset: &'static str,
    /// `event.category`
    pub category: &'static [&'static str],
    /// `event.type`
    pub kind: &'static [&'static str],
}

/// `event.dataset`, `.category` and `.type` of an action; its name is its word.
pub fn meaning(action: Action) -> Meaning {
    let (dataset, category, kind): (_, &[_], &[_]) = match action {
        Action::SshConnection => ("sensor.ssh", &["network", "session"], &["connection", "start"]),
        Action::SshHostKey | Action::SshKeyOffered => ("sensor.ssh", &["authentication"], &["info"]),
        Action::SshAuthentication => ("sensor.ssh", &["authentication"], &["start"]),
        Action::SshChannelOpened => ("sensor.ssh", &["network"], &["connection", "start"]),
        Action::SshChannelClosed => ("sensor.ssh", &["network"], &["end"]),
        Action::SshForwardRequested => ("sensor.ssh", &["network"], &["info"]),
        Action::SshCommandStarted => ("sensor.ssh", &["process", "session"], &["start"]),
        Action::SshCommandEnded => ("sensor.ssh", &["process", "session"], &["end"]),
        Action::SshProtocolError => ("sensor.ssh", &["network"], &["error"]),
        Action::SshSessionStarted => ("sensor.ssh", &["session"], &["start"]),
        Action::SshSessionEnded => ("sensor.ssh", &["session"], &["end"]),
        Action::ProcessStarted => ("sensor.process", &["process"], &["start"]),
        Action::ProcessEnded => ("sensor.process", &["process"], &["end"]),
        Action::ConnectionOpened => ("sensor.network", &["network"], &["connection", "start"]),
        Action::ConnectionClosed => ("sensor.network", &["network"], &["connection", "end"]),
        Action::ConnectionFailed => ("sensor.network", &["network"], &["connection", "denied"]),
        Action::DeployConfigChanged => ("sensor.deploy", &["configuration", "file"], &["change"]),
        Action::DeployStarted => ("sensor.deploy", &["configuration", "process"], &["start"]),
        Action::DeployStep => ("sensor.deploy", &["process"], &["info"]),
        Action::DeployFinished => ("sensor.deploy", &["configuration", "process"], &["end"]),
        Action::SensorStarted => ("sensor.health", &["configuration", "process"], &["start"]),
        Action::SensorStopped => ("sensor.health", &["configuration", "process"], &["end"]),
        Action::SensorConfigReloaded => ("sensor.health", &["configuration", "process"], &["change"]),
        Action::SensorDegraded | Action::SensorEventsLost => ("sensor.health", &["configuration"], &["error"]),
        Action::SensorSuppressed => ("sensor.health", &["configuration"], &["info"]),
    };
    Meaning { dataset, category, kind }
}
