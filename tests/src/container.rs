//! A container without a runtime: mount and pid namespaces of its own, a root of its own (an overlay of the host's),
//! and a cgroup whose name says that it is one.
//!
//! What is changed in it are other files than the host's, with other inodes, and only `/proc/PID/root` leads to them.
//! Gone with its processes when dropped.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Running, lab::random, wait};

/// For `prepare`: the distribution's libraries through which programs speak SSH, as files of the container's own.
pub const OWN_LIBRARIES: &str = "for file in $ROOT/usr/lib/python3/dist-packages/cryptography/hazmat/bindings/*.so \
    $(find $ROOT/usr/lib -path \"*/ruby/*\" -name openssl.so); do cp -a $file $file.new; mv $file.new $file; done";

pub struct Container {
    /// 64 hex digits.
    pub id: String,
    cgroup: PathBuf,
    init: u32,
    process: Running,
}

impl Container {
    /// `prepare`: a shell script that changes the new root, whose path is in `$ROOT`.
    pub fn start(folder: &Path, prepare: &str) -> Self {
        let id = format!("{}{}{}", random(), random(), &random()[..16]);
        let cgroup = cgroup2().join(format!("docker-{id}.scope"));
        fs::create_dir(&cgroup).unwrap();
        let room = folder.join(format!("container-{}", &id[..8]));
        fs::create_dir(&room).unwrap();
        let script = format!(
            "set -e; echo $$ > {0}/cgroup.procs; mount -t tmpfs none {1}; mkdir {1}/upper {1}/work {1}/root
             export ROOT={1}/root
             mount -t overlay overlay -o lowerdir=/,upperdir={1}/upper,workdir={1}/work $ROOT
             mount -t proc proc $ROOT/proc; mount --rbind /dev $ROOT/dev
             {prepare}
             echo ready; exec chroot $ROOT sleep infinity",
            cgroup.display(),
            room.display()
        );
        // Its shell is asked for its number before it has one of its own namespace.
        let script = format!("exec unshare --mount --pid --fork --kill-child bash -c '{script}'");
        let mut process = Running::start(Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()));
        let mut lines = BufReader::new(process.child().stdout.take().unwrap()).lines();
        assert_eq!(lines.next().expect("it ended before it was ready").unwrap(), "ready");
        let pid = process.pid();
        let init = wait::until("the container's init", || {
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.trim().parse().ok()
        });
        Self { id, cgroup, init, process }
    }

    /// The command, inside.
    pub fn command(&self, inner: &Command) -> Command {
        let mut command = Command::new("bash");
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec nsenter --target {} --mount --pid --root --wd=/ \"$@\"",
            self.cgroup.display(),
            self.init
        );
        command.args(["-c", &enter, "enter"]).arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir("/");
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.process.child().kill();
        let _ = self.process.child().wait();
        // Its processes are killed with its init.
        let _ = wait::within(wait::PATIENCE, || fs::remove_dir(&self.cgroup).ok());
    }
}

/// Where the kernel's cgroup v2 tree is.
fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).expect("cgroup v2 is mounted");
    line.split(' ').nth(1).unwrap().into()
}
