//! The questions, as data: what the daemon asks and a worker decodes. `questions` answers them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::needs::{MAPPED_MAX, Needs};
#[cfg(test)]
use super::trial::Trial;
use crate::{
    event::{deploy::ToolFile, stream::FileId},
    host::{known_hosts::Shown, libraries::Call},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Names of these uids by the passwd file beneath the subject's root.
    Names { uids: Vec<u32> },
    /// Programs and libraries that may speak SSH.
    Candidates(Where),
    /// Libraries that the process has mapped.
    Ranges,
    /// What these files are; true: libraries.
    Examine(Vec<(PathBuf, bool)>),
    /// What the process executes is.
    ExamineExecutable { name: PathBuf },
    /// What is mapped at these ranges is.
    ExamineMapped(Vec<Range>),
    /// What a deploy's configuration says.
    Project(Invoked),
    /// Variables of the process's environment.
    Variables { names: Vec<String> },
    /// What the client's files say of a host key.
    KnownHosts(Box<Shown>),
    /// What configuration files hold.
    Configuration { working_directory: Option<PathBuf>, files: Vec<PathBuf> },
    /// May a file be probed at these offsets? It comes with the question (`Inspector::check`).
    Places(Vec<u64>),
    #[cfg(test)]
    Trial(Trial),
}

/// Where candidates are looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Where {
    /// Where distributions put OpenSSH's parts, and the libraries.
    Usual,
    /// Where distributions put OpenSSH's parts.
    OpenSsh,
    /// Where this interpreter imports from.
    Interpreter(Call),
}

/// A library that a process has mapped, and a range of addresses where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// As the maps have it: another number than stat(2) has on an overlay.
    pub file: FileId,
    pub name: PathBuf,
    pub start: u64,
    pub end: u64,
}

/// How a deploy tool was executed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Invoked {
    /// Redacted.
    pub argv: Vec<String>,
    pub executable: Option<String>,
    /// As the kernel had it at exec.
    pub working_directory: Option<PathBuf>,
    /// The user's definitions of tools.
    pub tools: Vec<ToolFile>,
}

impl Question {
    pub fn needs(&self) -> Needs {
        match self {
            Self::Names { .. } | Self::Examine(_) => Needs::default(),
            Self::Candidates(places) => Needs { environ: matches!(places, Where::Interpreter(_)), ..Needs::default() },
            Self::Ranges => Needs { maps: true, ..Needs::default() },
            Self::ExamineExecutable { .. } | Self::Places(_) => Needs { content: true, ..Needs::default() },
            Self::ExamineMapped(ranges) => {
                let mapped = ranges.iter().take(MAPPED_MAX).map(|range| (range.start, range.end)).collect();
                Needs { mapped, ..Needs::default() }
            }
            Self::Project(_) | Self::Configuration { .. } => Needs { cwd: true, ..Needs::default() },
            Self::Variables { .. } => Needs { environ: true, ..Needs::default() },
            Self::KnownHosts(shown) => {
                Needs { cmdline: shown.args.is_none() || !shown.examined, content: !shown.examined, ..Needs::default() }
            }
            #[cfg(test)]
            Self::Trial(trial) => trial.needs(),
        }
    }
}
