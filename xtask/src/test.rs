//! `cargo xtask test`: everything that says whether sensor works, and everything it installs for that.
//!
//! Unit and golden tests, tests on this machine's kernel against real sshd and ssh (as root, one at a time), and the
//! session tests on the oldest and the newest kernel in QEMU. The last line is `N passed, N failed`; the exit code is 1
//! if anything failed. A run that ends without its result line counts as a failure.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    setup,
    shell::{apt_install, cargo, is_root, output, run},
};

/// What the tests on a real kernel start.
const PACKAGES: &[&str] = &[
    "openssh-server",
    "openssh-client",
    "sudo",
    "auditd",
    "iproute2",
    "nftables",
    "util-linux",
    // Programs that speak SSH from inside; Net::SSH reads ed25519 keys with the last two.
    "python3-paramiko",
    "python3-venv",
    "git",
    "ruby",
    "ruby-sshkit",
    "ruby-net-ssh",
    "ruby-net-sftp",
    "ruby-ed25519",
    "ruby-bcrypt-pbkdf",
    "python3-asyncssh",
    "libssh-4",
    "curl",
    "make",
    "dropbear-bin",
    "putty-tools",
    // What the sensor opens, and what systemd makes of its unit.
    "strace",
    "systemd",
];

/// Sizes that are too long for every change; the tests name them.
const LONG: &[(&str, &str)] = &[
    ("SENSOR_FIRST_RUNS", "100"),
    ("SENSOR_SECOND_RUNS", "100"),
    ("SENSOR_ALL_SECONDS", "300"),
    ("SENSOR_SLOTS", "1000"),
];

#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Not on other kernels in QEMU
    #[arg(long)]
    no_vm: bool,
    /// Not on a real kernel at all: unit and golden tests only (needs no root)
    #[arg(long, conflicts_with = "no_vm")]
    unit: bool,
    /// Also what takes too long for every change: longer runs, and tests under strace
    #[arg(long, conflicts_with = "unit")]
    long: bool,
}

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

pub(crate) fn test(args: &TestArgs) -> Result<ExitCode> {
    setup::run()?;
    if !args.unit {
        apt_install(PACKAGES)?;
    }
    let mut tally = Tally::default();
    build()?;
    tally.count(cargo().args([
        "test",
        "--no-fail-fast",
        "--package",
        "sensor",
        "--package",
        "sensor-common",
        "--package",
        "xtask",
    ]))?;
    if args.unit {
        tally.count(cargo().args([
            "test",
            "--no-fail-fast",
            "--package",
            "sensor-tests",
            "--test",
            "golden",
            "--test",
            "layers",
        ]))?;
    } else {
        let mut kernel = cargo();
        kernel.args(["test", "--no-fail-fast", "--package", "sensor-tests", "--", "--test-threads=1"]);
        if args.long {
            kernel.arg("--include-ignored").envs(LONG.iter().copied());
        }
        if !is_root() {
            let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
            kernel.env(runner, "sudo --preserve-env");
        }
        tally.count(&mut kernel)?;
    }
    if !args.unit && !args.no_vm {
        let mut vm = Command::new(std::env::current_exe()?);
        tally.count(vm.arg("vm"))?;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sensor that the tests start is the one that people run: at full speed, or a flood would lose what a release does
/// not.
fn build() -> Result<()> {
    run(cargo().args(["build", "--quiet", "--release", "--package", "sensor"]))
}

/// The command that tests a guest's kernel: the session tests, built here.
pub(crate) fn guest_command() -> Result<Vec<String>> {
    setup::run()?;
    apt_install(PACKAGES)?;
    build()?;
    let built = output(cargo().args([
        "test",
        "--no-run",
        "--package",
        "sensor-tests",
        "--test",
        "vm_session",
        "--message-format=json",
    ]))?;
    // One JSON object a line; the test's own says where its executable is.
    let path: PathBuf = built
        .lines()
        .filter(|line| line.contains("\"name\":\"vm_session\""))
        .find_map(|line| line.split("\"executable\":\"").nth(1)?.split('"').next())
        .context("cargo did not say where the test `vm_session` is")?
        .into();
    Ok(vec![path.display().to_string(), "--test-threads=1".into()])
}

impl Tally {
    /// Runs test binaries and adds up their result lines; their output is shown.
    fn count(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {command:?}"))?;
        let Some(stdout) = child.stdout.take() else { bail!("no output of {command:?}") };
        let before = self.failed;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            if let Some(result) = line.strip_prefix("test result: ") {
                self.add(result);
            }
        }
        let status = child.wait()?;
        if !status.success() && self.failed == before {
            println!("{command:?} ended with {status} without saying which test failed");
            self.failed += 1;
        }
        Ok(())
    }

    /// `ok. 12 passed; 0 failed; ...`
    fn add(&mut self, result: &str) {
        let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let [number, what] = pair else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match *what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up() {
        let mut tally = Tally::default();
        tally.add("ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        tally.add("FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        assert_eq!((tally.passed, tally.failed), (15, 2));
    }
}
