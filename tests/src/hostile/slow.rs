//! A file system that does not answer: FUSE, as a user has it where /etc/fuse.conf says `user_allow_other` (there
//! fusermount3 mounts as this does), and a stand-in for NFS without its server.
//!
//! It answers lookups and attributes, so everything in it looks like a plain program, and then nothing else: an open or
//! a read of it waits until the file system goes. A killed process waits too: once the server has taken a request, the
//! kernel waits uninterruptibly for its answer.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use super::fixture;
use crate::{Account, Running, running};

pub struct SlowFileSystem {
    pub path: PathBuf,
    server: Running,
}

impl SlowFileSystem {
    /// `silent`: the operation that is not answered: `open`, `reopen`, `read` or `lookup`, of names that begin with
    /// `slow`.
    pub fn mount(owner: &Account, path: &Path, silent: &str) -> Self {
        Self::serve(owner, path, &[silent])
    }

    /// One that answers, until it is stopped: every name in it is this program. `how`: `none`, or `nameless` where
    /// statfs(2) fails.
    pub fn of(owner: &Account, path: &Path, how: &str, program: &str) -> Self {
        Self::serve(owner, path, &[how, program])
    }

    /// SIGSTOP and SIGCONT.
    pub fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    fn serve(owner: &Account, path: &Path, how: &[&str]) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(fixture("hostile/slow_file_system.py")).arg(path).arg(owner.uid.to_string()).args(how);
        let mut server = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut lines = BufReader::new(server.child().stdout.take().unwrap()).lines();
        assert_eq!(lines.next().expect("the file system ended before it was ready").unwrap(), "ready");
        Self { path: path.into(), server }
    }
}

impl Drop for SlowFileSystem {
    fn drop(&mut self) {
        // First, so that every process that waits for it gets ENOTCONN.
        let _ = self.server.child().kill();
        let _ = running::finish(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}
