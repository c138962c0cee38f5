//! Configuration files of deploys, as facts of the stream: what a file held when it was looked at, and what it held
//! before.
//!
//! A fact holds a hash and never contents. The hash is keyed (HMAC-SHA256 under a key of this host), whatever the file:
//! a user names the files of a deploy, and an unkeyed hash of a short one (a PIN, a line of /etc/shadow) would give it
//! away to a reader of the records who tries values.

use std::{fmt, path::Path as FsPath};

use serde::{Deserialize, Serialize};

use super::ids::{Path, ProcessId};

/// A file was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Absolute, in the root of the process that uses it.
    pub path: Path,
    /// A file of secrets.
    pub secret: bool,
    pub cause: Cause,
    /// When, boot ns: of a change, when it was seen.
    pub at: u64,
    pub now: Contents,
    /// For a deploy: at the last deploy; else: when it was last looked at. None: this is the first time.
    pub before: Option<Contents>,
    /// It was not watched when it changed: the change is inferred from the hashes.
    pub inferred: bool,
}

/// Why it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// This deploy tool started.
    Deploy(ProcessId),
    /// It was written to, replaced or removed.
    Changed(Author),
    /// The sensor started.
    Start,
}

/// Who changed a file, as far as the kernel and /proc show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Author {
    Process(ProcessId),
    /// It was gone when it was looked for.
    Gone {
        tgid: u32,
    },
    /// Of another pid namespace, or the queue of changes was full.
    Unknown,
}

/// What a file held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    #[serde(with = "hex::serde")]
    Hash([u8; 32]),
    Missing,
    Unread(Unread),
}

/// Why it was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unread {
    TooLarge {
        bytes: u64,
    },
    /// A folder, FIFO, device or socket; or a link that leads nowhere good.
    NoFile,
    /// Written to each time it was read.
    Racing,
    /// The kernel's error number.
    Error {
        errno: i32,
    },
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => write!(f, "it has {bytes} bytes, more than is read of a configuration file"),
            Self::NoFile => write!(f, "it is no plain file"),
            Self::Racing => write!(f, "it was written to each time it was read"),
            Self::Error { errno } => write!(f, "{}", std::io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// Does a file of this name hold secrets? Its hash is then a keyed one, and nothing in it is read. Tools' definitions
/// name further files; what this names is secret whatever they say.
pub fn holds_secrets(path: &FsPath) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let path = path.to_string_lossy();
    let is_key = name.rsplit('.').next() == Some("key");
    path.contains(".kamal/secrets")
        || [".env", ".vault_pass"].iter().any(|begin| name.starts_with(begin))
        || [".tfvars", ".tfvars.json"].iter().any(|end| name.ends_with(end))
        || is_key && path.contains("config/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_back_from_a_recording_and_from_the_state() {
        for contents in [Contents::Hash([0xab; 32]), Contents::Missing, Contents::Unread(Unread::TooLarge { bytes: 7 })]
        {
            let recorded = postcard::to_stdvec(&contents).unwrap();
            assert_eq!(postcard::from_bytes::<Contents>(&recorded).unwrap(), contents);
            let kept = serde_json::to_string(&contents).unwrap();
            assert_eq!(serde_json::from_str::<Contents>(&kept).unwrap(), contents);
        }
        assert_eq!(
            serde_json::to_string(&Contents::Hash([0xab; 32])).unwrap(),
            format!("{{\"Hash\":\"{}\"}}", "ab".repeat(32))
        );
    }

    #[test]
    fn files_of_secrets_are_known_by_their_names() {
        for path in [
            ".kamal/secrets",
            "/srv/a/.kamal/secrets.production",
            ".env.staging",
            "config/master.key",
            "/a/config/credentials/production.key",
            ".vault_pass.txt",
            "envs/production.auto.tfvars",
        ] {
            assert!(holds_secrets(path.as_ref()), "{path}");
        }
        for path in ["config/deploy.yml", "environment.rb", "config/credentials.yml.enc", "monkey.key"] {
            assert!(!holds_secrets(path.as_ref()), "{path}");
        }
    }
}
