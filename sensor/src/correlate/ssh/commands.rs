//! Requests on channels (RFC 4254, 6): commands, from the request to the status, and the processes that they become.
//!
//! A request is answered in its turn. In the server role the next process that sshd starts for the session is that of
//! the oldest command that has none yet.

use nix::sys::signal::Signal;

use super::{
    connection::{CHANNELS_MAX, Command, PendingForward, PendingReply, REQUESTS_MAX, SshConnection},
    machine::Ssh,
    messages::note_session,
};
use crate::{
    correlate::{lineage::SessionKey, outlet::Outlet},
    event::{
        labels::Label,
        ssh::{Direction, Packet, Request},
        stream::ProcessId,
        text::escape,
    },
    finding::{
        CommandId, FindingKind, Outcome, Quality, Role, Subject,
        ssh::{CommandKind, Forward, ForwardKind},
    },
};

/// Labels that a configuration can have.
const LABELS_MAX: usize = 64;

impl Ssh {
    #[allow(clippy::too_many_arguments, reason = "one message's fields")]
    pub(super) fn requested(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        packet: &Packet,
        recipient: u32,
        wants_reply: bool,
        request: &Request,
        out: &mut Outlet<'_>,
    ) {
        note_session(conn, out.lineage());
        let number = conn.commands + 1;
        let session = conn.session_id.clone().unwrap_or_default();
        let Some(channel) = conn.channel(packet.direction, recipient) else { return };
        let command = |kind, line: Option<&[u8]>, redacted| Command {
            id: format!("{session}-{number}").into(),
            kind,
            line: line.map(<[u8]>::to_vec),
            redacted,
            cut: packet.cut,
            time,
            emitted: false,
            ended: false,
            process: None,
        };
        let forward = |kind| {
            let forward = Forward { kind, bind_address: None, bind_port: None, path: None };
            PendingReply::Forward(PendingForward { time, forward })
        };
        let (waiting, asked) = match request {
            Request::Exec { line, redacted } => {
                (PendingReply::Command, Some(command(CommandKind::Exec, Some(line), *redacted)))
            }
            Request::Shell => (PendingReply::Command, Some(command(CommandKind::Shell, None, false))),
            Request::Subsystem(name) => {
                (PendingReply::Command, Some(command(CommandKind::Subsystem, Some(name), false)))
            }
            Request::Pty => {
                channel.pty = true;
                (PendingReply::Other, None)
            }
            Request::Other(name) if name.as_slice() == b"auth-agent-req@openssh.com" => {
                (forward(ForwardKind::Agent), None)
            }
            Request::Other(name) if name.as_slice() == b"x11-req" => (forward(ForwardKind::X11), None),
            Request::ExitStatus(status) => {
                return self.command_exited(time, conn, packet.direction, recipient, Ok(*status), out);
            }
            Request::ExitSignal(name) => {
                return self.command_exited(time, conn, packet.direction, recipient, Err(name), out);
            }
            Request::Env(_) | Request::Other(_) => (PendingReply::Other, None),
        };
        if wants_reply && channel.requests.len() < REQUESTS_MAX {
            channel.requests.push_back(waiting.clone());
        }
        // One command a channel (RFC 4254, 6.5); a second request is refused.
        if let Some(command) = asked
            && channel.command.is_none()
        {
            let id = command.id.clone();
            channel.command = Some(command);
            conn.commands = number;
            if conn.role == Some(Role::Server) {
                self.awaits_process(conn, id, out);
            }
        }
        if !wants_reply {
            match waiting {
                PendingReply::Command => self.settle_command(conn, packet.direction, recipient, Outcome::Unknown, out),
                PendingReply::Forward(asked) => self.forward(conn, asked, Outcome::Unknown, out),
                PendingReply::Other => {}
            }
        }
    }

    pub(super) fn answered(
        &mut self,
        _time: u64,
        conn: &mut SshConnection,
        direction: Direction,
        recipient: u32,
        yes: bool,
        out: &mut Outlet<'_>,
    ) {
        let Some(waiting) = conn.channel(direction, recipient).and_then(|channel| channel.requests.pop_front()) else {
            return;
        };
        let outcome = if yes { Outcome::Success } else { Outcome::Failure };
        match waiting {
            PendingReply::Command => self.settle_command(conn, direction, recipient, outcome, out),
            PendingReply::Forward(asked) => self.forward(conn, asked, outcome, out),
            PendingReply::Other => {}
        }
    }

    /// Tells a channel's command, now that it is known what became of the request. A refused one is over.
    fn settle_command(
        &mut self,
        conn: &mut SshConnection,
        direction: Direction,
        recipient: u32,
        outcome: Outcome,
        out: &mut Outlet<'_>,
    ) {
        let Some(channel) = conn.channel(direction, recipient) else { return };
        let pty = channel.pty;
        let Some(mut command) = channel.command.take() else { return };
        self.command_started(conn, &mut command, pty, outcome, out);
        if outcome == Outcome::Failure {
            self.no_process(conn, &command.id, out);
            out.command_gone(conn.id, &command.id);
        } else if let Some(channel) = conn.channel(direction, recipient) {
            channel.command = Some(command);
        }
    }

    fn command_exited(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        direction: Direction,
        recipient: u32,
        status: Result<u32, &[u8]>,
        out: &mut Outlet<'_>,
    ) {
        let Some(channel) = conn.channel(direction, recipient) else { return };
        let pty = channel.pty;
        let Some(mut command) = channel.command.take().filter(|command| !command.ended) else { return };
        self.command_started(conn, &mut command, pty, Outcome::Success, out);
        self.command_ended(time, conn, &command, pty, Some(status), out);
        command.ended = true;
        if let Some(channel) = conn.channel(direction, recipient) {
            channel.command = Some(command);
        }
    }

    pub(super) fn command_started(
        &mut self,
        conn: &mut SshConnection,
        command: &mut Command,
        pty: bool,
        outcome: Outcome,
        out: &mut Outlet<'_>,
    ) {
        if std::mem::replace(&mut command.emitted, true) {
            return;
        }
        if outcome != Outcome::Failure {
            out.command_started(&conn.view(), &command.view());
        }
        let mut quality = Quality::default();
        let kind = FindingKind::SshCommandStarted(Box::new(self.command(command, pty, &mut quality)));
        let mut finding = self.command_finding(command.time, outcome, kind, conn, command, out.lineage());
        finding.quality.add_fields(&quality);
        out.emit(&conn.view(), finding);
    }

    pub(super) fn command_ended(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        command: &Command,
        pty: bool,
        status: Option<Result<u32, &[u8]>>,
        out: &mut Outlet<'_>,
    ) {
        let outcome = match status {
            Some(Ok(0)) => Outcome::Success,
            Some(_) => Outcome::Failure,
            None => Outcome::Unknown,
        };
        let mut quality = Quality::default();
        let mut shown = self.command(command, pty, &mut quality);
        match status {
            Some(Ok(status)) => shown.exit_status = Some(status),
            Some(Err(signal)) => shown.exit_signal = Some(escape(signal).0.into_owned()),
            None => {}
        }
        let kind = FindingKind::SshCommandEnded(Box::new(shown));
        let mut finding = self.command_finding(time, outcome, kind, conn, command, out.lineage());
        finding.duration = Some(time.saturating_sub(command.time));
        finding.quality.add_fields(&quality);
        out.emit(&conn.view(), finding);
        let status = status.and_then(|status| status.map_or_else(signal_status, Some));
        let lineage = out.lineage();
        out.command_ended(time, &conn.view(), &command.view(), status, || self.subject(conn, lineage));
    }

    /// The next process that sshd starts for this session is this command's.
    fn awaits_process(&mut self, conn: &SshConnection, id: CommandId, out: &Outlet<'_>) {
        if let Some((key, _)) = out.lineage().session_of(conn.id) {
            let served = self.sessions.entry(key).or_default();
            if served.awaited.len() < CHANNELS_MAX {
                served.awaited.push_back(id);
            }
        }
    }

    pub(in crate::correlate) fn set_labels(&mut self, labels: &[Label]) {
        // What does not compile was refused where the configuration was read; a recording can hold anything.
        let compiled =
            labels.iter().take(LABELS_MAX).map(|label| Some((label.name.as_str().into(), label.compile().ok()?)));
        self.labels = compiled.flatten().collect();
    }

    fn no_process(&mut self, conn: &SshConnection, id: &CommandId, out: &Outlet<'_>) {
        if let Some((key, _)) = out.lineage().session_of(conn.id)
            && let Some(served) = self.sessions.get_mut(&key)
        {
            served.awaited.retain(|awaited| awaited != id);
        }
    }

    /// sshd started a command: the oldest that was asked for. Its id, for this process and what descends from it.
    pub(super) fn command_ran(
        &mut self,
        key: SessionKey,
        process: ProcessId,
        out: &mut Outlet<'_>,
    ) -> Option<CommandId> {
        let lineage = out.lineage();
        let id = self.sessions.get_mut(&key)?.awaited.pop_front()?;
        let socket = lineage.session(key)?.socket?;
        let mut conn = self.conns.take(socket)?;
        let mut about = Subject::default();
        lineage.describe_process(&mut about, process, lineage.process(process));
        let at =
            conn.channels.iter().position(|channel| channel.command.as_ref().is_some_and(|command| command.id == id));
        if let Some(channel) = at.and_then(|at| conn.channels.get_mut(at)) {
            let pty = channel.pty;
            if let Some(mut command) = channel.command.take() {
                command.process = about.process;
                // It runs: no need to wait for the answer.
                self.command_started(&mut conn, &mut command, pty, Outcome::Success, out);
                if let Some(channel) = at.and_then(|at| conn.channels.get_mut(at)) {
                    channel.command = Some(command);
                }
            }
        }
        self.conns.put(conn);
        Some(id)
    }
}

/// As a shell shows it, for the signals that RFC 4254, 6.10 names.
fn signal_status(name: &[u8]) -> Option<u32> {
    const NAMES: [&str; 13] =
        ["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"];
    let name = NAMES.into_iter().find(|known| known.as_bytes() == name)?;
    let signal = format!("SIG{name}").parse::<Signal>().ok()?;
    u32::try_from(signal as i32).ok().map(|number| 128 + number)
}
