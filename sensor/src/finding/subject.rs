//! Who and where: the process, its user, the container, the flow, the SSH session and the deploy of a finding.
//!
//! Each part is absent where it is not known or does not apply. What many findings of one process, session or deploy
//! share is behind a reference count.

use std::{net::IpAddr, sync::Arc};

use super::ids::{CommandId, CommunityId, DeployId, EntityId, SessionId, SshConnectionId};
use crate::event::time::Time;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    pub process: Option<Box<Process>>,
    pub user: Option<User>,
    /// The kernel's audit session id.
    pub audit_session: Option<u32>,
    pub container: Option<Container>,
    pub flow: Option<Flow>,
    pub ssh: Option<Ssh>,
    pub deploy: Option<DeployId>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// The thread group's id.
    pub pid: u32,
    pub entity_id: EntityId,
    /// The base name of the executable.
    pub name: Option<Arc<str>>,
    /// `args[0]` as it was given, where its base name is not the executable's: a link (`sh` is dash), or a name that
    /// the caller of execve chose (`exec -a`). Programs are recognised by the executable, never by this.
    pub title: Option<Arc<str>>,
    pub executable: Option<Arc<str>>,
    /// Empty where it is not known.
    pub args: Vec<String>,
    /// Arguments that there were, also those that are not in `args`.
    pub args_count: Option<u32>,
    pub command_line: Option<Arc<str>>,
    pub working_directory: Option<Arc<str>>,
    pub start: Option<Time>,
    /// The thread that called execve, where it is not the leader.
    pub thread: Option<u32>,
    pub parent: Option<Parent>,
    /// Of the POSIX session.
    pub session_leader: Option<Leader>,
    /// The process that serves the SSH session.
    pub entry_leader: Option<EntryLeader>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parent {
    pub pid: u32,
    pub entity_id: EntityId,
    pub name: Option<Arc<str>>,
    pub executable: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leader {
    pub pid: u32,
    pub entity_id: EntityId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryLeader {
    pub pid: u32,
    pub entity_id: EntityId,
    /// Where its connection comes from.
    pub source: IpAddr,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// As a shell shows it: 128+n for a signal.
    pub code: u16,
    pub signal: Option<u8>,
}

/// A user: real, effective and of the login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Of an SSH server's session: who logged in.
    pub real: Account,
    pub effective: Option<Account>,
    /// The kernel's loginuid.
    pub audit: Option<Account>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub id: Option<u32>,
    pub name: Option<Arc<str>>,
}

/// The container that a process runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub id: Option<Arc<str>>,
    /// What its passwd file calls the real user: a claim of who wrote that file.
    pub claimed_user: Option<Arc<str>>,
}

/// Two ends, from who connected to who was connected to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    pub source: Option<Source>,
    pub destination: Destination,
    /// Absent where no socket of this host is known: the connection runs through a pipe or a channel.
    pub network: Option<Network>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub ip: IpAddr,
    /// Absent where the kernel had not chosen one.
    pub port: Option<u16>,
    /// Payload sent by this side.
    pub bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    pub ip: Option<IpAddr>,
    /// What a client calls it, where the address is not known.
    pub domain: Option<String>,
    pub port: Option<u16>,
    /// Payload sent by this side.
    pub bytes: Option<u64>,
    /// Who is logged in there by SSH.
    pub login: Option<Account>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub direction: Direction,
    pub protocol: Option<Protocol>,
    pub community_id: Option<CommunityId>,
}

/// Seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
}

/// The protocol over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Ssh,
}

/// What SSH connection, session and command a finding belongs to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ssh {
    pub role: Option<Role>,
    /// Absent where there was no connection.
    pub capture: Option<Capture>,
    pub connection: Option<SshConnectionId>,
    pub session: Option<Session>,
    pub command: Option<CommandId>,
    /// What the client's process runs, where its program is an interpreter.
    pub application: Option<Arc<Application>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    /// The session in which the client of this one runs.
    pub parent: Option<SessionId>,
    /// It was open before the sensor.
    pub adopted: bool,
}

/// The end of an SSH connection that this host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Client,
    Server,
}

/// How much of an SSH connection was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// From its first packet on.
    Full,
    /// It is older than its probes, or something was missed.
    Partial,
    /// The clear phase only: this program cannot be decrypted.
    Handshake,
    /// Processes only.
    Lineage,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// As people know it: the script's or module's name.
    pub name: String,
    pub script: Option<String>,
    pub module: Option<String>,
    /// The root of its virtual environment.
    pub venv: Option<String>,
}

impl Process {
    /// A process of which only the identity is known.
    pub fn new(pid: u32, entity_id: EntityId) -> Self {
        Self { pid, entity_id, ..Self::default() }
    }
}
