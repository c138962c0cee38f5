//! Real SSH sessions that stay open: an sshd of our own on loopback, and ssh clients that each run one command.
//!
//! Each client's command is `cat`, and all clients share one pipe as their input, which this process holds: when it
//! closes the pipe, or dies, every `cat` ends and every session with it. A pair of sshd and ssh takes some 10 MiB, so
//! there are as many as there is memory for.

use std::{
    fs::{self, File},
    io::{PipeReader, PipeWriter, pipe},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::child::{self, Running};
use crate::shell;

/// Logins under way at a time: more only wait for the CPU.
const AT_ONCE: usize = 10;
/// What sshd's and ssh's processes of one session take, with a reserve.
const SESSION_KIB: u64 = 12 << 10;
const LOGIN: Duration = Duration::from_mins(1);

/// An sshd for root with a key, on loopback.
pub(super) struct Sshd {
    port: u16,
    key: PathBuf,
    _daemon: Running,
}

pub(super) struct Sessions {
    // In this order: the clients' input ends, they end, then the server.
    input: Option<PipeWriter>,
    clients: Vec<Child>,
    sshd: Sshd,
}

impl Sshd {
    pub(super) fn start(files: impl Fn(&str) -> PathBuf) -> Result<Self> {
        let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).is_file());
        let sshd = sshd.context("there is no sshd here (Debian: apt-get install openssh-server openssh-client)")?;
        ensure!(shell::has("ssh") && shell::has("ssh-keygen"), "there is no ssh here (Debian: openssh-client)");
        let (key, config, errors) = (files("key"), files("sshd_config"), files("sshd.err"));
        shell::run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
        fs::create_dir_all("/run/sshd")?;
        // Free a moment ago; if somebody takes it, sshd says so.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (host, keys) = (key.display(), key.with_extension("pub"));
        fs::write(
            &config,
            format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {host}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
                 PermitRootLogin prohibit-password\nMaxStartups 1000\nLogLevel ERROR\n\
                 Subsystem sftp internal-sftp\n",
                keys.display()
            ),
        )?;
        let mut command = child::command(sshd, None)?;
        command.args(["-D", "-e", "-f"]).arg(&config).stdin(Stdio::null());
        let mut daemon = Running::start(command.stderr(File::create(&errors)?))?;
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = daemon.has_ended()? {
                bail!("sshd ended ({status}): {}", fs::read_to_string(&errors)?.trim());
            }
            ensure!(began.elapsed() < LOGIN, "sshd does not listen");
            sleep(Duration::from_millis(10));
        }
        Ok(Self { port, key, _daemon: daemon })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// root's.
    pub(super) fn key(&self) -> &Path {
        &self.key
    }

    /// `ssh` to it, as root.
    pub(super) fn client(&self) -> Result<Command> {
        let mut command = child::command("ssh", None)?;
        self.describe(&mut command);
        command.arg("root@127.0.0.1");
        Ok(command)
    }

    /// The options by which ssh finds it.
    pub(super) fn describe(&self, command: &mut Command) {
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-p", &self.port.to_string(), "-i"]).arg(&self.key);
    }
}

impl Sessions {
    /// Opens `wanted` sessions, or as many as there is memory for. `seen` says how many the sensor saw.
    pub(super) fn open(wanted: u32, files: impl Fn(&str) -> PathBuf, mut seen: impl FnMut() -> usize) -> Result<Self> {
        let sshd = Sshd::start(files)?;
        let (reader, writer) = pipe()?;
        let mut sessions = Self { input: Some(writer), clients: Vec::new(), sshd };
        let wanted = u64::from(wanted).min(available()? / SESSION_KIB);
        while (sessions.clients.len() as u64) < wanted {
            sessions.login(&reader)?;
            let began = Instant::now();
            while seen() + AT_ONCE <= sessions.clients.len() {
                ensure!(began.elapsed() < LOGIN, "logins do not succeed, or the sensor does not see them");
                sleep(Duration::from_millis(20));
            }
        }
        let began = Instant::now();
        while seen() < sessions.clients.len() {
            ensure!(began.elapsed() < LOGIN, "the sensor saw {} of {wanted} sessions", seen());
            sleep(Duration::from_millis(50));
        }
        Ok(sessions)
    }

    fn login(&mut self, input: &PipeReader) -> Result<()> {
        let mut command = self.sshd.client()?;
        command.arg("cat").stdin(input.try_clone()?).stdout(Stdio::null());
        self.clients.push(command.spawn().context("cannot start ssh")?);
        Ok(())
    }

    pub(super) fn live(&self) -> u32 {
        self.clients.len() as u32
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        drop(self.input.take());
        for client in &mut self.clients {
            let _ = client.wait();
        }
    }
}

/// Memory that can be had without swapping, in KiB.
fn available() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("no MemAvailable")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
