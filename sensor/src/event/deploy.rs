//! Deploys: what the host says of them, and what a deploy tool is asked to do.
//!
//! The facts (`Project`, `Variables`, `ToolFile`) enter the stream before the exec that needs them, so a recording
//! replays without the host. They hold names, hosts and paths, and no value that a definition does not call safe: never
//! the contents of a secret file, of a password or of any other variable.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{Path, ProcessId};

/// What a verb does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Deploy,
    Rollback,
    ConfigChange,
    Secret,
    Maintenance,
    Lock,
    Exec,
    Inspect,
    /// A verb that the definition does not list: a plugin, or a newer version of the tool.
    Unknown,
    /// Help, completion, the tool's own version: no deploy.
    None,
}

impl Kind {
    /// `deploy.action`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::ConfigChange => "config-change",
            Self::Secret => "secret",
            Self::Maintenance => "maintenance",
            Self::Lock => "lock",
            Self::Exec => "exec",
            Self::Inspect => "inspect",
            Self::Unknown => "unknown",
            Self::None => "none",
        }
    }
}

/// What shows that a deploy tool did anything, the weakest first. The name of a program shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// A program of that name ran.
    None,
    /// It made connections, over which no command of the tool was seen.
    Connections,
    /// Commands of the tool ran over its connections. Of a tool whose acts cannot be read: its own program ran.
    Commands,
    /// A step of the strongest kind that was tried, of those that the definition calls a proof, ended with 0 over one
    /// of its connections.
    TrafficSwitched,
}

/// A tool's definition that the user added: TOML, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolFile {
    /// Its path, for messages.
    pub path: String,
    pub text: String,
}

/// The project that a deploy tool was started in: what its configuration files say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub files: Vec<ProjectFile>,
    /// The tool's, as the project locked it.
    pub tool_version: Option<String>,
    pub service: Option<String>,
    pub image: Option<String>,
    pub registry: Option<String>,
    /// Roles and their hosts, as written.
    pub roles: Vec<(String, Vec<String>)>,
    /// What a tool's own shorthands stand for.
    pub aliases: Vec<(String, String)>,
    /// Names of the secrets that it uses.
    pub secrets: Vec<String>,
    /// Of these, what the registry is logged in to with.
    pub registry_secrets: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectFile {
    /// As the tool names it: relative to its working directory, or absolute.
    pub path: String,
    /// For secrets: it is known that it is there, and nothing else.
    pub secret: bool,
    pub state: FileState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileState {
    Read,
    Missing,
    /// Larger than what is read.
    TooLarge,
    /// No plain file, no permission, on a file system that does not answer.
    Unreadable,
    /// Not what it should be: no YAML, or YAML made to exhaust its reader.
    Invalid,
    /// It was written to while it was read.
    Changed,
    /// Not looked at: too many deploys at once, or a file system that does not answer.
    Skipped,
}

impl FileState {
    /// `deploy.config.files[].state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Missing => "missing",
            Self::TooLarge => "too-large",
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
            Self::Changed => "changed",
            Self::Skipped => "skipped",
        }
    }
}

/// A deploy tool is about to be seen in this process, or a child of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub process: ProcessId,
    /// The tool's name, by the definition that recognised it.
    pub tool: Arc<str>,
    pub project: Option<Box<Project>>,
    /// Variables that the definition calls safe, by name.
    pub variables: Vec<(String, String)>,
    /// Of a process that was there before the sensor: an exec has its own.
    pub working_directory: Option<Path>,
}
