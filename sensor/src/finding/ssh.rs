//! What the SSH protocol says, by kind of finding. Names and values are those of RFC 4250-4254.
//!
//! A peer chooses names of methods, algorithms and channels, so they stay text. What this sensor decides is an enum.

use std::{borrow::Cow, sync::Arc};

use super::{
    ids::SshConnectionId,
    subject::{Application, Role},
};
pub use crate::event::host_key::Checking;

/// Why something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The name of an errno, or a word of this sensor (`authentication_failed`).
    pub code: Option<Cow<'static, str>>,
    pub message: Option<Cow<'static, str>>,
}

/// The clear phase: identifications, algorithms, host key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The text after `SSH-2.0-`.
    pub client: Option<String>,
    pub server: Option<String>,
    pub hassh: Option<String>,
    pub hassh_server: Option<String>,
    pub kex: Option<String>,
    pub cipher: Option<ByDirection>,
    pub mac: Option<ByDirection>,
    pub compression: Option<ByDirection>,
    pub host_key: Option<Key>,
    /// What differs from the last time that this application spoke to this server.
    pub changed: Vec<Agreed>,
    /// Where the key exchange did not complete.
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByDirection {
    pub client_to_server: Option<String>,
    pub server_to_client: Option<String>,
}

/// What client and server agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    ClientSoftware,
    ServerSoftware,
    Kex,
    Cipher,
    Mac,
    Compression,
    HostKey,
}

impl Agreed {
    pub const ALL: [Self; 7] = [
        Self::ClientSoftware,
        Self::ServerSoftware,
        Self::Kex,
        Self::Cipher,
        Self::Mac,
        Self::Compression,
        Self::HostKey,
    ];
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// `ssh-ed25519`...
    pub kind: String,
    /// `SHA256:...`; absent where the key was cut.
    pub fingerprint: Option<String>,
    /// Whose key it is, where a configuration says so.
    pub owner: Option<String>,
}

/// A server showed its key to a client of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostKey {
    pub key: Key,
    pub status: Option<HostKeyStatus>,
    /// Why there is no status.
    pub status_reason: Option<NoStatus>,
    /// What the client does with a key that it does not know.
    pub checking: Option<Checking>,
    /// Of a known key: is an entry of it for this server, by a name that could be found out?
    pub host_matched: Option<bool>,
}

/// What the files that a client goes by say of a host key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyStatus {
    Known,
    Unknown,
    Changed,
    Revoked,
}

/// Why it is not known what the files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoStatus {
    /// A file or a setting that the sensor cannot follow.
    Incomplete,
    Deadline,
    ClientGone,
    Busy,
    Unreadable,
    NoAnswer,
}

/// A request for authentication, or the one by which a session began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    pub method: String,
    /// Accepted, and another method has to follow.
    pub partial: bool,
    pub key: Option<Key>,
    pub certificate: Option<Certificate>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    pub key_id: String,
    pub serial: u64,
    pub principals: Vec<String>,
    pub ca_fingerprint: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Its number on this side.
    pub id: Option<u32>,
    pub kind: String,
    pub destination: Option<Address>,
    pub originator: Option<Address>,
    /// Of a unix socket.
    pub path: Option<String>,
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
    /// The SSH connection that runs through it.
    pub connection: Option<SshConnectionId>,
    /// Why it was refused (RFC 4254, 5.1).
    pub reason: Option<Cow<'static, str>>,
    /// What the peer said of the refusal.
    pub failure: Option<Failure>,
}

/// As a client writes it: a name or an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    pub address: String,
    pub port: u32,
}

/// A request to listen, or to forward an agent or X11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub kind: ForwardKind,
    pub bind_address: Option<String>,
    pub bind_port: Option<u32>,
    pub path: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardKind {
    Tcpip,
    Streamlocal,
    Agent,
    X11,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub kind: CommandKind,
    pub line: Option<String>,
    /// Whose patterns the line matches.
    pub labels: Vec<Arc<str>>,
    pub pty: bool,
    /// At the end.
    pub exit_status: Option<u32>,
    /// At the end: without `SIG`, as the peer names it.
    pub exit_signal: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    Exec,
    Shell,
    Subsystem,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionEnded {
    /// Of a client's session: the request by which it began.
    pub login: Option<Auth>,
    pub commands: Option<u64>,
    /// Processes that executed a program.
    pub processes: Option<u64>,
    /// Of these, those that outlive the session.
    pub processes_surviving: Option<u64>,
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
    pub disconnect: Option<Disconnect>,
}

/// SSH_MSG_DISCONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// As RFC 4250, 4.2.2 names it, in lower case; else its number.
    pub reason: Cow<'static, str>,
    pub description: Option<String>,
    /// Who sent it.
    pub by: Option<Role>,
}

impl HostKey {
    /// As far as the key itself goes.
    pub fn new(key: Key) -> Self {
        Self { key, ..Self::default() }
    }
}

impl Application {
    /// What tells it from another application of the same interpreter.
    pub fn identity(&self) -> &str {
        self.script.as_deref().or(self.module.as_deref()).unwrap_or(&self.name)
    }
}
