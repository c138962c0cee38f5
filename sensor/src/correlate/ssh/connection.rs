//! What is known of one SSH connection, as one of its ends on this host has it. If both ends are here there are two,
//! with the same `ssh.connection.id`.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use serde_bytes::ByteBuf;

use crate::{
    correlate::{
        facts::{CommandView, ConnectionView},
        lineage::Process as KnownProcess,
    },
    event::{
        host_key::KnownHosts,
        ssh::{AuthRequest, ChannelOpen, ClearLoss, ConnectionId, Direction, KexInit, Key, Tunnelled},
        stream::{ProcessId, Task},
    },
    finding::{
        Capture, CommandId, Finding, Process, Role, SessionId, SshConnectionId,
        ssh::{CommandKind, Disconnect, Forward, HostKey},
    },
};

/// Forwardings and the like followed on one connection: a client can hold as many as it likes.
pub(super) const CHANNELS_MAX: usize = 1024;
/// Sessions, besides: commands run in them, so no number of other channels takes their room. OpenSSH's server allows
/// ten by default (MaxSessions).
pub(super) const SESSIONS_MAX: usize = 256;
/// Requests on a channel that wait for their answer; a peer that asks more without waiting is not followed.
pub(super) const REQUESTS_MAX: usize = 64;
/// More of a command's line is neither recorded nor matched against labels.
pub(super) const LINE_MAX: usize = 4096;
/// Protocol errors emitted for one connection.
pub(super) const ERRORS_MAX: u8 = 4;

/// Who sends in this direction.
pub(super) fn sender(role: Role, direction: Direction) -> Role {
    match (role, direction) {
        (Role::Client, Direction::Out) | (Role::Server, Direction::In) => Role::Client,
        _ => Role::Server,
    }
}

/// Two of something, by direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair<T> {
    pub(super) incoming: T,
    pub(super) outgoing: T,
}

impl<T> Pair<T> {
    pub(super) fn at(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::In => &mut self.incoming,
            Direction::Out => &mut self.outgoing,
        }
    }

    /// (the client's, the server's)
    pub(super) fn by_role(&self, role: Role) -> (&T, &T) {
        match role {
            Role::Client => (&self.outgoing, &self.incoming),
            Role::Server => (&self.incoming, &self.outgoing),
        }
    }
}

#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct SshConnection {
    pub(super) id: ConnectionId,
    pub(super) began: u64,
    pub(super) role: Option<Role>,
    /// (local, remote)
    pub(super) endpoints: Option<(SocketAddr, SocketAddr)>,
    /// The client's process, or who serves where no session is known.
    pub(super) process: Option<ProcessId>,
    /// The same as it connected.
    pub(super) owner: Option<Box<Task>>,
    /// That process as it was, if it is gone.
    pub(super) gone: Option<Box<KnownProcess>>,
    /// The session that the client ran in, if it is gone.
    pub(super) parent: Option<SessionId>,
    /// `ssh.session.id`, once it is known.
    pub(super) session_id: Option<SessionId>,
    /// The client's own session: has it started?
    pub(super) started: bool,

    pub(super) software: Pair<Option<Vec<u8>>>,
    pub(super) kexinit: Pair<Option<Box<KexInit>>>,
    pub(super) host_key: Option<Key>,
    /// When the server showed it, until it is known whether the client went on.
    pub(super) host_key_shown: Option<u64>,
    pub(super) known_hosts: Option<Box<KnownHosts>>,
    pub(super) new_keys: Pair<bool>,
    /// Something followed NEWKEYS.
    pub(super) encrypted: Pair<bool>,
    /// The clear phase is over since then.
    pub(super) keyed: Option<u64>,
    pub(super) clear_lost: Option<ClearLoss>,
    pub(super) connection_id: Option<SshConnectionId>,
    pub(super) connection_emitted: bool,
    pub(super) decrypted: bool,
    /// Its program's cipher calls are seen.
    pub(super) bound: bool,
    /// The first decrypted packet was not the first that there was; or none was, of a program that could have been read
    /// from its start on.
    pub(super) missed_start: bool,
    /// Incoming packets are seen before their integrity is checked.
    pub(super) unverified: bool,

    pub(super) attempt: Option<Attempt>,
    /// Methods that failed, each once.
    pub(super) failed: Vec<String>,
    /// The user name of the last request.
    pub(super) user: Option<Arc<str>>,
    /// The method and key that succeeded.
    pub(super) login: Option<AuthRequest>,
    pub(super) authenticated: bool,
    pub(super) disconnect: Option<Disconnect>,

    pub(super) channels: Vec<Channel>,
    /// Global requests that wait for an answer, by who asked.
    pub(super) requests: Pair<VecDeque<Option<PendingForward>>>,
    pub(super) commands: u64,
    pub(super) errors: u8,

    /// The client's process is gone since then.
    pub(super) closing: Option<u64>,
    /// The channel of another connection through which this one runs.
    pub(super) carried: Option<Tunnel>,
}

/// Through what a connection without a socket runs.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    pub(super) carried: Tunnelled,
    /// Address and port to which the channel leads.
    pub(super) destination: Option<(ByteBuf, u32)>,
    /// `ssh.session.id` of the carrying connection.
    pub(super) session: Option<SessionId>,
    /// The carrier serves: this host relays, and neither of the ends is here.
    pub(super) relays: bool,
}

/// A request for authentication that was not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) request: AuthRequest,
    pub(super) time: u64,
}

impl Attempt {
    /// A key without a signature: a question, not an attempt.
    pub(super) fn is_offer(&self) -> bool {
        self.request.key.is_some() && !self.request.signed
    }
}

/// A decision whose files are still to be read.
pub(super) struct PendingHostKey {
    pub(super) connection: ConnectionId,
    pub(super) since: u64,
    /// But for what the files say.
    pub(super) finding: Box<Finding>,
    pub(super) shown: HostKey,
}

/// A forwarding that was asked for.
#[derive(Clone, Debug)]
pub(super) struct PendingForward {
    pub(super) time: u64,
    pub(super) forward: Forward,
}

#[derive(Clone, Debug)]
pub(super) struct Channel {
    /// The channel's number on this side, and on the other.
    pub(super) local: Option<u32>,
    pub(super) remote: Option<u32>,
    pub(super) open: ChannelOpen,
    /// Who opened it.
    pub(super) opener: Direction,
    pub(super) time: u64,
    pub(super) confirmed: bool,
    pub(super) pty: bool,
    pub(super) bytes: Pair<Option<u64>>,
    pub(super) closed: Pair<bool>,
    pub(super) requests: VecDeque<PendingReply>,
    pub(super) command: Option<Command>,
    /// The SSH connection that runs through it, and `ssh.connection.id` of that.
    pub(super) carries: Option<ConnectionId>,
    pub(super) carried_id: Option<SshConnectionId>,
}

/// What waits for an answer on a channel.
#[derive(Clone, Debug)]
pub(super) enum PendingReply {
    Command,
    Forward(PendingForward),
    Other,
}

#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Command {
    pub(super) id: CommandId,
    pub(super) kind: CommandKind,
    pub(super) line: Option<Vec<u8>>,
    pub(super) redacted: bool,
    pub(super) cut: bool,
    pub(super) time: u64,
    pub(super) emitted: bool,
    pub(super) ended: bool,
    /// The first process that it became, in the server role, as it was then: it may be gone when the command ends.
    pub(super) process: Option<Box<Process>>,
}

impl SshConnection {
    pub(super) fn new(id: ConnectionId, time: u64, owner: Option<Box<Task>>) -> Self {
        Self {
            id,
            began: time,
            // Who connects is the client.
            role: owner.as_ref().map(|_| Role::Client),
            endpoints: None,
            process: owner.as_ref().map(|task| task.id),
            owner,
            gone: None,
            parent: None,
            session_id: None,
            started: false,
            software: Pair::default(),
            kexinit: Pair::default(),
            host_key: None,
            host_key_shown: None,
            known_hosts: None,
            new_keys: Pair::default(),
            encrypted: Pair::default(),
            keyed: None,
            clear_lost: None,
            connection_id: None,
            connection_emitted: false,
            decrypted: false,
            bound: false,
            missed_start: false,
            unverified: true,
            attempt: None,
            failed: Vec::new(),
            user: None,
            login: None,
            authenticated: false,
            disconnect: None,
            channels: Vec::new(),
            requests: Pair::default(),
            commands: 0,
            errors: 0,
            closing: None,
            carried: None,
        }
    }

    /// What the machine of deploys is lent of it.
    pub(super) fn view(&self) -> ConnectionView<'_> {
        ConnectionView {
            id: self.id,
            role: self.role,
            process: self.process,
            endpoints: self.endpoints,
            connection_id: self.connection_id.as_ref(),
            session_id: self.session_id.as_ref(),
            peer_software: self.software.incoming.as_deref().unwrap_or_default(),
            user: self.user.as_ref(),
            authenticated: self.authenticated,
            decrypted: self.decrypted,
            unconfirmed: self.decrypted && self.unverified,
        }
    }

    /// `ssh.capture`
    pub(super) fn capture(&self) -> Capture {
        let begun = self.kexinit.incoming.is_some() && self.kexinit.outgoing.is_some();
        match (begun, self.is_read()) {
            (true, true) if !self.missed_start => Capture::Full,
            (_, true) => Capture::Partial,
            (_, false) if self.missed_start => Capture::Partial,
            (_, false) => Capture::Handshake,
        }
    }

    /// A process encrypts or decrypts it. A client's may be another one than that which connected (ProxyCommand).
    pub(super) fn speaks(&mut self, process: ProcessId) {
        if self.process.is_none() || self.role != Some(Role::Server) && !self.decrypted {
            self.process = Some(process);
            self.owner.take_if(|task| task.id != process);
        }
    }

    /// Does this host only pass it on?
    pub(super) fn is_relayed(&self) -> bool {
        self.carried.as_ref().is_some_and(|carrier| carrier.relays)
    }

    /// The channel that a message in this direction is about: its recipient's number is the receiver's.
    pub(super) fn channel(&mut self, direction: Direction, recipient: u32) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|channel| channel.number(direction) == Some(recipient))
    }
}

impl Channel {
    /// The number that messages in this direction bear.
    fn number(&self, direction: Direction) -> Option<u32> {
        match direction {
            Direction::In => self.local,
            Direction::Out => self.remote,
        }
    }
}

impl Command {
    /// What the machine of deploys is lent of it.
    pub(super) fn view(&self) -> CommandView<'_> {
        CommandView {
            id: &self.id,
            kind: self.kind,
            line: self.line.as_deref(),
            redacted: self.redacted,
            time: self.time,
            process: self.process.as_deref(),
        }
    }
}
