//! Debian's real sshd on a free port of the loopback, with keys of its own, and clients that know it.
//!
//! Ready when its log says that it listens: no connection is made to find out, so a test sees its own connections only.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    running::{self, Ended, Running},
    wait,
};

pub struct Sshd {
    pub port: u16,
    folder: PathBuf,
    process: Running,
}

impl Sshd {
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, "", "")
    }

    /// With lines before the usual ones, which they override, and after them (Match blocks).
    pub fn start_with(folder: &Path, before: &str, after: &str) -> Self {
        Self::start_by(&[], folder, before, after)
    }

    /// Started by a command that becomes what follows it.
    pub fn start_by(prefix: &[String], folder: &Path, before: &str, after: &str) -> Self {
        for program in ["/usr/sbin/sshd", "/usr/bin/ssh"] {
            assert!(
                Path::new(program).exists(),
                "{program} is not here: apt-get install openssh-server openssh-client"
            );
        }
        fs::create_dir_all("/run/sshd").unwrap(); // an empty tmpfs where nothing else has started sshd
        let folder = folder.join("sshd");
        fs::create_dir(&folder).unwrap();
        for key in ["host_key", "user_key", "unknown_key"] {
            running::succeed(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
                    .arg(folder.join(key)),
            );
        }
        fs::copy(folder.join("user_key.pub"), folder.join("authorized_keys")).unwrap();
        // Another program may take the port between finding and using it: then the next.
        let (port, process) =
            (0..5).find_map(|_| listen(prefix, &folder, before, after)).expect("sshd found no free port");
        let path = folder.display();
        let host_key = fs::read_to_string(folder.join("host_key.pub")).unwrap();
        fs::write(folder.join("known_hosts"), format!("test {host_key}")).unwrap();
        fs::write(
            folder.join("ssh_config"),
            format!(
                "Host test test6\n  Port {port}\n  HostKeyAlias test\n  IdentityFile {path}/user_key\n  IdentitiesOnly yes\n  \
                 UserKnownHostsFile {path}/known_hosts\n  GlobalKnownHostsFile none\n  BatchMode yes\n  LogLevel ERROR\n  \
                 KexAlgorithms curve25519-sha256\nHost test\n  HostName 127.0.0.1\nHost test6\n  HostName ::1\n"
            ),
        )
        .unwrap();
        Self { port, folder, process }
    }

    /// The listener's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A program that reads ssh's configuration: ssh, sftp, scp.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.folder.join("ssh_config"));
        command
    }

    /// `ssh OPTIONS user@test`; the command follows.
    pub fn ssh(&self, user: &str, options: &[&str]) -> Command {
        let mut command = self.program("ssh");
        command.args(options).arg(format!("{user}@test"));
        command
    }

    /// Runs a command in a session, to its end.
    pub fn session(&self, user: &str, command: &str) -> Ended {
        running::finish(self.ssh(user, &[]).arg(command))
    }

    /// Starts a session that stays open: `command` says `ready` on a line when it is where the test wants it.
    pub fn open_session(&self, user: &str, command: &str) -> Running {
        use std::io::{BufRead as _, BufReader};
        let mut client = Running::start(self.ssh(user, &[]).arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut lines = BufReader::new(client.child().stdout.take().unwrap()).lines();
        let first = lines.next().expect("the session ended before it was ready").unwrap();
        assert_eq!(first.trim_end(), "ready");
        client
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("sshd.log")).unwrap()
    }

    /// A file beside its keys: `host_key`, `user_key`, `authorized_keys`...
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A key that no user may log in with.
    pub fn unknown_key(&self) -> PathBuf {
        self.folder.join("unknown_key")
    }
}

fn listen(prefix: &[String], folder: &Path, before: &str, after: &str) -> Option<(u16, Running)> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = folder.display();
    let config = folder.join("sshd_config");
    fs::write(
        &config,
        format!(
            "{before}Port {port}\nListenAddress 127.0.0.1\nListenAddress ::1\nHostKey {path}/host_key\nAuthorizedKeysFile {path}/authorized_keys\n\
             StrictModes no\nUsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\n\
             UseDNS no\nPrintMotd no\nPrintLastLog no\nMaxStartups 500\nMaxSessions 100\nLoginGraceTime 300\n\
             Subsystem sftp /usr/lib/openssh/sftp-server\n{after}"
        ),
    )
    .unwrap();
    let log = folder.join("sshd.log");
    let words: Vec<&str> = prefix.iter().map(String::as_str).chain(["/usr/sbin/sshd", "-D", "-E"]).collect();
    let (program, words) = words.split_first().unwrap();
    let mut process = Running::start(Command::new(program).args(words).arg(&log).arg("-f").arg(&config));
    let text = || fs::read_to_string(&log).unwrap_or_default();
    let wanted = format!("Server listening on 127.0.0.1 port {port}");
    let ended = wait::until("sshd's start", || match process.ended() {
        Some(_) => Some(true),
        None => text().contains(&wanted).then_some(false),
    });
    assert!(!ended || text().contains("Address already in use"), "sshd ended: {}", text());
    (!ended).then_some((port, process))
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Killed, the listener would leave its sessions behind.
        for pid in descendants(self.process.pid()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Every process below this one, as far as /proc still knows.
fn descendants(root: u32) -> Vec<Pid> {
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pairs: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut known = vec![root];
    let mut next = 0;
    while let Some(parent) = known.get(next).copied() {
        known.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    known.iter().skip(1).filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect()
}
