//! A deploy as the records of all sides tell it: what `sensor deploys` lists, and what its JSON holds.
//!
//! Field names are those of the records without their prefix. A field that is not known is absent. Names here are a
//! contract: more may be added, none changes its meaning.

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::record::Record;
pub use super::record::{Host, Outcome};
use crate::{
    finding::{self, Action, Time},
    schema::ecs::Words,
};

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
}

/// A deploy in the records of one host.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct View {
    pub host: Host,
    pub id: Option<String>,
    pub connections: Vec<String>,
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

impl Deploy {
    /// Takes what a record says of the deploy as a whole. What the end says replaces what was thought before.
    pub(super) fn learn(&mut self, record: &Record) {
        let Some(said) = record.description() else { return };
        let finish = record.finish();
        let text = |known: &mut Option<String>, new: Option<&str>| {
            if new.is_some() && (known.is_none() || finish.is_some()) {
                *known = new.map(str::to_owned);
            }
        };
        text(&mut self.tool, said.tool.as_deref());
        text(&mut self.tool_version, said.tool_version.as_deref());
        text(&mut self.action, said.action.map(Words::word));
        text(&mut self.verb, said.verb.as_deref());
        text(&mut self.service, said.service.as_deref());
        text(&mut self.destination, said.destination.as_deref());
        text(&mut self.version, said.version.as_deref());
        text(&mut self.previous_version, said.previous_version.as_deref());
        text(&mut self.performer, said.performer.as_deref());
        text(&mut self.reason, finish.and_then(|finish| finish.reason.as_deref()));
        text(&mut self.evidence, finish.and_then(|finish| finish.evidence).map(Words::word));
        // Of the deploy itself its own records know more than a step.
        if record.action() != Action::DeployStep || self.entity.is_none() {
            self.claimed = said.claimed.iter().map(|claim| claim.word().to_owned()).collect();
        }
        if let Some(extent) = record.extent() {
            add_all(&mut self.hosts, &extent.hosts);
            add_all(&mut self.roles, &extent.roles);
            add_all(&mut self.secrets, &extent.secrets);
            for connection in &extent.connections {
                add_all(&mut self.connections, &[connection.to_string()]);
            }
            if let Some(config) = &extent.config {
                add_all(&mut self.config_files, &config.files);
                add_all(&mut self.config_unread, &config.unread);
            }
        }
        add_all(&mut self.contacted, finish.map(|finish| finish.contacted.as_slice()).unwrap_or_default());
    }

    /// Who did it, and from where: of a record of the deploy tool, or of a target's session.
    pub(super) fn learn_who(&mut self, record: &Record) {
        if self.user.is_none() {
            self.user = record.finding.subject.user.as_ref().and_then(user);
        }
        let id = record.session().filter(|_| record.is_server());
        if let (None, Some(id)) = (&self.session, id) {
            let entry = record.process().and_then(|process| process.entry_leader.as_ref());
            let (ip, port) = record.source();
            self.session = Some(Session {
                id: id.to_owned(),
                ip: entry.map(|entry| entry.source.to_string()).or(ip),
                port,
                user: record.login(),
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

fn account(account: &finding::Account) -> Option<Account> {
    let account = Account { id: account.id.map(|id| id.to_string()), name: account.name.as_deref().map(str::to_owned) };
    (account != Account::default()).then_some(account)
}

fn user(user: &finding::User) -> Option<User> {
    let Account { id, name } = account(&user.real).unwrap_or_default();
    let user = User {
        id,
        name,
        effective: user.effective.as_ref().and_then(account),
        audit: user.audit.as_ref().and_then(account),
    };
    (user != User::default()).then_some(user)
}
