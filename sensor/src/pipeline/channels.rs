//! SSH channels that are open when their connection ends: how much they moved is in no message, so the kernel's counts
//! are asked for.
//!
//! In: decoded events, in their order. Out: `Message::ChannelBytes`, before the event by which the connection ends: the
//! end of its socket, or of a process that speaks over it (over pipes there is no other end, and a peer that is gone
//! without a word leaves a socket for minutes). The counts are final by then: who counts is who closes. Also the counts
//! of connections that no event will end are taken away, or the map would fill: their packets were lost, so no record
//! misses them.

use std::collections::{HashMap, HashSet, VecDeque};

use sensor_common::ssh::direction;

use crate::{
    event::{
        ssh::{ConnectionId, Direction, Message, Packet},
        stream::{Event, EventKind, ProcessId, TcpState},
    },
    kernel::ChannelBytes,
};

/// Connections and processes followed at a time: as many as the probes follow.
const KEPT_MAX: usize = 16_384;
/// Both directions of as many channels as are recorded of one connection, sessions among them.
const CHANNELS_MAX: usize = 2 * (1024 + 256);

/// Ended connections remembered: those of a burst between two drains.
const ENDED_MAX: usize = 512;

pub(super) struct Channels {
    counts: ChannelBytes,
    /// What is open: the number by which its receiver knows the channel.
    open: HashMap<ConnectionId, Vec<(u32, Direction)>>,
    /// Whose socket has closed lately. A server that finds its client gone still closes the channel: no event would
    /// end the connection again.
    ended: VecDeque<ConnectionId>,
    /// Who speaks over which connection, and whether over pipes.
    processes: HashMap<ProcessId, (ConnectionId, bool)>,
    /// Known connections that no process had at the last look.
    over: HashSet<ConnectionId>,
    /// Connections with counts that nothing is known of, by the last look.
    suspects: HashSet<ConnectionId>,
}

impl Channels {
    pub(super) fn new(counts: ChannelBytes) -> Self {
        Self {
            counts,
            open: HashMap::new(),
            ended: VecDeque::new(),
            processes: HashMap::new(),
            over: HashSet::new(),
            suspects: HashSet::new(),
        }
    }

    /// What has to precede this event.
    pub(super) fn before(&mut self, event: &Event, out: &mut Vec<Event>) {
        match &event.what {
            EventKind::SshOwner(bound) | EventKind::SshAmbiguous(bound) => {
                self.known(bound.connection);
                if self.processes.len() < KEPT_MAX {
                    self.processes.insert(bound.process, (bound.connection, bound.endpoints.is_none()));
                }
            }
            EventKind::Ssh(packet) if packet.process.is_some() => self.packet(packet),
            EventKind::Tcp(change) if change.new == TcpState::Close => self.ended(event.time, change.socket, out),
            EventKind::Exit(exit) => {
                if let Some((connection, over_pipes)) = self.processes.remove(&exit.task.id) {
                    self.tell(event.time, connection, out);
                    if over_pipes {
                        self.forget(connection);
                    }
                }
            }
            _ => {}
        }
    }

    fn known(&mut self, connection: ConnectionId) -> Option<&mut Vec<(u32, Direction)>> {
        let full = self.open.len() >= KEPT_MAX;
        if !self.open.contains_key(&connection) && (full || self.ended.contains(&connection)) {
            return None;
        }
        Some(self.open.entry(connection).or_default())
    }

    fn packet(&mut self, packet: &Packet) {
        let Some(open) = self.known(packet.connection) else { return };
        match packet.message {
            // Data goes by the number of its receiver: that way it is `recipient`, the other way `sender`.
            Message::ChannelConfirmed { recipient, sender } if open.len() < CHANNELS_MAX => {
                open.extend([(recipient, packet.direction), (sender, packet.direction.other())]);
            }
            Message::ChannelClose { recipient, .. } => {
                open.retain(|channel| *channel != (recipient, packet.direction));
            }
            _ => {}
        }
    }

    fn ended(&mut self, time: u64, connection: ConnectionId, out: &mut Vec<Event>) {
        self.tell(time, connection, out);
        if self.open.contains_key(&connection) {
            if self.ended.len() >= ENDED_MAX {
                self.ended.pop_front();
            }
            self.ended.push_back(connection);
        }
        self.forget(connection);
    }

    fn tell(&self, time: u64, connection: ConnectionId, out: &mut Vec<Event>) {
        for (recipient, way) in self.open.get(&connection).into_iter().flatten() {
            let bytes = self.counts.get(connection, *recipient, number(*way));
            let message = Message::ChannelBytes { recipient: *recipient, bytes };
            let packet = Packet {
                connection,
                process: None,
                endpoints: None,
                direction: *way,
                before_mac: false,
                cut: false,
                message,
            };
            out.push(Event { time, what: EventKind::Ssh(Box::new(packet)) });
        }
    }

    fn forget(&mut self, connection: ConnectionId) {
        for (recipient, way) in self.open.remove(&connection).into_iter().flatten() {
            self.counts.remove(connection, recipient, number(way));
        }
    }

    /// SSH connections that channels carry now.
    pub(super) fn carried(&self) -> HashSet<u64> {
        self.counts.carried()
    }

    /// Takes away the counts of connections of which two looks in a row know nothing. `live`: those that the probes
    /// follow; one that was carried by another has no other end.
    pub(super) fn sweep(&mut self, live: &HashSet<u64>) {
        let bound: HashSet<_> = self.processes.values().map(|(connection, _)| *connection).collect();
        let over = |connection: &&ConnectionId| !live.contains(connection) && !bound.contains(connection);
        let over: HashSet<_> = self.open.keys().filter(over).copied().collect();
        let stale: Vec<_> = over.intersection(&self.over).copied().collect();
        for connection in stale {
            self.forget(connection);
        }
        self.over = over;
        let unknown: HashSet<_> =
            self.counts.connections().into_iter().filter(|connection| !self.open.contains_key(connection)).collect();
        let stale: HashSet<_> = unknown.intersection(&self.suspects).copied().collect();
        if !stale.is_empty() {
            self.counts.forget(&stale);
        }
        self.suspects = unknown;
    }
}

fn number(way: Direction) -> u8 {
    match way {
        Direction::In => direction::IN,
        Direction::Out => direction::OUT,
    }
}
