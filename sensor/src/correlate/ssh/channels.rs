//! Channels and forwardings (RFC 4254).
//!
//! A message names a channel by its receiver's number. Requests on a channel are answered in their order; so are global
//! ones.

use std::{borrow::Cow, collections::VecDeque};

use super::{
    connection::{CHANNELS_MAX, Channel, Pair, PendingForward, REQUESTS_MAX, SESSIONS_MAX, SshConnection},
    machine::Ssh,
};
use crate::{
    correlate::{health, outlet::Outlet},
    event::{
        ssh::{ChannelOpen, Direction, Message, Packet},
        stream::Degraded,
        text::escape,
    },
    finding::{
        FindingKind, Outcome, Quality,
        ssh::{Failure, Forward, ForwardKind},
    },
};

impl Ssh {
    pub(super) fn channels(&mut self, time: u64, conn: &mut SshConnection, packet: &Packet, out: &mut Outlet<'_>) {
        let direction = packet.direction;
        match &packet.message {
            Message::ChannelOpen(open) => self.opens(time, conn, direction, open, out),
            Message::ChannelConfirmed { recipient, sender } => {
                self.opened(time, conn, direction, *recipient, *sender, out);
            }
            Message::ChannelRefused { recipient, reason, description } => {
                self.refused(time, conn, direction, *recipient, *reason, description, out);
            }
            Message::ChannelEof { recipient, bytes } | Message::ChannelBytes { recipient, bytes } => {
                if let Some(channel) = conn.channel(direction, *recipient) {
                    *channel.bytes.at(direction) = Some(*bytes);
                }
            }
            Message::ChannelClose { recipient, bytes } => {
                self.closes(time, conn, direction, *recipient, *bytes, out);
            }
            Message::ChannelRequest { recipient, wants_reply, request } => {
                self.requested(time, conn, packet, *recipient, *wants_reply, request, out);
            }
            Message::ChannelSuccess { recipient } => self.answered(time, conn, direction, *recipient, true, out),
            Message::ChannelFailure { recipient } => self.answered(time, conn, direction, *recipient, false, out),
            Message::GlobalRequest { name, wants_reply, bind, path } => {
                let text = |bytes: &[u8]| escape(bytes).0.into_owned();
                let kind = match name.as_slice() {
                    b"tcpip-forward" => Some(ForwardKind::Tcpip),
                    b"streamlocal-forward@openssh.com" => Some(ForwardKind::Streamlocal),
                    _ => None,
                };
                let asked = kind.map(|kind| PendingForward {
                    time,
                    forward: Forward {
                        kind,
                        bind_address: bind.as_ref().map(|(address, _)| text(address)),
                        bind_port: bind.as_ref().map(|(_, port)| *port),
                        path: path.as_ref().map(|path| text(path)),
                    },
                });
                let waiting = conn.requests.at(direction);
                if *wants_reply && waiting.len() < REQUESTS_MAX {
                    waiting.push_back(asked);
                } else if let Some(asked) = asked {
                    self.forward(conn, asked, Outcome::Unknown, out);
                }
            }
            Message::RequestSuccess { port } => {
                if let Some(Some(mut asked)) = conn.requests.at(direction.other()).pop_front() {
                    if asked.forward.bind_port == Some(0) {
                        asked.forward.bind_port = *port;
                    }
                    self.forward(conn, asked, Outcome::Success, out);
                }
            }
            Message::RequestFailure => {
                if let Some(Some(asked)) = conn.requests.at(direction.other()).pop_front() {
                    self.forward(conn, asked, Outcome::Failure, out);
                }
            }
            _ => {}
        }
        // A client's session begins with what it first asks of the server.
        if direction == Direction::Out && conn.authenticated {
            self.start_client(time, conn, out);
        }
    }

    pub(super) fn forward(
        &mut self,
        conn: &mut SshConnection,
        asked: PendingForward,
        outcome: Outcome,
        out: &mut Outlet<'_>,
    ) {
        let kind = FindingKind::SshForwardRequested(Box::new(asked.forward));
        let finding = self.finding(asked.time, outcome, kind, conn, out.lineage());
        out.emit(&conn.view(), finding);
    }

    fn opens(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        direction: Direction,
        open: &ChannelOpen,
        out: &mut Outlet<'_>,
    ) {
        let is_session = |open: &ChannelOpen| open.kind == b"session";
        let session = is_session(open);
        let max = if session { SESSIONS_MAX } else { CHANNELS_MAX };
        if conn.channels.iter().filter(|channel| is_session(&channel.open) == session).count() >= max {
            return self.too_many(time, conn, session, max, out);
        }
        let (local, remote) = match direction {
            Direction::Out => (Some(open.sender), None),
            Direction::In => (None, Some(open.sender)),
        };
        conn.channels.push(Channel {
            local,
            remote,
            open: open.clone(),
            opener: direction,
            time,
            confirmed: false,
            pty: false,
            bytes: Pair::default(),
            closed: Pair::default(),
            requests: VecDeque::new(),
            command: None,
            carries: None,
            carried_id: None,
        });
        if direction == Direction::Out && conn.authenticated {
            self.start_client(time, conn, out);
        }
    }

    /// Counted, said of the connection, and once of the sensor.
    fn too_many(&mut self, time: u64, conn: &mut SshConnection, session: bool, max: usize, out: &mut Outlet<'_>) {
        self.channels_refused += 1;
        let what = if session { "sessions" } else { "channels that are no sessions" };
        let text = format!("over {max} {what} at a time: the others are not followed");
        if !std::mem::replace(&mut self.channels_full, true) {
            let effect = if session {
                "commands in further sessions of that connection are not recorded"
            } else {
                "further forwardings of that connection are not recorded; its sessions have room of their own"
            };
            let degraded = Degraded {
                what: "channels of an SSH connection".into(),
                why: format!("over {max} {what} at a time on one connection"),
                effect: effect.into(),
            };
            out.push(health::degraded(out.lineage().time(time), &degraded));
        }
        self.protocol_error(time, conn, "too_many_channels", &text, out);
    }

    fn opened(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        direction: Direction,
        recipient: u32,
        sender: u32,
        out: &mut Outlet<'_>,
    ) {
        let Some(channel) = conn.channel(direction, recipient).filter(|channel| !channel.confirmed) else { return };
        channel.confirmed = true;
        match direction {
            Direction::In => channel.remote = Some(sender),
            Direction::Out => channel.local = Some(sender),
        }
        let (opened, channel) = (channel.time, channel.clone());
        let mut quality = Quality::default();
        let kind = FindingKind::SshChannelOpened(Box::new(Self::channel(&channel, &mut quality)));
        let mut finding = self.finding(opened, Outcome::Success, kind, conn, out.lineage());
        finding.duration = Some(time.saturating_sub(opened));
        finding.quality.add_fields(&quality);
        out.emit(&conn.view(), finding);
    }

    #[allow(clippy::too_many_arguments, reason = "one message's fields")]
    fn refused(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        direction: Direction,
        recipient: u32,
        reason: u32,
        description: &[u8],
        out: &mut Outlet<'_>,
    ) {
        let is =
            |channel: &Channel| !channel.confirmed && channel.opener != direction && channel.open.sender == recipient;
        let Some(at) = conn.channels.iter().position(is) else { return };
        let channel = conn.channels.remove(at);
        let mut quality = Quality::default();
        let mut shown = Self::channel(&channel, &mut quality);
        shown.reason = Some(open_failure(reason));
        let text = escape(description).0;
        shown.failure = (!text.is_empty()).then(|| Failure { code: None, message: Some(text.into_owned().into()) });
        let kind = FindingKind::SshChannelOpened(Box::new(shown));
        let mut finding = self.finding(channel.time, Outcome::Failure, kind, conn, out.lineage());
        finding.duration = Some(time.saturating_sub(channel.time));
        finding.quality.add_fields(&quality);
        out.emit(&conn.view(), finding);
    }

    fn closes(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        direction: Direction,
        recipient: u32,
        bytes: u64,
        out: &mut Outlet<'_>,
    ) {
        let Some(channel) = conn.channel(direction, recipient) else { return };
        *channel.bytes.at(direction) = Some(bytes);
        *channel.closed.at(direction) = true;
        if !(channel.closed.incoming && channel.closed.outgoing) {
            return;
        }
        let (local, remote) = (channel.local, channel.remote);
        if let Some(at) = conn.channels.iter().position(|channel| (channel.local, channel.remote) == (local, remote)) {
            let channel = conn.channels.remove(at);
            self.channel_ended(time, conn, channel, out);
        }
    }

    fn channel_ended(&mut self, time: u64, conn: &mut SshConnection, mut channel: Channel, out: &mut Outlet<'_>) {
        if let Some(carried) = channel.carries {
            self.ended(time, carried, None, out);
        }
        if let Some(mut command) = channel.command.take() {
            self.command_started(conn, &mut command, channel.pty, Outcome::Unknown, out);
            if !command.ended {
                self.command_ended(time, conn, &command, channel.pty, None, out);
            }
            out.command_gone(conn.id, &command.id);
        }
        if !channel.confirmed {
            return;
        }
        let mut quality = Quality::default();
        let kind = FindingKind::SshChannelClosed(Box::new(Self::channel(&channel, &mut quality)));
        let mut finding = self.finding(time, Outcome::Success, kind, conn, out.lineage());
        finding.duration = Some(time.saturating_sub(channel.time));
        finding.quality.add_fields(&quality);
        out.emit(&conn.view(), finding);
    }

    /// The connection is over: so are its channels.
    pub(super) fn channels_ended(&mut self, time: u64, conn: &mut SshConnection, out: &mut Outlet<'_>) {
        for channel in std::mem::take(&mut conn.channels) {
            self.channel_ended(time, conn, channel, out);
        }
        for mut waiting in [std::mem::take(&mut conn.requests.incoming), std::mem::take(&mut conn.requests.outgoing)] {
            for asked in waiting.drain(..).flatten() {
                self.forward(conn, asked, Outcome::Unknown, out);
            }
        }
    }
}

/// RFC 4254, 5.1, in lower case.
fn open_failure(code: u32) -> Cow<'static, str> {
    match code {
        1 => "administratively_prohibited".into(),
        2 => "connect_failed".into(),
        3 => "unknown_channel_type".into(),
        4 => "resource_shortage".into(),
        other => other.to_string().into(),
    }
}
