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
    fields::Fields,
    lines::Broken,
    local::{Process, Processes},
    node::Node,
    remote::Remote,
    sections::{self, Changes, LocalStep},
};

/// What may be kept, by the size of the lines that it came from.
const KEPT_MAX: usize = 256 << 20;

pub struct DeployDetail {
    deploy: Deploy,
    needles: AhoCorasick,
    /// (host id, deploy id)
    ids: HashSet<(String, String)>,
    connections: HashSet<String>,
    #[expect(clippy::vec_box, reason = "they are sorted, and large")]
    records: Vec<Box<Fields>>,
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
        let fields = Fields::parse(line)?;
        if !self.belongs(&fields) {
            return Ok(());
        }
        if self.kept + line.len() > KEPT_MAX {
            self.left_out += 1;
        } else {
            self.kept += line.len();
            self.records.push(Box::new(fields));
        }
        Ok(())
    }

    fn belongs(&self, fields: &Fields) -> bool {
        let id = fields.deploy.id.clone().map(|id| (fields.host.id.clone(), id));
        let by_session = self.deploy.session.as_ref().is_some_and(|session| {
            fields.action() == "ssh-session-started" && fields.ssh.session.id.as_ref() == Some(&session.id)
        });
        id.is_some_and(|id| self.ids.contains(&id)) || self.connection(fields).is_some() || by_session
    }

    /// The connection of the deploy that the record is about.
    fn connection<'a>(&self, fields: &'a Fields) -> Option<&'a str> {
        fields.ssh.connection.id.as_deref().filter(|id| self.connections.contains(*id))
    }

    /// The deploy and its tree.
    pub fn tell(mut self) -> (Deploy, Vec<Node>) {
        let mut records = std::mem::take(&mut self.records);
        // Of several hosts, each in its own order.
        records.sort_by(|a, b| (a.time, &a.host.name).cmp(&(b.time, &b.host.name)));
        let mut processes = Processes::default();
        let mut remote = Remote::default();
        let mut steps: Vec<LocalStep> = Vec::new();
        let mut changes = Changes::default();
        for fields in &records {
            let connection = self.connection(fields);
            match fields.action() {
                "process-started" | "process-ended" => {
                    processes.observe(fields);
                    remote.served(fields, connection);
                }
                "deploy-config-changed" => changes.observe(fields),
                "ssh-session-started" => {
                    self.origin(fields);
                    remote.observe(fields, connection);
                }
                "deploy-step" if connection.is_none() => match LocalStep::of(fields) {
                    Some(step) => steps.push(step),
                    None => remote.observe(fields, None),
                },
                _ => remote.observe(fields, connection),
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
    fn origin(&mut self, fields: &Fields) {
        let Some(session) = self.deploy.session.as_mut() else { return };
        if fields.ssh.session.id.as_ref() != Some(&session.id) {
            return;
        }
        session.ip = fields.source.ip.clone().or(session.ip.take());
        session.port = fields.source.port.or(session.port);
        session.user = fields.destination.user.name.clone().or(session.user.take());
        session.method.clone_from(&fields.ssh.auth.method);
        let key = fields.ssh.auth.key.clone();
        (session.key_type, session.key_fingerprint, session.key_owner) = (key.kind, key.fingerprint, key.owner);
    }
}
