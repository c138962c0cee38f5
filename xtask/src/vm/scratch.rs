//! A run's temporary folder, gone with the run however that ends.
//!
//! A shell beside this process waits for the end of its standard input, of which this process holds the only other
//! end, and removes the folder then: after a normal run, Ctrl-C, and a kill alike. It ignores Ctrl-C itself.
//! The folder is flat, and the shell removes files and the empty folder only, so that nothing mounted or linked
//! there could ever be lost. It lies in the system's temporary folder, as a socket's path ends at 108 bytes.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

const JANITOR: &str = r#"trap '' INT TERM HUP; read _; rm -f -- "$1"/*; rmdir -- "$1""#;

pub(crate) struct Scratch {
    dir: PathBuf,
    janitor: Child,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
        let dir = env::temp_dir().join(format!("xtask.{}.{nanos:09}", process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut shell = Command::new("sh");
        shell.args(["-c", JANITOR, "sh"]).arg(&dir).stdin(Stdio::piped()).process_group(0);
        let janitor = shell.spawn().context("cannot start sh")?;
        Ok(Self { dir, janitor })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}
