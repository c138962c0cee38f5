//! Which clients of this host are shown which host key: whom to ask about the files that they go by.
//!
//! What enters: the events of the stream (who connects, what ssh was called with, host keys), and what an executable
//! is. What leaves: a question for each host key that a client was shown; `known_hosts_read` answers it, as the user of
//! the client. The home is that of the effective user's passwd entry in the process's mount namespace, whatever its
//! HOME says. OpenSSH's ssh is known by its content (`program`), not by a name; where a file is not examined yet, who
//! answers examines it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::identity;
use crate::bounded::Bounded;
use crate::event::{
    ssh::{ConnectionId, Direction, Key, Message},
    stream::{Event, EventKind, FileId, ProcessId, Role, Task},
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
    /// What the client executes is known. If not, `args` are those of ssh only if its content says so.
    pub examined: bool,
    /// ns since the epoch.
    pub time: i64,
}

pub struct KnownHosts {
    connections: Bounded<ConnectionId, (Task, SocketAddr)>,
    /// The file, and its arguments with a NUL between: many short ones take no more than what the kernel records.
    commands: Bounded<ProcessId, (FileId, Vec<u8>)>,
}

impl Default for KnownHosts {
    fn default() -> Self {
        Self { connections: Bounded::new(CONNECTIONS_MAX), commands: Bounded::new(COMMANDS_MAX) }
    }
}

impl KnownHosts {
    /// Notices who connects; a key that a client was shown, with the client. `role`: what an executable is, if that is
    /// known.
    pub fn observe(&mut self, event: &Event, role: impl Fn(FileId) -> Option<Role>) -> Option<(Task, Shown)> {
        match &event.what {
            EventKind::Connect(connect) => {
                self.connections.insert(connect.socket, (connect.task.clone(), connect.remote));
                None
            }
            EventKind::Exec(exec) => {
                let file = exec.file.filter(|file| role(*file).is_none_or(|role| role == Role::Client));
                match file {
                    Some(file) => drop(self.commands.insert(exec.task.id, (file, joined(&exec.args.list)))),
                    None => drop(self.commands.remove(&exec.task.id)),
                }
                None
            }
            EventKind::Exit(exit) => {
                self.commands.remove(&exit.task.id);
                None
            }
            EventKind::Ssh(packet) if packet.direction == Direction::In && packet.process.is_none() => {
                let Message::HostKey(key) = &packet.message else { return None };
                let (task, remote) = self.connections.remove(&packet.connection)?;
                let is_client = |file: FileId| role(file).is_none_or(|role| role == Role::Client);
                let command = self.commands.get(&task.id).filter(|(file, _)| is_client(*file));
                let examined = command.is_none_or(|(file, _)| role(*file).is_some());
                let word = |word: &[u8]| ByteBuf::from(word.to_vec());
                let args = command.map(|(_, args)| args.split(|byte| *byte == 0).map(word).collect());
                let time = (event.time as i64).wrapping_add(identity::clock_offset());
                let euid = task.credentials?.euid;
                let connection = packet.connection;
                Some((task, Shown { connection, key: key.clone(), remote, euid, args, examined, time }))
            }
            _ => None,
        }
    }
}

/// With a NUL between: no argument holds one.
fn joined(args: &[ByteBuf]) -> Vec<u8> {
    args.iter().map(|arg| arg.as_slice()).collect::<Vec<_>>().join(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        ssh::Packet,
        stream::{Args, Connect, Credentials, Exec, Names},
    };

    const FILE: FileId = FileId { dev: 1, inode: 7 };

    fn task() -> Task {
        Task {
            id: ProcessId { tgid: 9, start: 5 },
            tid: 9,
            parent: None,
            sid: None,
            credentials: Some(Credentials { uid: 1000, euid: 1000, gid: 1000, egid: 1000 }),
            loginuid: None,
            audit_session: None,
            mnt_ns: None,
            pid_ns: None,
            cgroup: None,
            comm: Vec::new(),
            names: Names::default(),
        }
    }

    /// The arguments that count when a client is shown a key: it was executed when its file was `before`, and the file
    /// is `after` by then. `Err`: they count if it is ssh.
    fn args(name: &str, before: Option<Role>, after: Option<Role>) -> Result<Option<Vec<ByteBuf>>, Vec<ByteBuf>> {
        let remote = SocketAddr::from(([192, 0, 2, 1], 22));
        let exec = Exec {
            task: task(),
            file: Some(FILE),
            role: None,
            executable: None,
            working_directory: None,
            args: Args { list: vec![ByteBuf::from(name)], ..Args::default() },
            argc: 1,
            served: None,
            thread: None,
            stamp: None,
        };
        let key = Key { kind: ByteBuf::from("ssh-ed25519"), fingerprint: None, certificate: None };
        let packet = Packet {
            connection: 3,
            process: None,
            endpoints: None,
            direction: Direction::In,
            before_mac: false,
            cut: false,
            message: Message::HostKey(key),
        };
        let mut known = KnownHosts::default();
        let event = |what| Event { time: 1, what };
        assert!(known.observe(&event(EventKind::Exec(Box::new(exec))), |_| before).is_none());
        let connect = Connect { task: task(), socket: 3, remote };
        assert!(known.observe(&event(EventKind::Connect(connect)), |_| after).is_none());
        let shown = known.observe(&event(EventKind::Ssh(Box::new(packet))), |_| after).unwrap().1;
        if shown.examined { Ok(shown.args) } else { Err(shown.args.unwrap()) }
    }

    #[test]
    fn openssh_is_what_its_file_is_whatever_its_name() {
        let client = Some(Role::Client);
        let own = |name: &str| vec![ByteBuf::from(name)];
        assert_eq!(args("x", client, client), Ok(Some(own("x"))));
        assert_eq!(args("x", None, client), Ok(Some(own("x"))), "examined while it connected");
        assert_eq!(args("ssh", Some(Role::Other), Some(Role::Other)), Ok(None));
        assert_eq!(args("ssh", None, Some(Role::Other)), Ok(None));
        assert_eq!(args("ssh", None, None), Err(own("ssh")), "not examined yet");
    }
}
