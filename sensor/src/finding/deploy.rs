//! What is found of deploys: what was asked for, each step, the end, and configuration files that changed.
//!
//! What only environment, files or arguments say is named in `Description::claimed`; what was seen is `Evidence`.

use std::{borrow::Cow, sync::Arc};

use super::{ids::SshConnectionId, subject::Exit};
pub use crate::event::deploy::{Evidence, Kind};

/// What each finding of a deploy says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub tool: Option<Arc<str>>,
    pub tool_version: Option<String>,
    /// What the verb does; absent on a target, which sees no verb.
    pub action: Option<Kind>,
    pub verb: Option<String>,
    pub service: Option<String>,
    pub destination: Option<String>,
    pub version: Option<String>,
    pub previous_version: Option<String>,
    pub performer: Option<String>,
    /// What of it rests on no act that was seen.
    pub claimed: Vec<Claim>,
}

/// A part of a deploy that can be a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Destination,
    Hosts,
    Performer,
    PreviousVersion,
    Roles,
    Secrets,
    Service,
    ToolVersion,
    Version,
}

impl Claim {
    /// In the order in which they are named.
    pub const ALL: [Self; 9] = [
        Self::Destination,
        Self::Hosts,
        Self::Performer,
        Self::PreviousVersion,
        Self::Roles,
        Self::Secrets,
        Self::Service,
        Self::ToolVersion,
        Self::Version,
    ];
}

/// What a run was asked to touch, and the connections that it made for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub hosts: Vec<String>,
    pub roles: Vec<String>,
    /// Names of the secrets that it handles or may use.
    pub secrets: Vec<String>,
    /// The project's files, where there is a project.
    pub config: Option<ConfigFiles>,
    /// Its SSH connections, as far as they are known by now.
    pub connections: Vec<SshConnectionId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// Those that were read.
    pub files: Vec<String>,
    /// Those that could not be read, and why: `path: too-large`.
    pub unread: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeployStarted {
    pub description: Description,
    pub extent: Extent,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeployFinished {
    pub description: Description,
    pub extent: Extent,
    /// Addresses to which its connections were made; `hosts` are those that it was asked to go to.
    pub contacted: Vec<String>,
    pub steps: Option<u64>,
    /// Absent where it ran before the sensor or while events were lost, and nothing was seen since.
    pub evidence: Option<Evidence>,
    /// Why it failed, in a word.
    pub reason: Option<Cow<'static, str>>,
    /// The same in a sentence.
    pub message: Option<Cow<'static, str>>,
    pub exit: Option<Exit>,
}

/// A command or process that is a step of a deploy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeployStep {
    pub description: Description,
    /// By the tool's definition.
    pub kind: String,
    pub line: Option<String>,
    pub host: Option<String>,
    pub role: Option<String>,
    pub exit_status: Option<u32>,
    /// What was uploaded, logged in to, or handled: names only.
    pub secrets: Vec<String>,
    pub registry: Option<String>,
    /// The container that it acts on.
    pub container: Option<String>,
    pub image: Option<Image>,
    /// Of a local step: how its process ended.
    pub exit: Option<Exit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub name: Option<String>,
    pub tag: Option<String>,
}

/// A configuration file of a deploy holds something else than before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigChange {
    pub path: String,
    /// Absent where the file is gone.
    pub now: Option<FileHash>,
    pub previous: Option<[u8; 32]>,
    /// Both hashes are HMAC-SHA256 under a key of this host.
    pub keyed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileHash {
    pub sha256: [u8; 32],
    /// Of a file of secrets: no search may join by it.
    pub secret: bool,
}
