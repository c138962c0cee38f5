//! What the watch of configuration files is started with, and what it needs to know of a deploy.

use std::path::PathBuf;

use crate::event::stream::{Credentials, ProcessId};

/// A deploy tool started.
#[derive(Clone, Debug)]
pub struct Deploying {
    pub process: ProcessId,
    /// Who deploys: with these rights the files are read.
    pub credentials: Option<Credentials>,
    /// It is in the host's own mount namespace: its files can be watched, and looked at when the process is gone.
    pub of_host: bool,
    /// As the kernel had it at exec.
    pub working_directory: Option<Vec<u8>>,
    /// What distinguishes its files from those of other deploys, wherever it is checked out: tool, service,
    /// destination. None: their paths do.
    pub project: Option<String>,
    /// As the tool names them: absolute, or relative to the working directory. The flag: a file of secrets.
    pub files: Vec<(String, bool)>,
}

/// Where state and key are, and which files are watched from the start.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// None: nothing outlives this run.
    pub folder: Option<PathBuf>,
    pub files: Vec<PathBuf>,
    /// A file with the key of the hashes (32 bytes, 0600), where several hosts are to have the same. None: a key of
    /// this host's own, in the folder.
    pub key: Option<PathBuf>,
}
