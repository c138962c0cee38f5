//! Second reading of the logs: everything that belongs to one deploy, and its tree.
//!
//! What enters: a deploy of the index and the lines of all logs again. What leaves: the deploy, with what its session's
//! own records add, and its nodes. A record belongs to it by `deploy.id` (of the same host), or by the
//! `ssh.connection.id` of one of its connections. At most `KEPT_MAX` bytes of lines are kept; `left_out` counts the
//! records that were too many.

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};

use super::{
    deploy::{Deploy, add_all},
    failing,
    lines::Broken,
    local::{Process, Processes},
    node::Node,
    record::Record,
    remote::Remote,
    sections::{self, Changes, LocalStep},
};
use crate::finding::Action;

/// What may be kept, by the size of the lines that it came from.
const KEPT_MAX: usize = 256 << 20;

pub struct DeployDetail {
    deploy: Deploy,
    needles: AhoCorasick,
    /// (host id, deploy id)
    ids: HashSet<(String, String)>,
    connections: HashSet<String>,
    #[expect(clippy::vec_box, reason = "they are sorted, and large")]
    records: Vec<Box<Record>>,
    kept: usize,
    /// Records that were too many.
    pub left_out: u64,
}

impl DeployDetail {
    pub fn new(deploy: Deploy) -> Result<Self, BuildError> {
        let views = deploy.targets.iter().filter_map(|view| Some((view.host.id.clone(), view.id.clone()?)));
        let ids: HashSet<_> = [(deploy.host.id.clone(), deploy.id.clone())].into_iter().chain(views).collect();
        let of_views = deploy.targets.iter().flat_map(|view| &view.connections);
        let connections: HashSet<String> = deploy.connections.iter().chain(of_views).cloned().collect();
        let session = deploy.session.iter().map(|session| session.id.as_str());
        let needles: HashSet<&str> = ids.iter().map(|(_, id)| id.as_str()).collect();
        let needles = needles.into_iter().chain(connections.iter().map(String::as_str)).chain(session);
        let needles = needles.filter(|needle| !needle.is_empty());
        // Ids are hex, as much of a record is: no byte of them is rare enough to look for first.
        let needles = AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).prefilter(false).build(needles)?;
        Ok(Self { deploy, needles, ids, connections, records: Vec::new(), kept: 0, left_out: 0 })
    }

    pub fn observe(&mut self, line: &[u8]) -> Result<(), Broken> {
        if !self.needles.is_match(line) {
            return Ok(());
        }
        let Some(record) = Record::parse(line)?.filter(|record| self.belongs(record)) else { return Ok(()) };
        if self.kept + line.len() > KEPT_MAX {
            self.left_out += 1;
        } else {
            self.kept += line.len();
            self.records.push(Box::new(record));
        }
        Ok(())
    }

    fn belongs(&self, record: &Record) -> bool {
        let id = record.deploy().map(|id| (record.host.id.clone(), id.to_owned()));
        let by_session = self.deploy.session.as_ref().is_some_and(|session| {
            record.action() == Action::SshSessionStarted && record.session() == Some(&session.id)
        });
        id.is_some_and(|id| self.ids.contains(&id)) || self.connection(record).is_some() || by_session
    }

    /// The connection of the deploy that the record is about.
    fn connection<'a>(&self, record: &'a Record) -> Option<&'a str> {
        record.connection().filter(|id| self.connections.contains(*id))
    }

    /// The deploy and its tree.
    pub fn tell(mut self) -> (Deploy, Vec<Node>) {
        let mut records = std::mem::take(&mut self.records);
        // Of several hosts, each in its own order.
        records.sort_by(|a, b| (a.time(), &a.host.name).cmp(&(b.time(), &b.host.name)));
        let mut processes = Processes::default();
        let mut remote = Remote::default();
        let mut steps: Vec<LocalStep> = Vec::new();
        let mut changes = Changes::default();
        for record in &records {
            let connection = self.connection(record);
            match record.action() {
                Action::ProcessStarted | Action::ProcessEnded => {
                    processes.observe(record);
                    remote.served(record, connection);
                }
                Action::DeployConfigChanged => changes.observe(record),
                Action::SshSessionStarted => {
                    self.origin(record);
                    remote.observe(record, connection);
                }
                Action::DeployStep if connection.is_none() => match LocalStep::of(record) {
                    Some(step) => steps.push(step),
                    None => remote.observe(record, None),
                },
                _ => remote.observe(record, connection),
            }
        }
        let is_ours = |process: &Process| {
            let connection = process.connection.as_ref();
            process.of_deploy && !connection.is_some_and(|id| self.connections.contains(id))
        };
        let locks = sections::locks(&remote);
        let mut of_steps: Vec<String> = Vec::new();
        for step in &steps {
            add_all(&mut of_steps, &step.secrets);
        }
        let local = sections::local(&self.deploy, steps, &mut processes, is_ours);
        let secrets = sections::secrets(&self.deploy, &remote, &of_steps, &local);
        let config = changes.nodes(&self.deploy);
        let here = self.deploy.host.name.as_str();
        let mut tree: Vec<Node> = [("configuration", config), ("secrets", secrets), ("lock", locks), (here, local)]
            .into_iter()
            .filter(|(_, nodes)| !nodes.is_empty())
            .map(|(name, nodes)| Node::section(name, nodes))
            .collect();
        tree.extend(remote.nodes(&mut processes, &self.deploy.hosts));
        failing::mark(&self.deploy, &mut tree);
        self.begin(&tree);
        (self.deploy, tree)
    }

    /// A deploy that only targets have seen began, as far as they know, with its first command.
    fn begin(&mut self, tree: &[Node]) {
        if !self.deploy.seen_from.contains(&"deployer") {
            let first = tree.iter().filter_map(|node| node.time).min_by_key(|time| time.0);
            self.deploy.started = first.or(self.deploy.started);
        }
    }

    /// The login from which it was started.
    fn origin(&mut self, record: &Record) {
        let Some(session) = self.deploy.session.as_mut() else { return };
        if record.session() != Some(&session.id) {
            return;
        }
        let (ip, port) = record.source();
        session.ip = ip.or(session.ip.take());
        session.port = port.or(session.port);
        session.user = record.login().or(session.user.take());
        session.method = record.auth().map(|auth| auth.method.clone());
        let key = record.auth().and_then(|auth| auth.key.clone());
        session.key_type = key.as_ref().map(|key| key.kind.clone());
        (session.key_fingerprint, session.key_owner) = key.map(|key| (key.fingerprint, key.owner)).unwrap_or_default();
    }
}
