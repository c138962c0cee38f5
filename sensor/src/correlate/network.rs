//! Connections of processes, and the end of the connections that sessions are about.

use super::{
    Correlate,
    build::network,
    connections::{Connection, Progress},
};
use crate::event::{
    record::{Action, Destination, Endpoint, Error, Network, Outcome, Record},
    stream::{Connect, TcpChange, TcpState},
    text::errno_name,
};

impl Correlate {
    pub(super) fn connect(&mut self, time: u64, connect: &Connect) {
        self.conns.connects(connect.socket, &connect.task);
        let process = self.processes.get(connect.task.id);
        let session = process.and_then(|p| p.session);
        let deploy = process.and_then(|p| p.deploy.as_ref());
        let in_scope = self.scope.in_scope(session, deploy.is_some(), process.is_some_and(|p| p.watched));
        // What fails before it has spoken SSH is told, wherever it is.
        let ssh = self.is_ssh(process, connect);
        if !in_scope && !ssh {
            return;
        }
        let mut about = Record::new(self.wall(time), Action::ConnectionFailed, Outcome::Failure);
        Self::describe_task(&mut about, &connect.task);
        self.describe_owner(&mut about, &connect.task, process);
        self.describe_membership(&mut about, session, deploy);
        if ssh && !in_scope {
            self.describe_attempt(&mut about, connect, process);
        }
        about.destination = Some(Destination {
            ip: Some(connect.remote.ip().to_string()),
            port: Some(connect.remote.port()),
            ..Destination::default()
        });
        about.network = Some(network(connect.remote.ip(), "egress", None));
        let connection = Connection {
            about: Box::new(about),
            local: None,
            attempted: time,
            progress: Progress::Attempted,
            ssh,
            quiet: !in_scope,
        };
        self.connections.add(connect.socket, connection);
    }

    pub(super) fn tcp(&mut self, time: u64, change: &TcpChange, out: &mut Vec<Record>) {
        if let Some(key) = self.sessions.by_socket(change.socket) {
            if change.new == TcpState::Close {
                if let Some(session) = self.sessions.get_mut(key) {
                    session.bytes = Some((change.bytes_in, change.bytes_out));
                }
                self.end_session(key, time, out);
            }
            return;
        }
        let mut left = None;
        if change.new == TcpState::Close {
            left = self.ssh_ended(time, change.socket, Some((change.bytes_in, change.bytes_out)), out);
        } else if change.new == TcpState::Established
            && let Some(owner) = self.conns.owner(change.socket)
        {
            if let Some(process) = self.processes.get_mut(owner) {
                process.connected = process.connected.saturating_add(1);
            }
            self.deploy_contacted(owner, change.remote.ip());
        }
        self.tcp_of_process(time, change, left, out);
    }

    /// A connection that a process made. `left`: what SSH has to say at its end.
    fn tcp_of_process(&mut self, time: u64, change: &TcpChange, left: Option<Record>, out: &mut Vec<Record>) {
        let known = self.connections.get_mut(change.socket);
        // A record of the session that the process runs in stays what it is; else one record tells the end.
        if known.as_ref().is_none_or(|connection| connection.about.ssh.is_some()) {
            out.extend(left.clone());
        }
        let Some(connection) = known else { return };
        match (connection.progress, change.new) {
            (Progress::Attempted, TcpState::SynSent) => connection.progress = Progress::SynSent,
            (Progress::SynSent | Progress::Attempted, TcpState::Established) if connection.quiet => {
                self.connections.remove(change.socket);
            }
            (Progress::SynSent | Progress::Attempted, TcpState::Established) => {
                connection.progress = Progress::Established { at: time };
                connection.local = Some(change.local);
                let connection = connection.clone();
                let mut record = self.connection(time, Action::ConnectionOpened, Outcome::Success, &connection);
                record.duration = Some(time.saturating_sub(connection.attempted));
                record.source = Some(Endpoint::of(change.local));
                out.push(record);
            }
            (_, TcpState::Close) => {
                let Some(connection) = self.connections.remove(change.socket) else { return };
                out.push(match connection.progress {
                    Progress::Attempted => self.connection_failed_at_once(&connection),
                    Progress::SynSent => {
                        let why = change
                            .error
                            .and_then(|errno| errno_name(errno.into()))
                            .unwrap_or_else(|| "no answer".into());
                        self.deploy_unreachable(&connection, &why);
                        self.connection_failed(time, &connection, change)
                    }
                    Progress::Established { at } => {
                        let closed = self.connection_closed(time, at, &connection, change);
                        match left {
                            Some(left) if connection.about.ssh.is_none() => with_ssh(closed, left),
                            _ => closed,
                        }
                    }
                });
            }
            _ => {}
        }
    }

    fn connection_closed(&self, time: u64, at: u64, connection: &Connection, change: &TcpChange) -> Record {
        let mut record = self.connection(time, Action::ConnectionClosed, Outcome::Success, connection);
        record.duration = Some(time.saturating_sub(at));
        record.source =
            Some(Endpoint { bytes: Some(change.bytes_out), ..Endpoint::of(connection.local.unwrap_or(change.local)) });
        if let Some(destination) = &mut record.destination {
            destination.bytes = Some(change.bytes_in);
        }
        if let Some(errno) = change.error {
            record.outcome = Outcome::Failure;
            record.error = Some(error(errno));
        }
        record
    }

    fn connection_failed(&self, time: u64, connection: &Connection, change: &TcpChange) -> Record {
        let mut record = self.connection(time, Action::ConnectionFailed, Outcome::Failure, connection);
        record.duration = Some(time.saturating_sub(connection.attempted));
        record.source = Some(Endpoint::of(change.local));
        record.error = Some(match change.error {
            Some(errno) => error(errno),
            None => Error { code: None, message: Some("closed by the process before an answer came".into()) },
        });
        record
    }

    pub(super) fn connection_failed_at_once(&self, connection: &Connection) -> Record {
        let mut record = self.connection(connection.attempted, Action::ConnectionFailed, Outcome::Failure, connection);
        let message = "no packet was sent: no route to the address, or refused by local policy";
        record.error = Some(Error { code: None, message: Some(message.into()) });
        record
    }

    fn connection(&self, time: u64, action: Action, outcome: Outcome, connection: &Connection) -> Record {
        let mut record = Record { time: self.wall(time), action, outcome, ..Record::clone(&connection.about) };
        if action == Action::ConnectionFailed && connection.ssh {
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
