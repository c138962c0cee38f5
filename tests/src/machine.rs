//! The machine: users, audit rules and kernel probes are its own, so one test uses it at a time, whatever runs the
//! tests.
//!
//! A lock on a file, whatever TMPDIR is; the kernel drops it with the process. Without root nothing here can be tested,
//! and that is a failure, not a pass.

use std::fs::{File, OpenOptions};

use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};

/// The right to use the machine until dropped.
pub struct Machine {
    _lock: File,
}

impl Machine {
    /// Waits for the machine.
    pub fn take() -> Self {
        assert!(geteuid().is_root(), "the tests on a real kernel need root: sudo cargo xtask test");
        let path = std::path::Path::new("/tmp/sensor-tests.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        Self { _lock: lock }
    }
}
