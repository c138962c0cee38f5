//! TCP connections of processes. The end of a connection that a session is about is the session's (`lineage`).

use super::{
    machine::Ssh,
    tcp::{AT_ONCE_NS, Progress, TcpConnection},
};
use crate::{
    correlate::{
        deploys::Of,
        facts::Unreachable,
        lineage::{Lineage, destination, source},
        outlet::Outlet,
    },
    event::{
        stream::{Connect, TcpChange, TcpState},
        text::errno_name,
    },
    finding::{ConnectionClosed, Direction, Failure, Finding, FindingKind, Flow, Network, Outcome, Protocol, Subject},
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
        let mut about = Subject::default();
        Lineage::describe_task(&mut about, &connect.task);
        lineage.describe_owner(&mut about, &connect.task, process);
        lineage.describe_membership(&mut about, session);
        self.describe_membership(&mut about, session);
        if let Some(process) = process {
            out.label_subject(Of::Process(process), &mut about);
        }
        if ssh && !in_scope {
            Self::describe_attempt(&mut about, connect, process, lineage);
        }
        let network = Network { direction: Direction::Egress, protocol: None, community_id: None };
        about.flow = Some(Flow { source: None, destination: destination(connect.remote), network: Some(network) });
        let connection = TcpConnection {
            process: connect.task.id,
            remote: connect.remote,
            has_ssh: about.ssh.is_some(),
            deploy: about.deploy.clone(),
            by_ssh: process.is_some_and(|process| process.client),
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
            if out.lineage().process(owner).is_some() {
                let speaker = self.speakers.get_or_default(owner);
                speaker.connected = speaker.connected.saturating_add(1);
            }
            out.contacted(owner, change.remote.ip());
        }
        self.tcp_of_process(time, change, left, out);
    }

    /// A connection that a process made. `left`: what SSH has to say at its end.
    fn tcp_of_process(&mut self, time: u64, change: &TcpChange, left: Option<Finding>, out: &mut Outlet<'_>) {
        let known = self.tcp.get_mut(change.socket);
        // A finding that bears the session of its process stays as it is; else one finding has both ends.
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
                let mut finding =
                    connection.finding(time, Outcome::Success, FindingKind::ConnectionOpened, out.lineage());
                finding.duration = Some(time.saturating_sub(connection.attempted));
                flow(&mut finding).source = Some(source(change.local));
                out.push(finding);
            }
            (_, TcpState::Close) => {
                let Some(connection) = self.tcp.remove(change.socket) else { return };
                let finding = match connection.progress {
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
                out.push(finding);
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
            let (process, remote, by_ssh) = (self.process, self.remote, self.by_ssh);
            out.unreachable(&Unreachable { process, by_ssh, deploy, remote, why });
        }
    }

    fn closed(&self, time: u64, at: u64, change: &TcpChange, lineage: &Lineage) -> Finding {
        let failure = change.error.map(failure);
        let outcome = if failure.is_some() { Outcome::Failure } else { Outcome::Success };
        let closed = ConnectionClosed { failure, ..ConnectionClosed::default() };
        let mut finding = self.finding(time, outcome, FindingKind::ConnectionClosed(closed), lineage);
        finding.duration = Some(time.saturating_sub(at));
        let flow = flow(&mut finding);
        let mut from = source(self.local.unwrap_or(change.local));
        from.bytes = Some(change.bytes_out);
        flow.source = Some(from);
        flow.destination.bytes = Some(change.bytes_in);
        finding
    }

    fn failed(&self, time: u64, change: &TcpChange, lineage: &Lineage) -> Finding {
        let failure = match change.error {
            Some(errno) => failure(errno),
            None => Failure { code: None, message: Some("closed by the process before an answer came".into()) },
        };
        let mut finding = self.finding(time, Outcome::Failure, FindingKind::ConnectionFailed(failure), lineage);
        finding.duration = Some(time.saturating_sub(self.attempted));
        flow(&mut finding).source = Some(source(change.local));
        finding
    }

    fn failed_at_once(&self, lineage: &Lineage) -> Finding {
        let message = "no packet was sent: no route to the address, or refused by local policy";
        let failure = Failure { code: None, message: Some(message.into()) };
        self.finding(self.attempted, Outcome::Failure, FindingKind::ConnectionFailed(failure), lineage)
    }

    fn finding(&self, time: u64, outcome: Outcome, kind: FindingKind, lineage: &Lineage) -> Finding {
        let failed = matches!(kind, FindingKind::ConnectionFailed(_));
        let subject = Subject::clone(&self.about);
        let mut finding = Finding { subject, ..Finding::new(lineage.time(time), outcome, kind) };
        if failed
            && self.ssh
            && let Some(network) = &mut flow(&mut finding).network
        {
            network.protocol = Some(Protocol::Ssh);
        }
        finding
    }
}

fn flow(finding: &mut Finding) -> &mut Flow {
    finding.subject.flow.get_or_insert_default()
}

/// The end of a connection, with what SSH says of it.
fn with_ssh(mut closed: Finding, left: Finding) -> Finding {
    let FindingKind::ConnectionClosed(of_ssh) = left.kind else { return closed };
    if let FindingKind::ConnectionClosed(own) = &mut closed.kind {
        if own.failure.is_none() {
            (closed.outcome, own.failure) = (left.outcome, of_ssh.failure);
        }
        own.disconnect = of_ssh.disconnect;
        let login = left.subject.flow.as_ref().and_then(|flow| flow.destination.login.as_ref());
        own.tried_user = login.and_then(|login| login.name.clone());
    }
    flow(&mut closed).network = left.subject.flow.and_then(|flow| flow.network);
    closed.subject.ssh = left.subject.ssh;
    closed
}

fn failure(errno: u16) -> Failure {
    let name = errno_name(errno.into()).unwrap_or_else(|| format!("errno {errno}"));
    Failure { code: Some(name.into()), message: None }
}
