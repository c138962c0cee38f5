//! Which clients of this host are shown which host key: whom to ask about the files that they go by.
//!
//! What enters: the events of the stream (who connects, what ssh was called with, host keys). What leaves: a question
//! for each host key that a client was shown; `known_hosts_read` answers it, as the user of the client. The home is
//! that of the effective user's passwd entry in the process's mount namespace, whatever its HOME says.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::identity;
use crate::bounded::Bounded;
use crate::event::{
    ssh::{ConnectionId, Direction, Key, Message},
    stream::{Event, EventKind, ProcessId, Task},
};

/// Outgoing connections remembered: a client is shown the key within a round trip or two.
const CONNECTIONS_MAX: usize = 1024;
/// Arguments of ssh remembered.
const COMMANDS_MAX: usize = 1024;

/// A client that was shown a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub connection: ConnectionId,
    pub key: Key,
    pub remote: SocketAddr,
    /// Whose home counts.
    pub euid: u32,
    /// Of OpenSSH's ssh.
    pub args: Option<Vec<ByteBuf>>,
    /// ns since the epoch.
    pub time: i64,
}

pub struct KnownHosts {
    connections: Bounded<ConnectionId, (Task, SocketAddr)>,
    commands: Bounded<ProcessId, Vec<ByteBuf>>,
}

impl Default for KnownHosts {
    fn default() -> Self {
        Self { connections: Bounded::new(CONNECTIONS_MAX), commands: Bounded::new(COMMANDS_MAX) }
    }
}

impl KnownHosts {
    /// Notices who connects; a key that a client was shown, with the client.
    pub fn observe(&mut self, event: &Event) -> Option<(Task, Shown)> {
        match &event.what {
            EventKind::Connect(connect) => {
                self.connections.insert(connect.socket, (connect.task.clone(), connect.remote));
                None
            }
            EventKind::Exec(exec) if exec.args.list.first().is_some_and(|arg| is_ssh(arg)) => {
                self.commands.insert(exec.task.id, exec.args.list.clone());
                None
            }
            EventKind::Ssh(packet) if packet.direction == Direction::In && packet.process.is_none() => {
                let Message::HostKey(key) = &packet.message else { return None };
                let (task, remote) = self.connections.remove(&packet.connection)?;
                let args = self.commands.get(&task.id).cloned();
                let time = (event.time as i64).wrapping_add(identity::clock_offset());
                let euid = task.credentials?.euid;
                let connection = packet.connection;
                Some((task, Shown { connection, key: key.clone(), remote, euid, args, time }))
            }
            _ => None,
        }
    }
}

fn is_ssh(arg: &[u8]) -> bool {
    arg.rsplit(|byte| *byte == b'/').next() == Some(b"ssh")
}
