//! What of a record is read back: the fields of the contract that tell of deploys, and no others.
//!
//! What enters: one line. What leaves: its fields, each absent if the line has it not. A line that is not JSON, or
//! lacks what every record has, is broken. Fields whose shape may grow (a count that becomes a list) are left out where
//! they are not what is expected.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use super::lines::Broken;

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Fields {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    /// `@timestamp` in ns since the epoch.
    #[serde(skip)]
    pub time: i64,
    pub event: Event,
    #[serde(default)]
    pub host: Host,
    #[serde(default)]
    pub sensor: Sensor,
    #[serde(default)]
    pub process: Process,
    #[serde(default)]
    pub user: User,
    #[serde(default)]
    pub source: Endpoint,
    #[serde(default)]
    pub destination: Endpoint,
    #[serde(default)]
    pub ssh: Ssh,
    #[serde(default)]
    pub deploy: Deploy,
    #[serde(default)]
    pub container: Container,
    #[serde(default)]
    pub file: File,
    #[serde(default)]
    pub error: Error,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Event {
    pub action: String,
    #[serde(default)]
    pub outcome: String,
    pub duration: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Host {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub id: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Sensor {
    pub boot_id: Option<String>,
    pub lineage: Option<String>,
    pub inferred: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub pid: Option<u32>,
    pub entity_id: Option<String>,
    pub name: Option<String>,
    pub executable: Option<String>,
    pub command_line: Option<String>,
    pub working_directory: Option<String>,
    pub exit_code: Option<u64>,
    pub exit_signal: Option<u64>,
    pub parent: Parent,
    pub entry_leader: EntryLeader,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parent {
    pub entity_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EntryLeader {
    pub entry_meta: EntryMeta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EntryMeta {
    pub source: Endpoint,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    pub ip: Option<String>,
    pub port: Option<u16>,
    pub domain: Option<String>,
    pub user: Account,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    pub id: Option<String>,
    pub name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub id: Option<String>,
    pub name: Option<String>,
    pub effective: Account,
    pub audit: Account,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ssh {
    pub role: Option<String>,
    pub connection: Id,
    pub session: Id,
    pub command: Command,
    pub auth: Auth,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Id {
    pub id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Command {
    pub id: Option<String>,
    pub kind: Option<String>,
    pub line: Option<String>,
    pub exit_status: Option<u64>,
    pub exit_signal: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Auth {
    pub method: Option<String>,
    pub key: Key,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Key {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub fingerprint: Option<String>,
    pub owner: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deploy {
    pub id: Option<String>,
    pub tool: Option<String>,
    pub tool_version: Option<String>,
    pub action: Option<String>,
    pub verb: Option<String>,
    pub service: Option<String>,
    pub destination: Option<String>,
    pub version: Option<String>,
    pub previous_version: Option<String>,
    pub hosts: Names,
    pub roles: Names,
    pub performer: Option<String>,
    pub config: Config,
    pub connections: Names,
    pub contacted: Names,
    pub evidence: Option<String>,
    pub claimed: Names,
    /// Names of secrets that were handled.
    pub secrets: Names,
    pub steps: Loose<u64>,
    pub reason: Option<String>,
    pub step: Step,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub files: Names,
    /// `path: why`
    pub unread: Names,
    pub previous_sha256: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub kind: Option<String>,
    pub line: Option<String>,
    pub host: Option<String>,
    pub role: Option<String>,
    pub exit_status: Option<u64>,
    /// Names of secrets that it handles.
    pub secrets: Names,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub name: Option<String>,
    pub image: Image,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Image {
    pub name: Option<String>,
    pub tag: Names,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub path: Option<String>,
    pub hash: Hash,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hash {
    pub sha256: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Error {
    pub code: Option<String>,
    pub message: Option<String>,
}

/// A value of the expected type, or something else that is left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Loose<T> {
    Is(T),
    Other(IgnoredAny),
}

impl<T> Default for Loose<T> {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

impl<T> Loose<T> {
    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Other(_) => None,
        }
    }
}

/// Names: a text, a list of texts, or a list of objects that have a `path` or a `name`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Loose<OneOrMany>")]
pub(super) struct Names(pub Vec<String>);

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<Name>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Object(BTreeMap<String, Loose<String>>),
}

impl From<Loose<OneOrMany>> for Names {
    fn from(value: Loose<OneOrMany>) -> Self {
        let name = |name| match name {
            Name::Text(text) => Some(text),
            Name::Object(fields) => {
                ["path", "name"].iter().find_map(|key| fields.get(*key).and_then(Loose::get)).cloned()
            }
        };
        match value {
            Loose::Is(OneOrMany::One(text)) => Self(vec![text]),
            Loose::Is(OneOrMany::Many(many)) => Self(many.into_iter().filter_map(name).collect()),
            Loose::Other(_) => Self::default(),
        }
    }
}

impl Fields {
    pub(super) fn parse(line: &[u8]) -> Result<Self, Broken> {
        let mut fields: Self = serde_json::from_slice(line).map_err(|_| Broken)?;
        let time: jiff::Timestamp = fields.timestamp.parse().map_err(|_| Broken)?;
        fields.time = i64::try_from(time.as_nanosecond()).map_err(|_| Broken)?;
        fields.timestamp = String::new();
        Ok(fields)
    }

    pub(super) fn action(&self) -> &str {
        &self.event.action
    }

    /// A step that failed, by what the record says or by its status.
    pub(super) fn has_failed(&self) -> bool {
        self.event.outcome == "failure" || self.deploy.step.exit_status.is_some_and(|status| status != 0)
    }

    /// Of the server's end of an SSH connection?
    pub(super) fn is_server(&self) -> bool {
        self.ssh.role.as_deref() != Some("client")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_unknown_ones_left_out() {
        let line = br#"{"@timestamp":"2026-11-21T21:18:44.000000005Z","event":{"action":"deploy-finished","outcome":"failure","x":[1]},
            "deploy":{"id":"d1","steps":7,"hosts":["a","b"],"config":{"files":[{"path":"config/deploy.yml","size":3},{"other":1}]}},"new":{"a":null}}"#;
        let fields = Fields::parse(line).unwrap();
        assert_eq!(fields.time, 1_795_295_924_000_000_005);
        assert_eq!(fields.deploy.steps.get(), Some(&7));
        assert_eq!(fields.deploy.hosts.0, ["a", "b"]);
        assert_eq!(fields.deploy.config.files.0, ["config/deploy.yml"]);
        assert_eq!(fields.deploy.version, None);
    }

    #[test]
    fn a_field_of_another_shape_is_left_out() {
        let line = br#"{"@timestamp":"2026-11-21T21:18:44Z","event":{"action":"deploy-step"},"deploy":{"steps":[{"a":1}],"hosts":"one","connections":7}}"#;
        let deploy = Fields::parse(line).unwrap().deploy;
        assert!(deploy.steps.get().is_none() && deploy.connections.0.is_empty());
        assert_eq!(deploy.hosts.0, ["one"]);
    }

    #[test]
    fn what_is_no_record_is_broken() {
        for line in [&b"{}"[..], b"{\"@timestamp\":\"x\",\"event\":{\"action\":\"a\"}}", b"{\"@timestamp\":", b"[]"] {
            assert_eq!(Fields::parse(line).err(), Some(Broken));
        }
    }
}
