//! What people have today: auditd with a rule for execve, on the same loop.
//!
//! auditd is started by hand with a configuration of its own. Without the rule there is `task,never`, as distributions
//! ship it: once audit was ever on, each task pays for a context unless this rule says no. A shell beside this process
//! takes the rules away when its input ends, however that comes about. Where somebody else audits this machine nothing
//! is touched.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::child::{self, Running};
use crate::shell::has;

const START: Duration = Duration::from_secs(10);
const WITH: &str = "always,exit -F arch=b64 -S execve";
const WITHOUT: &str = "task,never";

/// As Debian and Fedora set it: with the kernel's default of 64 a burst of execs waits.
const BACKLOG: &str = "8192";

const JANITOR: &str = "trap '' INT TERM HUP; read -r _; auditctl -d $1; auditctl -d $2; auditctl -e 0; auditctl -b $3";

pub(super) struct Audit {
    /// Dropped first: the rules go before the daemon that reads what they say.
    _janitor: Janitor,
    _daemon: Running,
    on: bool,
}

/// Takes the rules away when its input ends.
struct Janitor(Child);

impl Audit {
    /// Starts auditd. An error says why it cannot run here.
    pub(super) fn start(files: impl Fn(&str) -> PathBuf) -> Result<Self> {
        for program in ["auditd", "auditctl"] {
            ensure!(has(program), "there is no {program} here (Debian: apt-get install auditd)");
        }
        ensure!(auditctl(&["-l"])?.contains("No rules"), "this host has audit rules of its own");
        ensure!(field("pid")? == "0", "this host's own auditd is running");
        ensure!(field("enabled")? != "2", "this host's audit configuration is locked");
        let folder = files("");
        let log = files("audit.log");
        let lines = format!(
            "local_events = yes\nlog_file = {}\nlog_format = RAW\nflush = INCREMENTAL_ASYNC\nfreq = 50\n\
             max_log_file = 64\nnum_logs = 2\nmax_log_file_action = ROTATE\nspace_left = 75\nspace_left_action = IGNORE\n\
             admin_space_left = 50\nadmin_space_left_action = IGNORE\ndisk_full_action = IGNORE\ndisk_error_action = IGNORE\n",
            log.display()
        );
        fs::write(files("auditd.conf"), lines)?;
        let errors = files("auditd.err");
        let mut command = child::command("auditd", None)?;
        command.args(["-n", "-s", "enable", "-c"]).arg(folder).stdin(Stdio::null()).stdout(Stdio::null());
        let mut running = Running::start(command.stderr(fs::File::create(&errors)?))?;
        let began = Instant::now();
        while field("pid")? == "0" {
            if let Some(status) = running.has_ended()? {
                bail!("auditd ended ({status}): {}", fs::read_to_string(&errors)?.trim());
            }
            ensure!(began.elapsed() < START, "auditd does not register with the kernel");
            sleep(Duration::from_millis(50));
        }
        let before = field("backlog_limit")?;
        let audit = Self { _janitor: Janitor::start(&before)?, _daemon: running, on: false };
        auditctl(&["-b", BACKLOG])?;
        auditctl(&words("-a", WITHOUT))?;
        Ok(audit)
    }

    /// With the rule for execve, or without.
    pub(super) fn set(&mut self, on: bool) -> Result<()> {
        if self.on == on {
            return Ok(());
        }
        let (old, new) = if on { (WITHOUT, WITH) } else { (WITH, WITHOUT) };
        auditctl(&words("-d", old))?;
        auditctl(&words("-a", new))?;
        self.on = on;
        Ok(())
    }
}

impl Janitor {
    fn start(backlog: &str) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", JANITOR, "sh", WITH, WITHOUT, backlog]).stdin(Stdio::piped());
        shell.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(Self(shell.spawn().context("cannot start sh")?))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn words<'a>(verb: &'a str, rule: &'a str) -> Vec<&'a str> {
    std::iter::once(verb).chain(rule.split(' ')).collect()
}

fn auditctl(args: &[&str]) -> Result<String> {
    let out = Command::new("auditctl").args(args).output().context("cannot start auditctl")?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "auditctl {} failed: {}", args.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// One line of the kernel's status.
fn field(name: &str) -> Result<String> {
    let status = auditctl(&["-s"])?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("auditctl -s shows no {name}"))?.to_owned())
}
