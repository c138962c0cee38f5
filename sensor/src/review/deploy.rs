//! A deploy as the records of all sides tell it: what `sensor deploys` lists, and what its JSON holds.
//!
//! Field names are those of the records without their prefix. A field that is not known is absent. Names here are a
//! contract: more may be added, none changes its meaning.

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::fields::{self, Fields};
use crate::event::record::Time;

/// Hosts, connections, files of one deploy: more than any inventory, and few enough to look through.
pub(super) const NAMES_MAX: usize = 2048;

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Deploy {
    pub id: String,
    /// Where the deploy tool ran; of a deploy that only targets have seen: the first target.
    pub host: Host,
    /// Whose records tell of it: `deployer`, `target`.
    pub seen_from: Vec<&'static str>,
    pub state: State,
    pub outcome: Outcome,
    pub started: Option<Time>,
    pub ended: Option<Time>,
    /// ns
    pub duration: Option<u64>,
    /// True: it was running when the sensor started, so the log may not have all of it.
    pub inferred: Option<bool>,
    pub tool: Option<String>,
    pub tool_version: Option<String>,
    pub action: Option<String>,
    pub verb: Option<String>,
    pub command_line: Option<String>,
    pub working_directory: Option<String>,
    pub service: Option<String>,
    pub destination: Option<String>,
    pub version: Option<String>,
    pub previous_version: Option<String>,
    pub hosts: Vec<String>,
    pub roles: Vec<String>,
    pub performer: Option<String>,
    pub user: Option<User>,
    /// The SSH session in which it was started.
    pub session: Option<Session>,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub exit_code: Option<u64>,
    pub steps: u64,
    pub failed_steps: u64,
    pub config_files: Vec<String>,
    /// Those that the sensor could not read, as `path: why`.
    pub config_unread: Vec<String>,
    pub secrets: Vec<String>,
    pub connections: Vec<String>,
    /// Addresses to which its connections were made.
    pub contacted: Vec<String>,
    /// What shows that the tool did anything: `traffic-switched`, `commands`, `connections`, `none`.
    pub evidence: Option<String>,
    /// Fields that rest on what environment, files or arguments say, as `deploy.version`.
    pub claimed: Vec<String>,
    /// The same deploy as targets have it.
    pub targets: Vec<View>,
    /// The process that is the deploy tool.
    #[serde(skip)]
    pub entity: Option<String>,
    /// The step that its end names as the one that failed.
    #[serde(skip)]
    pub failing: Option<Failing>,
}

/// A deploy in the records of one host.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct View {
    pub host: Host,
    pub id: Option<String>,
    pub connections: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Host {
    pub name: String,
    pub id: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Finished,
    /// It began, and nothing says that the sensor has stopped since.
    Running,
    /// It began, and the sensor that saw it was stopped or started anew before it ended; or only targets saw it.
    #[default]
    EndNotSeen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Success,
    Failure,
    #[default]
    Unknown,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub id: Option<String>,
    pub name: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct User {
    pub id: Option<String>,
    pub name: Option<String>,
    pub effective: Option<Account>,
    /// Who logged in (loginuid).
    pub audit: Option<Account>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Session {
    pub id: String,
    pub ip: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub method: Option<String>,
    pub key_type: Option<String>,
    pub key_fingerprint: Option<String>,
    pub key_owner: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Failing {
    pub line: String,
    pub host: Option<String>,
}

impl Deploy {
    /// Takes what a record says of the deploy as a whole. What the end says replaces what was thought before.
    pub(super) fn learn(&mut self, fields: &Fields) {
        let is_end = fields.action() == "deploy-finished";
        let deploy = &fields.deploy;
        let text = |known: &mut Option<String>, new: &Option<String>| {
            if new.is_some() && (known.is_none() || is_end) {
                known.clone_from(new);
            }
        };
        text(&mut self.tool, &deploy.tool);
        text(&mut self.tool_version, &deploy.tool_version);
        text(&mut self.action, &deploy.action);
        text(&mut self.verb, &deploy.verb);
        text(&mut self.service, &deploy.service);
        text(&mut self.destination, &deploy.destination);
        text(&mut self.version, &deploy.version);
        text(&mut self.previous_version, &deploy.previous_version);
        text(&mut self.performer, &deploy.performer);
        text(&mut self.reason, &deploy.reason);
        text(&mut self.evidence, &deploy.evidence);
        // Of the deploy itself its own records know more than a step.
        if fields.action() != "deploy-step" || self.entity.is_none() {
            self.claimed.clone_from(&deploy.claimed.0);
        }
        for (known, new) in [
            (&mut self.hosts, &deploy.hosts.0),
            (&mut self.roles, &deploy.roles.0),
            (&mut self.config_files, &deploy.config.files.0),
            (&mut self.config_unread, &deploy.config.unread.0),
            (&mut self.secrets, &deploy.secrets.0),
            (&mut self.connections, &deploy.connections.0),
            (&mut self.contacted, &deploy.contacted.0),
        ] {
            add_all(known, new);
        }
    }

    /// Who did it, and from where: of a record of the deploy tool, or of a target's session.
    pub(super) fn learn_who(&mut self, fields: &Fields) {
        if self.user.is_none() {
            self.user = user(&fields.user);
        }
        let id = fields.ssh.session.id.as_ref().filter(|_| fields.is_server());
        if let (None, Some(id)) = (&self.session, id) {
            let entry = &fields.process.entry_leader.entry_meta.source.ip;
            self.session = Some(Session {
                id: id.clone(),
                ip: entry.clone().or_else(|| fields.source.ip.clone()),
                port: fields.source.port,
                user: fields.destination.user.name.clone(),
                ..Session::default()
            });
        }
    }

    /// Every id by which records name it.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let own = std::iter::once(self.id.as_str());
        own.chain(self.targets.iter().filter_map(|view| view.id.as_deref()))
    }

    /// Is this its id, or the beginning of one? None is the beginning of all.
    pub fn is_called(&self, prefix: &str) -> bool {
        !prefix.is_empty() && self.ids().any(|id| id.starts_with(prefix))
    }

    /// Does this field (`version`) rest on words alone? A performer always does: nothing that a tool does can confirm
    /// who it is for.
    pub fn is_claimed(&self, field: &str) -> bool {
        field == "performer" || self.claimed.iter().any(|name| name.strip_prefix("deploy.") == Some(field))
    }

    /// Did anything show that the tool did something? None: no record says.
    pub fn has_acted(&self) -> Option<bool> {
        self.evidence.as_ref().map(|evidence| !matches!(evidence.as_str(), "none" | "connections"))
    }

    /// When it is known to have begun, ns since the epoch.
    pub fn time(&self) -> i64 {
        self.started.map_or(0, |time| time.0)
    }
}

/// Adds what is not there yet, up to a bound.
pub(super) fn add_all(known: &mut Vec<String>, new: &[String]) {
    for name in new {
        if known.len() < NAMES_MAX && !known.contains(name) {
            known.push(name.clone());
        }
    }
}

fn account(fields: &fields::Account) -> Option<Account> {
    let fields::Account { id, name } = fields.clone();
    (id.is_some() || name.is_some()).then_some(Account { id, name })
}

fn user(fields: &fields::User) -> Option<User> {
    let user = User {
        id: fields.id.clone(),
        name: fields.name.clone(),
        effective: account(&fields.effective),
        audit: account(&fields.audit),
    };
    (user != User::default()).then_some(user)
}

impl From<&fields::Host> for Host {
    fn from(host: &fields::Host) -> Self {
        Self { name: host.name.clone(), id: host.id.clone() }
    }
}

impl From<&str> for Outcome {
    fn from(outcome: &str) -> Self {
        match outcome {
            "success" => Self::Success,
            "failure" => Self::Failure,
            _ => Self::Unknown,
        }
    }
}
