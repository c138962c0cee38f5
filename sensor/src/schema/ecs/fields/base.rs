//! `event.*`, `host.*`, `network.*`, `source.*`, `destination.*` and the like: what ECS has for every kind of event.

use std::net::IpAddr;

use uuid::Uuid;

use super::objects;
use crate::{
    finding::{Action, Direction, Outcome, Protocol},
    schema::ecs::{
        list::Texts,
        value::{Id, Sha256, Text, Timestamp, Word},
    },
};

objects! {
    /// The version of ECS.
    Ecs<'a> {
        /// The version of ECS that the names of fields are from.
        pub version: Option<Text<'a>>,
    }

    /// What happened.
    Event<'a> {
        /// The record's own id: a UUIDv7, whose time is `@timestamp` in ms. Never absent.
        pub id: Option<Uuid>,
        /// Counts the records of one run of the sensor, from 1 and without gaps: a missing number is a lost or deleted
        /// record. Never absent.
        pub sequence: Option<u64>,
        /// Always `event`.
        pub kind: Option<Text<'a>>,
        /// Categories of ECS; they follow from the action.
        pub category: Option<Texts<'a>>,
        /// Types of ECS; they follow from the action.
        #[serde(rename = "type")]
        pub kinds: Option<Texts<'a>>,
        /// What the record is about. Never absent.
        pub action: Option<Word<Action>>,
        /// How it went: of an attempt whether it succeeded, of a process whether it ended with 0. `unknown` where it
        /// was not seen. Never absent.
        pub outcome: Option<Word<Outcome>>,
        /// Groups actions; it follows from the action.
        pub dataset: Option<Text<'a>>,
        /// How long it took, ns: from start to end, or from request to answer. Absent where there is no beginning to
        /// count from.
        pub duration: Option<u64>,
        /// The beginning of what happened over a time (a loss, a summary). Absent for what has one time only.
        pub start: Option<Timestamp>,
        /// The end of what happened over a time (a loss, a summary). Absent for what has one time only.
        pub end: Option<Timestamp>,
    }

    /// The machine.
    Host<'a> {
        /// The host's name, from uname(2).
        pub name: Option<Text<'a>>,
        /// A hash of /etc/machine-id: the same for as long as the system is installed.
        pub id: Option<Text<'a>>,
    }

    /// The kernel's audit session.
    Auditd {
        /// The audit session id that a login set, from the kernel's task. Absent where no login set one.
        pub session: Option<Id>,
    }

    /// Who connected.
    Source {
        /// The address of the end that connected, as its socket has it. Absent where the connection has no socket on
        /// this host.
        pub ip: Option<IpAddr>,
        /// Its port. Absent where the kernel had not chosen one.
        pub port: Option<u16>,
        /// Payload that it sent, bytes, from the kernel's socket. At the end only.
        pub bytes: Option<u64>,
    }

    /// Who was connected to.
    Destination<'a> {
        /// The address of the end that was connected to. Absent where it is known by name only.
        pub ip: Option<IpAddr>,
        /// What the client calls it, of a connection through a channel of another one. Absent where the address is
        /// known.
        pub domain: Option<Text<'a>>,
        /// Its port.
        pub port: Option<u16>,
        /// Payload that it sent, bytes, from the kernel's socket. At the end only.
        pub bytes: Option<u64>,
        /// Who is logged in there by SSH, in both roles.
        pub user: Option<Account<'a>>,
    }

    /// A user by number and name.
    Account<'a> {
        /// The uid. Absent where only a name is known: a client's request for authentication has no number.
        pub id: Option<Id>,
        /// The name, from the passwd file of the process's mount namespace if that is the host's, or from the protocol.
        /// Absent where the file has none.
        pub name: Option<Text<'a>>,
    }

    /// The connection.
    Network<'a> {
        /// Always `tcp`.
        pub transport: Option<Text<'a>>,
        /// `ssh` where SSH was spoken, or where a connection that failed was one of SSH by what is known of port and
        /// process. Absent for other connections.
        pub protocol: Option<Word<Protocol>>,
        /// `ipv4` or `ipv6`, of the socket: a v4-mapped address is `ipv6`.
        #[serde(rename = "type")]
        pub kind: Option<Text<'a>>,
        /// Seen from this host.
        pub direction: Option<Word<Direction>>,
        /// Community ID v1 of both ends: joins with other sensors. In records of SSH connections only.
        pub community_id: Option<Text<'a>>,
    }

    /// A configuration file of a deploy.
    File<'a> {
        /// Absolute, in the root of who uses it.
        pub path: Option<Text<'a>>,
        pub hash: Option<FileHash>,
    }

    /// What a file holds.
    FileHash {
        /// HMAC-SHA256 under a key of this host: the same for the same contents here, and nothing to try values
        /// against. Absent where the file is gone.
        pub sha256: Option<Sha256>,
    }

    /// Why something failed.
    Error<'a> {
        /// The name of an errno, or a word for where in the protocol it failed (`host_key_not_accepted`,
        /// `no_common_algorithm`, `authentication_failed`...). Absent where there is a sentence only.
        pub code: Option<Text<'a>>,
        /// The same as a sentence. Absent where the code says all.
        pub message: Option<Text<'a>>,
    }

    /// What a search should find the record by; it follows from other fields.
    Related<'a> {
        /// The addresses of both ends.
        pub ip: Option<Vec<IpAddr>>,
        /// The SSH user.
        pub user: Option<Texts<'a>>,
        /// Fingerprints of client, server and keys, and hashes of files that hold no secrets.
        pub hash: Option<Texts<'a>>,
    }
}
