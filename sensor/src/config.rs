//! Layer 1: the configuration file of `sensor run`: TOML, every key optional, an unknown key is an error that names its
//! line.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Four of the pieces in which records are handed over.
const QUEUE_MIN: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The parser's message shows the line.
    #[error("{path} is not a valid configuration:\n{source}")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{path}: {key} is {value}: {rule}")]
    Value { path: PathBuf, key: &'static str, value: String, rule: &'static str },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub output: Output,
    pub scope: Scope,
    pub kernel: Kernel,
    pub limits: Limits,
    pub host: Host,
    pub deploy: Deploy,
    /// Labels of commands, each with its patterns: a line that matches one of them bears it.
    pub commands: BTreeMap<String, Vec<String>>,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// A file (created 0600, appended to, reopened on SIGHUP), or `-` for standard output.
    pub path: PathBuf,
    /// Bytes that may wait to be written: what a slow disk or reader may be behind. More is lost, and counted.
    pub queue_bytes: usize,
    /// Of a file: from this size on, records of processes and connections are suppressed, until it is rotated. 0: no
    /// limit.
    pub max_bytes: u64,
}

/// What is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Also processes and connections outside of SSH sessions.
    pub all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// Size of the ring buffer in bytes: a power of two, at least 4096. It is mapped twice: VmRSS shows double.
    pub ring_bytes: u32,
}

/// Bounds of what is kept in memory. What they refuse is counted and recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Living processes known; about 300 bytes each.
    pub processes: usize,
    /// SSH sessions open or with living processes; about 500 bytes each.
    pub sessions: usize,
    /// Open outgoing connections of recorded processes; about 2 KiB each.
    pub connections: usize,
    /// Records of processes and connections a second of one session (outside of sessions: of one user), with ten
    /// seconds' worth at once. More is counted in `sensor-suppressed`. 0: no limit.
    pub session_records_per_second: u64,
    /// The same in bytes, with four seconds' worth at once.
    pub session_bytes_per_second: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// The host's /proc, where it is mounted elsewhere (in a container: /host/proc).
    pub proc: PathBuf,
}

/// Deploys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deploy {
    /// A folder of the sensor's own (0700): what configuration files held at the last deploy, and the key for those
    /// with secrets. Empty: nothing is kept.
    pub state: PathBuf,
    /// Configuration files that are watched from the start, and not only from their first deploy.
    pub watch: Vec<PathBuf>,
    /// A file with the key of the hashes of configuration files (32 bytes, 0600), where several hosts are to have the
    /// same hash for the same file. Without it each host has a key of its own.
    pub hash_key: Option<PathBuf>,
    /// A folder with definitions of tools (`*.toml`), besides those that the sensor has.
    pub tools: Option<PathBuf>,
}

impl Default for Deploy {
    fn default() -> Self {
        Self { state: "/var/lib/sensor".into(), watch: Vec::new(), hash_key: None, tools: None }
    }
}

impl Default for Output {
    fn default() -> Self {
        // The queue: what a full ring of 4 MiB becomes. The file: logs that are rotated stay far below; one that is not
        // must not fill the disk.
        Self { path: "-".into(), queue_bytes: 8 << 20, max_bytes: 10 << 30 }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self { ring_bytes: sensor_common::RING_BYTES }
    }
}

impl Default for Limits {
    fn default() -> Self {
        // A build of a kernel on 32 cores starts some 750 processes a second: 1,500 records.
        Self {
            processes: 65_536,
            sessions: 16_384,
            connections: 65_536,
            session_records_per_second: 2_000,
            session_bytes_per_second: 4 << 20,
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self { proc: "/proc".into() }
    }
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// `path` is for messages only.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let config: Self =
            toml::from_str(text).map_err(|source| Error::Parse { path: path.into(), source: Box::new(source) })?;
        let ring = config.kernel.ring_bytes;
        if !ring.is_power_of_two() || ring < 4096 {
            return Err(Error::Value {
                path: path.into(),
                key: "kernel.ring_bytes",
                value: ring.to_string(),
                rule: "it must be a power of two and at least 4096",
            });
        }
        if config.output.queue_bytes < QUEUE_MIN {
            return Err(Error::Value {
                path: path.into(),
                key: "output.queue_bytes",
                value: config.output.queue_bytes.to_string(),
                rule: "it must be at least 1048576",
            });
        }
        if let Some(watched) = config.deploy.watch.iter().find(|watched| !watched.is_absolute()) {
            return Err(Error::Value {
                path: path.into(),
                key: "deploy.watch",
                value: watched.display().to_string(),
                rule: "it must be a path from the root",
            });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse("", "x".as_ref()).unwrap(), Config::default());
    }

    #[test]
    fn the_shipped_file_has_the_defaults_and_what_it_comments_out_can_be_used() {
        let text = include_str!("../../deploy/sensor.toml");
        let shipped = Config::parse(text, "sensor.toml".as_ref()).unwrap();
        let output = Output { path: shipped.output.path.clone(), ..Output::default() };
        assert_eq!(shipped, Config { output, ..Config::default() });
        let is_key = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let commented = |line: &str| line.strip_prefix("# ").filter(|rest| is_key(rest)).map(str::to_owned);
        let lines: Vec<String> = text.lines().map(|line| commented(line).unwrap_or_else(|| line.to_owned())).collect();
        assert_eq!(text.lines().filter_map(commented).count(), 3);
        let whole = Config::parse(&lines.join("\n"), "sensor.toml".as_ref()).unwrap();
        assert!(whole.deploy.tools.is_some() && whole.deploy.hash_key.is_some() && whole != shipped);
    }

    #[test]
    fn an_unknown_key_is_rejected_with_its_line() {
        let error =
            Config::parse("[output]\npath = \"-\"\nformat = \"json\"\n", "s.toml".as_ref()).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("format"), "{error}");
    }

    #[test]
    fn a_watched_file_is_named_from_the_root() {
        let parse = |text| Config::parse(text, "s.toml".as_ref());
        assert!(parse("[deploy]\nwatch = [\"/srv/a/config/deploy.yml\"]\n").is_ok());
        let error = parse("[deploy]\nwatch = [\"config/deploy.yml\"]\n").unwrap_err().to_string();
        assert!(error.contains("deploy.watch is config/deploy.yml"), "{error}");
    }

    #[test]
    fn a_queue_without_room_is_refused() {
        let error = Config::parse("[output]\nqueue_bytes = 4096\n", "s.toml".as_ref()).unwrap_err().to_string();
        assert!(error.contains("output.queue_bytes is 4096"), "{error}");
    }

    #[test]
    fn a_ring_that_the_kernel_would_refuse_is_refused_here() {
        let error = Config::parse("[kernel]\nring_bytes = 5000\n", "s.toml".as_ref()).unwrap_err().to_string();
        assert!(error.contains("kernel.ring_bytes is 5000"), "{error}");
    }
}
