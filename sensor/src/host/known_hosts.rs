//! What clients of this host go by when a server shows its key: files in the homes of their users, read when the key is seen.
//!
//! What enters: the events of the stream (who connects, what ssh was called with, host keys). What leaves: a fact for each host key that a client was shown. The reading has a thread of
//! its own: these files belong to users, and a home may be on a file system that does not answer. When that thread falls behind, keys go without a status.
//! The home is that of the effective user's passwd entry in the process's mount namespace, whatever its HOME says.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use serde_bytes::ByteBuf;

use super::{identity, known_hosts_read::examine};
use crate::event::{
    host_key::KnownHosts as Fact,
    ssh::{ConnectionId, Direction, Key, Message},
    stream::{Event, ProcessId, Task, What},
};

/// Outgoing connections remembered: a client is shown the key within a round trip or two.
const CONNECTIONS_MAX: usize = 1024;
/// Arguments of ssh remembered.
const COMMANDS_MAX: usize = 1024;
/// Keys that wait for the thread.
const WAITING_MAX: usize = 256;
const STACK_BYTES: usize = 512 << 10;

/// A client that was shown a key.
pub(super) struct Shown {
    pub(super) connection: ConnectionId,
    pub(super) key: Key,
    pub(super) remote: SocketAddr,
    pub(super) task: Task,
    /// Of OpenSSH's ssh.
    pub(super) args: Option<Vec<ByteBuf>>,
    /// ns since the epoch.
    pub(super) time: i64,
}

pub struct KnownHosts {
    proc: PathBuf,
    connections: HashMap<ConnectionId, (Task, SocketAddr)>,
    connected: VecDeque<ConnectionId>,
    commands: HashMap<ProcessId, Vec<ByteBuf>>,
    executed: VecDeque<ProcessId>,
    reader: Option<(SyncSender<Shown>, Receiver<Fact>)>,
}

impl KnownHosts {
    pub fn new(proc: &Path) -> Self {
        Self {
            proc: proc.into(),
            connections: HashMap::new(),
            connected: VecDeque::new(),
            commands: HashMap::new(),
            executed: VecDeque::new(),
            reader: None,
        }
    }

    /// Notices who connects; asks about a key that a client was shown.
    pub fn observe(&mut self, event: &Event) {
        match &event.what {
            What::Connect(connect) => {
                let about = (connect.task.clone(), connect.remote);
                bounded(&mut self.connections, &mut self.connected, CONNECTIONS_MAX, connect.socket, about);
            }
            What::Exec(exec) if exec.args.list.first().is_some_and(|arg| is_ssh(arg)) => {
                let (id, args) = (exec.task.id, exec.args.list.clone());
                bounded(&mut self.commands, &mut self.executed, COMMANDS_MAX, id, args);
            }
            What::Ssh(packet) if packet.direction == Direction::In && packet.process.is_none() => {
                if let Message::HostKey(key) = &packet.message
                    && let Some((task, remote)) = self.connections.remove(&packet.connection)
                {
                    let args = self.commands.get(&task.id).cloned();
                    let time = (event.time as i64).wrapping_add(identity::clock_offset());
                    let connection = packet.connection;
                    self.ask(Shown { connection, key: key.clone(), remote, task, args, time });
                }
            }
            _ => {}
        }
    }

    /// The facts that were found since the last time.
    pub fn take(&mut self, out: &mut Vec<Event>) {
        let Some((_, facts)) = &self.reader else { return };
        for fact in facts.try_iter() {
            out.push(Event { time: identity::boot_time(), what: What::KnownHosts(Box::new(fact)) });
        }
    }

    fn ask(&mut self, shown: Shown) {
        // Started with the first key: by then this process has given up the capabilities that it does not need, and so has the thread.
        if self.reader.is_none() {
            self.reader = start(&self.proc)
                .inspect_err(
                    |error| tracing::warn!(%error, "cannot look up host keys: no status of theirs will be told"),
                )
                .ok();
        }
        if let Some((jobs, _)) = &self.reader
            && jobs.try_send(shown).is_err()
        {
            tracing::debug!("a host key goes without a status: the reader of known hosts is behind");
        }
    }
}

fn start(proc: &Path) -> std::io::Result<(SyncSender<Shown>, Receiver<Fact>)> {
    let (jobs, shown) = sync_channel::<Shown>(WAITING_MAX);
    let (tell, facts) = sync_channel(WAITING_MAX);
    let proc = proc.to_path_buf();
    thread::Builder::new().name("known-hosts".into()).stack_size(STACK_BYTES).spawn(move || {
        for shown in shown {
            if tell.send(examine(&proc, &shown)).is_err() {
                return;
            }
        }
    })?;
    Ok((jobs, facts))
}

fn is_ssh(arg: &[u8]) -> bool {
    arg.rsplit(|byte| *byte == b'/').next() == Some(b"ssh")
}

/// Keeps it; the oldest goes when there are too many.
fn bounded<K: Copy + Eq + std::hash::Hash, V>(
    map: &mut HashMap<K, V>,
    order: &mut VecDeque<K>,
    max: usize,
    key: K,
    value: V,
) {
    if order.len() >= max
        && let Some(oldest) = order.pop_front()
    {
        map.remove(&oldest);
    }
    if map.insert(key, value).is_none() {
        order.push_back(key);
    }
}
