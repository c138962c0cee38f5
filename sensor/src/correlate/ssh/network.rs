//! Connections of processes, and the end of the connections that sessions are about.

use super::{
    machine::Ssh,
    tcp::{AT_ONCE_NS, Progress, TcpConnection},
};
use crate::{
    correlate::{
        deploys::Of,
        facts::Unreachable,
        lineage::{Lineage, network},
        outlet::Outlet,
    },
    event::{
        record::{Action, Destination, Endpoint, Error, Network, Outcome, Record},
        stream::{Connect, TcpChange, TcpState},
        text::errno_name,
    },
};

impl Ssh {
    pub(in crate::correlate) fn connect(&mut self, time: u64, connect: &Connect, out: &Outlet<'_>) {
        self.conns.connects(connect.socket, &connect.task);
        let lineage = out.lineage();
        let process = lineage.process(connect.task.id);
        let session = process.and_then(|p| p.session);
        let deploy = process.and_then(|p| p.marks.deploy.as_ref());
        let watched = process.is_some_and(|p| p.watched);
        let in_scope = lineage.scope().in_scope(session.is_some(), deploy.is_some(), watched);
        // What fails before it has spoken SSH is recorded, wherever it is.
        let ssh = self.is_ssh(process, connect);
        if !in_scope && !ssh {
            return;
        }
        let mut about = Record::new(lineage.wall(time), Action::ConnectionFailed, Outcome::Failure);
        Lineage::describe_task(&mut about, &connect.task);
        lineage.describe_owner(&mut about, &connect.task, process);
        lineage.describe_membership(&mut about, session);
        self.describe_membership(&mut about, session);
        if let Some(process) = process {
            about = out.label(Of::Process(process), about);
        }
        if ssh && !in_scope {
            Self::describe_attempt(&mut about, connect, process, lineage);
        }
        about.destination = Some(Destination {
            ip: Some(connect.remote.ip().to_string()),
            port: Some(connect.remote.port()),
            ..Destination::default()
        });
        about.network = Some(network(connect.remote.ip(), "egress", None));
        let connection = TcpConnection {
            process: connect.task.id,
            remote: connect.remote,
            has_ssh: about.ssh.is_some(),
            deploy: about.deploy.as_ref().map(|deploy| deploy.id.clone()),
            name: process.and_then(|process| process.name.clone()),
            about: Box::new(about),
            local: None,
            attempted: time,
            progress: Progress::Attempted,
            ssh,
            quiet: !in_scope,
        };
        self.tcp.add(connect.socket, connection);
    }

    /// The state of a connection changed that is not that of a session of lineage.
    pub(in crate::correlate) fn tcp_changed(&mut self, time: u64, change: &TcpChange, out: &mut Outlet<'_>) {
        let mut left = None;
        if change.new == TcpState::Close {
            left = self.ended(time, change.socket, Some((change.bytes_in, change.bytes_out)), out);
        } else if change.new == TcpState::Established
            && let Some(owner) = self.conns.owner(change.socket)
        {
            let speaker = self.speakers.get_or_default(owner);
            speaker.connected = speaker.connected.saturating_add(1);
            out.contacted(owner, change.remote.ip());
        }
        self.tcp_of_process(time, change, left, out);
    }

    /// A connection that a process made. `left`: what SSH has to say at its end.
    fn tcp_of_process(&mut self, time: u64, change: &TcpChange, left: Option<Record>, out: &mut Outlet<'_>) {
        let known = self.tcp.get_mut(change.socket);
        // A record of the session that the process runs in stays what it is; else one record tells the end.
        if known.as_ref().is_none_or(|connection| connection.has_ssh)
            && let Some(left) = left.clone()
        {
            out.push(left);
        }
        let Some(connection) = known else { return };
        match (connection.progress, change.new) {
            (Progress::Attempted, TcpState::SynSent) => connection.progress = Progress::SynSent,
            (Progress::SynSent | Progress::Attempted, TcpState::Established) if connection.quiet => {
                self.tcp.remove(change.socket);
            }
            (Progress::SynSent | Progress::Attempted, TcpState::Established) => {
                connection.progress = Progress::Established { at: time };
                connection.local = Some(change.local);
                let connection = connection.clone();
                let mut record = connection.record(time, Action::ConnectionOpened, Outcome::Success, out.lineage());
                record.duration = Some(time.saturating_sub(connection.attempted));
                record.source = Some(Endpoint::of(change.local));
                out.push(record);
            }
            (_, TcpState::Close) => {
                let Some(connection) = self.tcp.remove(change.socket) else { return };
                let record = match connection.progress {
                    Progress::Attempted => connection.failed_at_once(out.lineage()),
                    Progress::SynSent => {
                        let why = change
                            .error
                            .and_then(|errno| errno_name(errno.into()))
                            .unwrap_or_else(|| "no answer".into());
                        connection.unreachable(&why, out);
                        connection.failed(time, change, out.lineage())
                    }
                    Progress::Established { at } => {
                        let closed = connection.closed(time, at, change, out.lineage());
                        match left {
                            Some(left) if !connection.has_ssh => with_ssh(closed, left),
                            _ => closed,
                        }
                    }
                };
                out.push(record);
            }
            _ => {}
        }
    }

    /// Attempts that came to nothing on the spot.
    pub(in crate::correlate) fn tcp_tick(&mut self, time: u64, out: &mut Outlet<'_>) {
        for connection in self.tcp.take_stuck(time.saturating_sub(AT_ONCE_NS)) {
            connection.unreachable("no route, or refused by local policy", out);
            out.push(connection.failed_at_once(out.lineage()));
        }
    }
}

impl TcpConnection {
    /// A deploy could not reach a host.
    fn unreachable(&self, why: &str, out: &mut Outlet<'_>) {
        if let Some(deploy) = &self.deploy {
            let (process, remote, name) = (self.process, self.remote, self.name.as_deref());
            out.unreachable(&Unreachable { process, name, deploy, remote, why });
        }
    }

    fn closed(&self, time: u64, at: u64, change: &TcpChange, lineage: &Lineage) -> Record {
        let mut record = self.record(time, Action::ConnectionClosed, Outcome::Success, lineage);
        record.duration = Some(time.saturating_sub(at));
        record.source =
            Some(Endpoint { bytes: Some(change.bytes_out), ..Endpoint::of(self.local.unwrap_or(change.local)) });
        if let Some(destination) = &mut record.destination {
            destination.bytes = Some(change.bytes_in);
        }
        if let Some(errno) = change.error {
            record.outcome = Outcome::Failure;
            record.error = Some(error(errno));
        }
        record
    }

    fn failed(&self, time: u64, change: &TcpChange, lineage: &Lineage) -> Record {
        let mut record = self.record(time, Action::ConnectionFailed, Outcome::Failure, lineage);
        record.duration = Some(time.saturating_sub(self.attempted));
        record.source = Some(Endpoint::of(change.local));
        record.error = Some(match change.error {
            Some(errno) => error(errno),
            None => Error { code: None, message: Some("closed by the process before an answer came".into()) },
        });
        record
    }

    fn failed_at_once(&self, lineage: &Lineage) -> Record {
        let mut record = self.record(self.attempted, Action::ConnectionFailed, Outcome::Failure, lineage);
        let message = "no packet was sent: no route to the address, or refused by local policy";
        record.error = Some(Error { code: None, message: Some(message.into()) });
        record
    }

    fn record(&self, time: u64, action: Action, outcome: Outcome, lineage: &Lineage) -> Record {
        let mut record = Record { time: lineage.wall(time), action, outcome, ..Record::clone(&self.about) };
        if action == Action::ConnectionFailed && self.ssh {
            record.network = record.network.map(|network| Network { protocol: Some("ssh"), ..network });
        }
        record
    }
}

/// The end of a connection, with what SSH says of it.
fn with_ssh(closed: Record, left: Record) -> Record {
    let failed = closed.error.is_some();
    Record {
        outcome: if failed { closed.outcome } else { left.outcome },
        error: closed.error.or(left.error),
        network: left.network,
        related: left.related,
        ssh: left.ssh,
        ..closed
    }
}

fn error(errno: u16) -> Error {
    Error { code: Some(errno_name(errno.into()).unwrap_or_else(|| format!("errno {errno}"))), message: None }
}
