//! The `deploy.*` and `container.*` fields of a record.

use std::sync::Arc;

use serde::Serialize;
use serde_with::skip_serializing_none;

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Deploy {
    pub id: Arc<str>,
    /// The rest is told by records of deploys only.
    #[serde(flatten)]
    pub fields: Option<Box<DeployFields>>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct DeployFields {
    pub tool: Option<Arc<str>>,
    pub tool_version: Option<String>,
    pub action: Option<&'static str>,
    pub verb: Option<String>,
    pub service: Option<String>,
    pub destination: Option<String>,
    pub version: Option<String>,
    pub previous_version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    pub performer: Option<String>,
    /// Names of the secrets that it handles or may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    pub config: Option<DeployConfig>,
    /// `ssh.connection.id` of its connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Arc<str>>,
    /// Addresses to which its connections were made; `hosts` are those that it was asked to go to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacted: Vec<String>,
    pub steps: Option<u64>,
    /// What shows that the tool did anything (`event::deploy::Evidence`).
    pub evidence: Option<&'static str>,
    /// Names of those of these fields that rest on what environment, files or arguments say, and on no act that was
    /// seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claimed: Vec<&'static str>,
    pub reason: Option<String>,
    pub step: Option<DeployStep>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct DeployConfig {
    /// Those that are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Those that could not be read, and why: `path: too-large`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct DeployStep {
    pub kind: String,
    pub line: Option<String>,
    pub host: Option<String>,
    pub role: Option<String>,
    pub exit_status: Option<u32>,
    /// What was uploaded, logged in to, or handled: names only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    pub registry: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Container {
    pub id: Option<String>,
    pub name: Option<String>,
    pub image: Option<Image>,
    pub user: Option<ContainerUser>,
}

/// What a container's passwd file calls the real user: a claim of the user who wrote that file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ContainerUser {
    pub name: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Image {
    pub name: Option<String>,
    pub tag: Option<String>,
}
