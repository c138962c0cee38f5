//! A user of this machine to log in as: made for one test, removed with all its processes when dropped.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{running, wait};

pub struct Account {
    pub name: String,
    pub uid: u32,
    pub home: PathBuf,
}

impl Account {
    /// One that a crashed test left behind is replaced.
    pub fn create(name: &str) -> Self {
        let _ = running::finish(Command::new("userdel").args(["--remove", name]));
        running::succeed(Command::new("useradd").args(["--create-home", "--shell", "/bin/bash", name]));
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name)).unwrap();
        let fields: Vec<&str> = line.split(':').collect();
        Self { name: name.into(), uid: fields[2].parse().unwrap(), home: fields[5].into() }
    }

    /// Lets it run everything as root, without a password.
    pub fn may_sudo(&self) {
        let path = self.sudoers();
        fs::write(&path, format!("{} ALL=(ALL) NOPASSWD: ALL\n", self.name)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    }

    fn sudoers(&self) -> PathBuf {
        format!("/etc/sudoers.d/{}", self.name).into()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.sudoers());
        // What survived its session must not survive the test; and userdel refuses while there is any.
        let _ = wait::within(wait::PATIENCE, || {
            let own = processes_of(self.uid);
            for pid in &own {
                let _ = kill_process(*pid, Signal::KILL);
            }
            own.is_empty().then_some(())
        });
        let _ = running::finish(Command::new("userdel").args(["--remove", &self.name]));
    }
}

fn processes_of(uid: u32) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == uid))
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| !is_zombie(*pid))
        .collect()
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}
