//! The `ssh.*` fields of a record. Names and values are those of RFC 4250-4254.

use std::sync::Arc;

use serde::Serialize;
use serde_with::skip_serializing_none;

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ssh {
    pub role: Option<&'static str>,
    /// `full`, `partial`, `handshake` or `lineage`; nothing where there was no connection.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub capture: &'static str,
    pub connection: Option<Id>,
    pub session: SshSession,
    pub command: Option<Command>,
    pub application: Option<Arc<Application>>,
    /// The rest is told by records of the protocol only: a process's record does not carry its weight.
    #[serde(flatten)]
    pub protocol: Option<Box<Protocol>>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Protocol {
    pub client: Option<Software>,
    pub server: Option<Software>,
    pub hassh: Option<String>,
    pub hassh_server: Option<String>,
    pub kex: Option<String>,
    pub cipher: Option<Both>,
    pub mac: Option<Both>,
    pub compression: Option<Both>,
    pub host_key: Option<HostKey>,
    /// Fields that differ from the last time that this application spoke to this server.
    pub changed: Option<Vec<&'static str>>,
    pub auth: Option<Auth>,
    pub channel: Option<Channel>,
    pub forward: Option<Forward>,
    pub disconnect: Option<Disconnect>,
}

/// What the client's process runs, where its program is an interpreter.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Application {
    /// As people know it: the script's or module's name.
    pub name: String,
    pub script: Option<String>,
    pub module: Option<String>,
    /// The root of its virtual environment.
    pub venv: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Id {
    pub id: Arc<str>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct SshSession {
    pub id: Arc<str>,
    /// The session in which the client of this one runs.
    pub parent: Option<Id>,
    pub adopted: Option<bool>,
    pub commands: Option<u64>,
    pub processes: Option<u64>,
    pub processes_surviving: Option<u64>,
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Software {
    /// The text after `SSH-2.0-`.
    pub software: String,
}

/// By direction.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Both {
    pub client_to_server: Option<String>,
    pub server_to_client: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct KeyFields {
    #[serde(rename = "type")]
    pub kind: String,
    /// `SHA256:...`
    pub fingerprint: Option<String>,
}

/// The key that the server showed.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct HostKey {
    #[serde(rename = "type")]
    pub kind: String,
    pub fingerprint: Option<String>,
    /// `known`, `unknown`, `changed` or `revoked`, by the files that the client goes by.
    pub status: Option<&'static str>,
    /// Why there is no status: `incomplete` (a file or a setting that the sensor cannot follow), `deadline`,
    /// `client-gone`, `busy`, `unreadable`, `no-answer`.
    pub status_reason: Option<&'static str>,
    /// What the client does with a key that it does not know: `strict`, `ask`, `accept-new` or `off`.
    pub checking: Option<&'static str>,
    /// Of a known key: is an entry of it for this server, by a name that could be found out?
    pub host_matched: Option<bool>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Auth {
    pub method: Option<String>,
    /// Accepted, and another method has to follow.
    pub partial: Option<bool>,
    pub key: Option<KeyFields>,
    pub certificate: Option<Certificate>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    pub key_id: String,
    pub serial: u64,
    pub principals: Vec<String>,
    pub ca_fingerprint: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Channel {
    /// The channel's number on this side.
    pub id: Option<u32>,
    #[serde(rename = "type")]
    pub kind: String,
    pub destination: Option<Address>,
    pub originator: Option<Address>,
    pub path: Option<String>,
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
    /// Why it was refused (RFC 4254, 5.1).
    pub reason: Option<String>,
    /// The SSH connection that runs through it.
    pub connection: Option<Id>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Address {
    pub address: String,
    pub port: u32,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Forward {
    #[serde(rename = "type")]
    pub kind: String,
    pub bind_address: Option<String>,
    pub bind_port: Option<u32>,
    pub path: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Command {
    pub id: Arc<str>,
    /// `exec`, `shell` or `subsystem`.
    pub kind: Option<&'static str>,
    pub line: Option<String>,
    /// Whose patterns the line matches.
    pub labels: Option<Vec<Arc<str>>>,
    pub pty: Option<bool>,
    pub exit_status: Option<u32>,
    /// Without `SIG`.
    pub exit_signal: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disconnect {
    /// As RFC 4250, 4.2.2 names it.
    pub reason: String,
    pub description: Option<String>,
    /// `client` or `server`.
    pub by: Option<&'static str>,
}
