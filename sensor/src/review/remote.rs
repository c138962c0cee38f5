//! What a deploy did on its hosts: commands by connection, each told by up to four records of two sensors and shown
//! once.
//!
//! A command is `deploy-step` and `ssh-command-*` at the deployer, and both again at the target, where its processes
//! are too. The command lines are the same at both ends (the same filter has redacted them), so the n-th of a line on a
//! connection is the same command in all of them.

use std::collections::HashMap;

use super::{
    deploy::{Outcome, add_all},
    local::Processes,
    node::{Kind, Node},
    record::Record,
};
use crate::{
    finding::{Action, FindingKind, Time},
    schema::ecs::Words as _,
};

/// Who tells of a command: (is it the target?, is it its `deploy-step`?).
type Teller = (bool, bool);

#[derive(Default)]
pub(super) struct Remote {
    connections: Vec<Connection>,
    by_id: HashMap<String, usize>,
    /// Commands by (host, `ssh.command.id`): connection and unit.
    commands: HashMap<(String, String), (usize, usize)>,
}

#[derive(Default)]
struct Connection {
    id: Option<String>,
    /// As the deployer calls it, as its address is, as it calls itself.
    called: Option<String>,
    address: Option<String>,
    name: Option<String>,
    user: Option<String>,
    units: Vec<Unit>,
    by_line: HashMap<(String, usize), usize>,
    told: HashMap<(Teller, String), usize>,
    /// Why there was no session.
    failed: Option<Node>,
}

struct Unit {
    node: Node,
    kind: Option<String>,
    secrets: Vec<String>,
    /// The target's id of the command: its host, and the id that processes bear.
    command: Option<(String, String)>,
}

/// A command for those who look for locks and secrets.
pub(super) struct Told<'a> {
    pub kind: Option<&'a str>,
    pub secrets: &'a [String],
    pub node: &'a Node,
    pub host: &'a str,
}

impl Remote {
    /// A record of the deploy or of one of its connections, in the order of time.
    pub(super) fn observe(&mut self, record: &Record, connection: Option<&str>) {
        match record.action() {
            Action::DeployStep => self.step(record, connection),
            Action::SshCommandStarted | Action::SshCommandEnded => self.command(record, connection),
            Action::SshConnection | Action::SshSessionStarted | Action::SshAuthentication if connection.is_some() => {
                let at = self.connection(connection, None);
                if let Some(channel) = self.connections.get_mut(at) {
                    channel.learn_ends(record);
                    channel.learn_failure(record);
                }
            }
            Action::ConnectionFailed => {
                let (address, port) = record.destination();
                let at = self.connection(None, address.as_deref());
                if let Some(channel) = self.connections.get_mut(at) {
                    let why = record.failure().and_then(|failure| failure.code.as_deref()).unwrap_or("it failed");
                    let what = format!("no connection to port {}", port.unwrap_or(22));
                    channel.failed = Some(failure(record, what, why));
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, record: &Record, connection: Option<&str>) {
        let Some(step) = record.step() else { return };
        let Some(line) = step.line.clone() else { return };
        let client = !record.is_server();
        let called = step.host.clone();
        let at = self.connection(connection, called.as_deref());
        let Some(channel) = self.connections.get_mut(at) else { return };
        if client || channel.called.is_none() {
            channel.called = called.or(channel.called.take());
        }
        let unit = channel.unit((!client, true), line, record.time());
        if let Some(unit) = channel.units.get_mut(unit) {
            unit.node.learn_step(record);
            unit.kind.get_or_insert_with(|| step.kind.clone());
            add_all(&mut unit.secrets, &step.secrets);
        }
        channel.learn_ends(record);
    }

    /// A process of a session on a target: all there is to tell where the protocol is not read.
    pub(super) fn served(&mut self, record: &Record, connection: Option<&str>) {
        if connection.is_some() && record.is_server() {
            let at = self.connection(connection, None);
            if let Some(channel) = self.connections.get_mut(at) {
                channel.learn_ends(record);
            }
        }
    }

    fn command(&mut self, record: &Record, connection: Option<&str>) {
        let (FindingKind::SshCommandStarted(command) | FindingKind::SshCommandEnded(command)) = &record.finding.kind
        else {
            return;
        };
        let Some(id) = record.command() else { return };
        let key = (record.host.id.clone(), id.to_owned());
        let place = self.commands.get(&key).copied();
        let (at, unit) = if let Some(place) = place {
            place
        } else {
            let at = self.connection(connection, None);
            let line = command.line.clone().unwrap_or_else(|| command.kind.word().to_owned());
            let Some(channel) = self.connections.get_mut(at) else { return };
            let unit = channel.unit((record.is_server(), false), line, record.time());
            self.commands.insert(key.clone(), (at, unit));
            (at, unit)
        };
        let Some(channel) = self.connections.get_mut(at) else { return };
        channel.learn_ends(record);
        let Some(unit) = channel.units.get_mut(unit) else { return };
        if record.is_server() {
            unit.command = Some(key);
        }
        let node = &mut unit.node;
        if record.action() == Action::SshCommandEnded {
            node.duration = record.finding.duration.or(node.duration);
            node.exit_status = node.exit_status.or(command.exit_status.map(u64::from));
            node.exit_signal = node.exit_signal.take().or_else(|| command.exit_signal.clone());
            node.learn_outcome(record.outcome());
        } else if record.outcome() == Outcome::Failure {
            node.learn_outcome(Outcome::Failure);
            node.note.get_or_insert_with(|| "refused by the server".into());
        }
    }

    /// The connection of this id; without one, that to this host.
    fn connection(&mut self, id: Option<&str>, host: Option<&str>) -> usize {
        let known = match id {
            Some(id) => self.by_id.get(id).copied(),
            None => self.connections.iter().position(|connection| host.is_some() && connection.is_with(host)),
        };
        known.unwrap_or_else(|| {
            let at = self.connections.len();
            let called = host.map(str::to_owned);
            self.connections.push(Connection { id: id.map(str::to_owned), called, ..Connection::default() });
            if let Some(id) = id {
                self.by_id.insert(id.to_owned(), at);
            }
            at
        })
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = Told<'_>> {
        self.connections.iter().flat_map(|connection| {
            let host = connection.label();
            connection.units.iter().map(move |unit| Told {
                kind: unit.kind.as_deref(),
                secrets: &unit.secrets,
                node: &unit.node,
                host,
            })
        })
    }

    /// A node per host, in the order of the inventory; below, its commands with their processes.
    pub(super) fn nodes(self, processes: &mut Processes, inventory: &[String]) -> Vec<Node> {
        let mut hosts: Vec<(Node, Vec<Node>)> = Vec::new();
        let mut by_label: HashMap<String, usize> = HashMap::new();
        for connection in self.connections {
            let label = connection.label().to_owned();
            let at = *by_label.entry(label.clone()).or_insert_with(|| {
                hosts.push((Node { host: Some(label.clone()), ..Node::new(Kind::Host, label) }, Vec::new()));
                hosts.len() - 1
            });
            if let Some((host, connections)) = hosts.get_mut(at) {
                let name = connection.name.clone().filter(|name| *name != host.line);
                host.note = host.note.take().or(name.map(|name| format!("is {name}")));
                connections.push(connection.node(processes));
            }
        }
        let place = |(host, _): &(Node, Vec<Node>)| {
            inventory.iter().position(|known| *known == host.line).unwrap_or(usize::MAX)
        };
        hosts.sort_by_cached_key(place);
        hosts.into_iter().map(|(host, connections)| with_connections(host, connections)).collect()
    }
}

/// A host with one connection shows its commands at once.
fn with_connections(mut host: Node, mut connections: Vec<Node>) -> Node {
    host.time = connections.iter().filter_map(|node| node.time).min_by_key(|time| time.0);
    if connections.iter().any(Node::has_failed) {
        host.outcome = Some(Outcome::Failure);
    }
    host.role = connections.iter().flat_map(|node| &node.children).find_map(|node| node.role.clone());
    host.children = match connections.pop() {
        Some(only) if connections.is_empty() => {
            let mut notes: Vec<String> = host.note.take().into_iter().chain(only.note).collect();
            if !only.line.is_empty() {
                notes.push(format!("connection {}", only.line));
            }
            host.note = Some(notes.join(", ")).filter(|note| !note.is_empty());
            host.duration = only.duration;
            only.children
        }
        Some(last) => connections.into_iter().chain([last]).collect(),
        None => Vec::new(),
    };
    host
}

impl Connection {
    fn label(&self) -> &str {
        let known = self.called.as_ref().or(self.address.as_ref()).or(self.name.as_ref()).or(self.id.as_ref());
        known.map_or("an unknown host", String::as_str)
    }

    fn is_with(&self, host: Option<&str>) -> bool {
        [&self.called, &self.address, &self.name].into_iter().flatten().any(|known| Some(known.as_str()) == host)
    }

    /// The n-th command of this line, for the teller who tells of it for the n-th time.
    fn unit(&mut self, teller: Teller, line: String, time: i64) -> usize {
        let told = self.told.entry((teller, line.clone())).or_insert(0);
        let nth = *told;
        *told += 1;
        let at = *self.by_line.entry((line.clone(), nth)).or_insert_with(|| {
            self.units.push(Unit {
                node: Node::new(Kind::Remote, line),
                kind: None,
                secrets: Vec::new(),
                command: None,
            });
            self.units.len() - 1
        });
        if let Some(unit) = self.units.get_mut(at) {
            let known = unit.node.time.map_or(time, |known| known.0);
            unit.node.time = Some(Time(known.min(time)));
        }
        at
    }

    fn learn_ends(&mut self, record: &Record) {
        if record.is_server() {
            self.name.get_or_insert_with(|| record.host.name.clone());
        } else {
            self.address = self.address.take().or_else(|| record.destination().0);
        }
        self.user = self.user.take().or_else(|| record.login());
    }

    fn learn_failure(&mut self, record: &Record) {
        match (record.action(), record.outcome()) {
            (Action::SshSessionStarted, _) | (Action::SshAuthentication, Outcome::Success) => self.failed = None,
            (Action::SshConnection, Outcome::Failure) => {
                let why = record.failure().and_then(|failure| failure.message.as_deref()).unwrap_or("it failed");
                self.failed = Some(failure(record, "no SSH connection".into(), why));
            }
            (Action::SshAuthentication, Outcome::Failure) => {
                let method = record.auth().map_or("authentication", |auth| &auth.method);
                // The first attempt of every client is `none`, to learn what there is.
                if method != "none" {
                    self.failed = Some(failure(record, "login failed".into(), &format!("{method} was refused")));
                }
            }
            _ => {}
        }
    }

    fn node(mut self, processes: &mut Processes) -> Node {
        let user = self.user.map(|user| format!("as {user}"));
        let id = self.id.as_deref().map(|id| id.get(..8).unwrap_or(id).to_owned());
        let mut node = Node { note: user, ..Node::new(Kind::Connection, id.unwrap_or_default()) };
        self.units.sort_by_key(|unit| unit.node.time.map_or(0, |time| time.0));
        let has_commands = self.units.iter().any(|unit| unit.command.is_some());
        let mut children: Vec<Node> = Vec::new();
        for unit in self.units {
            let mut command = unit.node;
            if let Some(id) = &unit.command {
                let roots = processes.of_command(id);
                command.children = roots.into_iter().filter_map(|at| processes.take(at)).collect();
            }
            fold_shell(&mut command);
            children.push(command);
        }
        // Without the protocol there are only the processes of the session to tell of.
        if !has_commands && self.id.is_some() {
            let roots = processes.roots(|process| process.connection == self.id);
            children.extend(roots.into_iter().filter_map(|at| processes.take(at)));
        }
        children.extend(self.failed);
        let first = children.iter().filter_map(|child| child.time).map(|time| time.0).min();
        let end = |child: &Node| child.time.map(|time| time.0.saturating_add_unsigned(child.duration.unwrap_or(0)));
        let last = children.iter().filter_map(end).max();
        node.time = first.map(Time);
        node.duration = first.zip(last).map(|(first, last)| last.abs_diff(first)).filter(|took| *took > 0);
        if children.iter().any(Node::has_failed) {
            node.outcome = Some(Outcome::Failure);
        }
        node.children = children;
        node
    }
}

/// sshd runs a command as `SHELL -c COMMAND`, and often the shell becomes the command: such a process is the command,
/// and what it started is shown below the command itself.
fn fold_shell(command: &mut Node) {
    while let [only] = command.children.as_mut_slice() {
        let of_shell = only.line.split_once(" -c ").is_some_and(|(_, line)| line == command.line);
        if !of_shell && !unquoted(&only.line).eq(unquoted(&command.line)) {
            return;
        }
        command.exit_status = command.exit_status.or(only.exit_status);
        command.duration = command.duration.or(only.duration);
        command.outcome = command.outcome.or(only.outcome);
        command.children = std::mem::take(&mut only.children);
    }
}

/// A command line as its arguments are joined, once the shell has taken its quotes away.
fn unquoted(line: &str) -> impl Iterator<Item = char> {
    line.chars().filter(|c| !matches!(c, '"' | '\'' | '\\'))
}

fn failure(record: &Record, what: String, why: &str) -> Node {
    Node {
        time: Some(record.finding.time),
        outcome: Some(Outcome::Failure),
        note: Some(why.to_owned()),
        ..Node::new(Kind::Connection, what)
    }
}
