//! `ssh.*`: the protocol, as RFC 4250-4254 name its parts.

use super::objects;
use crate::{
    finding::{
        Capture, Role,
        ssh::{Agreed, Checking, CommandKind, ForwardKind, HostKeyStatus, NoStatus},
    },
    schema::ecs::{
        list::{Texts, WordList},
        value::{Text, Word},
    },
};

objects! {
    /// The SSH connection, session and command that the record belongs to, and what the protocol says.
    Ssh<'a> {
        /// The end that this host has. Absent where it is not known before the key exchange.
        pub role: Option<Word<Role>>,
        /// How much was read: `full`, `partial` (older than its probes, or something was missed), `handshake` (this
        /// program cannot be decrypted), `lineage` (processes only). Absent where there was no connection.
        pub capture: Option<Word<Capture>>,
        pub connection: Option<Connection<'a>>,
        pub session: Option<Session<'a>>,
        pub command: Option<Command<'a>>,
        pub application: Option<Box<Application<'a>>>,
        pub client: Option<Software<'a>>,
        pub server: Option<Software<'a>>,
        /// HASSH: MD5 of the client's algorithms. Absent where its KEXINIT was not read.
        pub hassh: Option<Text<'a>>,
        /// The same of the server.
        pub hassh_server: Option<Text<'a>>,
        /// The key exchange method agreed on. Absent where there is none in common, or a KEXINIT was not read.
        pub kex: Option<Text<'a>>,
        /// The cipher agreed on.
        pub cipher: Option<Box<ByDirection<'a>>>,
        /// The MAC agreed on. Absent where the cipher authenticates.
        pub mac: Option<Box<ByDirection<'a>>>,
        /// The compression agreed on.
        pub compression: Option<Box<ByDirection<'a>>>,
        pub host_key: Option<Box<HostKey<'a>>>,
        /// Fields that differ from the last time that this user's application spoke to this server; remembered in
        /// memory. Absent the first time, and where nothing differs.
        pub changed: Option<WordList<'a, Agreed>>,
        pub auth: Option<Box<Auth<'a>>>,
        pub channel: Option<Box<Channel<'a>>>,
        pub forward: Option<Box<Forward<'a>>>,
        pub disconnect: Option<Box<Disconnect<'a>>>,
    }

    /// An SSH connection.
    Connection<'a> {
        /// The same in the records of client and server, through NAT and relays: from SHA-256 of the cookies of the
        /// first two KEXINITs. Absent where they were not read.
        pub id: Option<Text<'a>>,
    }

    /// An SSH session on this host.
    Session<'a> {
        /// In every record of the session, its processes and its commands; the same after a restart of the sensor.
        pub id: Option<Text<'a>>,
        pub parent: Option<SessionParent<'a>>,
        /// It was open before the sensor; `sensor.adopted_by` says how it is known. Absent for others.
        pub adopted: Option<bool>,
        /// Commands that were asked for. At the end only.
        pub commands: Option<u64>,
        /// Processes that executed a program. At the end, in the server role.
        pub processes: Option<u64>,
        /// Of these, those that outlive the session. At the end, in the server role.
        pub processes_surviving: Option<u64>,
        /// Payload received, bytes. At the end, where the socket's end was seen.
        pub bytes_in: Option<u64>,
        /// Payload sent, bytes. At the end, where the socket's end was seen.
        pub bytes_out: Option<u64>,
    }

    /// The session in which the client of this one runs.
    SessionParent<'a> {
        /// As `ssh.session.id`. Absent where the client runs in no session.
        pub id: Option<Text<'a>>,
    }

    /// A command of a session.
    Command<'a> {
        /// In the records of the command and of the processes that it started.
        pub id: Option<Text<'a>>,
        /// What was asked for.
        pub kind: Option<Word<CommandKind>>,
        /// The command line, or the subsystem's name; secrets replaced, at most 4 KiB. Absent for a shell.
        pub line: Option<Text<'a>>,
        /// Labels whose patterns the line matches (`[commands]` in the configuration). Absent where none does.
        pub labels: Option<Texts<'a>>,
        /// Is there a terminal?
        pub pty: Option<bool>,
        /// The status that the server reports. At the end, where it exited.
        pub exit_status: Option<u32>,
        /// The signal's name without `SIG`, as the server reports it. At the end, where a signal ended it.
        pub exit_signal: Option<Text<'a>>,
    }

    /// What the client's process runs, where its program is an interpreter.
    Application<'a> {
        /// The script's or module's name.
        pub name: Option<Text<'a>>,
        /// The script's path. Absent for a module.
        pub script: Option<Text<'a>>,
        /// The module (`python -m`). Absent for a script.
        pub module: Option<Text<'a>>,
        /// The root of its virtual environment. Absent where it has none.
        pub venv: Option<Text<'a>>,
    }

    /// An end's identification.
    Software<'a> {
        /// The text after `SSH-2.0-`. Absent where it was not read.
        pub software: Option<Text<'a>>,
    }

    /// By direction.
    ByDirection<'a> {
        /// From the client to the server. Absent where there is none in common.
        pub client_to_server: Option<Text<'a>>,
        /// From the server to the client. Absent where there is none in common.
        pub server_to_client: Option<Text<'a>>,
    }

    /// A key.
    Key<'a> {
        /// `ssh-ed25519`, `rsa-sha2-512`...
        #[serde(rename = "type")]
        pub kind: Option<Text<'a>>,
        /// `SHA256:` and base64, as ssh-keygen shows it. Absent where the key was too long to be read.
        pub fingerprint: Option<Text<'a>>,
        /// Whose key it is, where a configuration says so.
        pub owner: Option<Text<'a>>,
    }

    /// The key that the server showed.
    HostKey<'a> {
        /// `ssh-ed25519`, `rsa-sha2-512`...
        #[serde(rename = "type")]
        pub kind: Option<Text<'a>>,
        /// `SHA256:` and base64, as ssh-keygen shows it. Absent where the key was too long to be read.
        pub fingerprint: Option<Text<'a>>,
        /// What the files that the client goes by say of it. Absent where they could not be read or followed.
        pub status: Option<Word<HostKeyStatus>>,
        /// Why there is no status.
        pub status_reason: Option<Word<NoStatus>>,
        /// What the client does with a key that it does not know, by its arguments and configuration. Absent where that
        /// is not known.
        pub checking: Option<Word<Checking>>,
        /// Of a known key: is an entry of it for this server, by its address or a name that could be found out?
        pub host_matched: Option<bool>,
    }

    /// An authentication.
    Auth<'a> {
        /// The method, as the client names it.
        pub method: Option<Text<'a>>,
        /// Accepted, and another method has to follow. Absent where none has to.
        pub partial: Option<bool>,
        /// The key of the request. Absent for other methods.
        pub key: Option<Key<'a>>,
        pub certificate: Option<Certificate<'a>>,
    }

    /// The certificate of the key.
    Certificate<'a> {
        /// What its authority calls it.
        pub key_id: Option<Text<'a>>,
        /// Its number, as its authority gave it.
        pub serial: Option<u64>,
        /// User names that it is for; empty: any.
        pub principals: Option<Texts<'a>>,
        /// The key of the authority. Absent where it was too long to be read.
        pub ca_fingerprint: Option<Text<'a>>,
    }

    /// A channel.
    Channel<'a> {
        /// The channel's number on this side. Absent where it was refused.
        pub id: Option<u32>,
        /// `session`, `direct-tcpip`, `forwarded-tcpip`, `x11`...
        #[serde(rename = "type")]
        pub kind: Option<Text<'a>>,
        /// Where it leads. Absent for sessions.
        pub destination: Option<Address<'a>>,
        /// Where it comes from, as the opener says.
        pub originator: Option<Address<'a>>,
        /// The unix socket that it leads to.
        pub path: Option<Text<'a>>,
        /// Payload received, bytes. At the end only.
        pub bytes_in: Option<u64>,
        /// Payload sent, bytes. At the end only.
        pub bytes_out: Option<u64>,
        /// Why it was refused (RFC 4254, 5.1), in lower case; a number where it has no name. Absent where it was
        /// opened.
        pub reason: Option<Text<'a>>,
        /// The SSH connection that runs through it. Absent for other contents.
        pub connection: Option<Connection<'a>>,
    }

    /// As the client writes it.
    Address<'a> {
        /// A name or an address.
        pub address: Option<Text<'a>>,
        /// The port.
        pub port: Option<u32>,
    }

    /// A request to listen, or to forward an agent or X11.
    Forward<'a> {
        /// What was asked for.
        #[serde(rename = "type")]
        pub kind: Option<Word<ForwardKind>>,
        /// Where to listen. Of TCP only.
        pub bind_address: Option<Text<'a>>,
        /// The port to listen at; the one that the server chose where it was asked to choose. Of TCP only.
        pub bind_port: Option<u32>,
        /// The unix socket to listen at.
        pub path: Option<Text<'a>>,
    }

    /// How the connection was ended in good order. Absent where it was just closed.
    Disconnect<'a> {
        /// As RFC 4250, 4.2.2 names it, in lower case; a number where it has no name.
        pub reason: Option<Text<'a>>,
        /// The sender's own words.
        pub description: Option<Text<'a>>,
        /// Who sent it. Absent where the role is not known.
        pub by: Option<Word<Role>>,
    }
}
