//! The program under test, run as its users run it: `sensor run` with a configuration file, or `sensor trace`.
//!
//! It is ready when `sensor-started` is written: that happens after the probes are attached and the processes that were
//! there are known. `SENSOR_BIN` names the program; else it is the release build beside the tests.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    records::{Record, Records},
    running::Running,
    wait,
};

/// The program under test: a release build.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SENSOR_BIN") {
        return path.into();
    }
    // What people run: a debug build is many times slower, and a flood would lose what a release does not.
    let path = target().join("release/sensor");
    assert!(path.exists(), "there is no {}: cargo build --release -p sensor, or set SENSOR_BIN", path.display());
    path
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap(); // target/PROFILE/deps/NAME
    own.ancestors().nth(3).unwrap().to_path_buf()
}

/// `sensor` with these arguments, quiet about itself but for warnings.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).env("SENSOR_LOG", "warn");
    command
}

/// The same by a command that becomes what follows it.
fn command_by(prefix: &[&str], args: &[&str]) -> Command {
    let Some((program, words)) = prefix.split_first() else { return command(args) };
    let mut command = Command::new(program);
    command.args(words).arg(binary()).args(args).env("SENSOR_LOG", "warn");
    command
}

/// A file of records that grows.
struct Output {
    path: PathBuf,
    /// Lines before this were there before the program.
    from: usize,
}

impl Output {
    /// What is there now, without a line that is just being written.
    fn whole_lines(&self) -> Records {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let bytes = bytes.get(self.from..).unwrap_or_default();
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Records::parse(&bytes[..end])
    }

    fn everything(&self) -> Records {
        let records = Records::parse(&fs::read(&self.path).unwrap());
        records.assert_contract();
        records
    }
}

/// Waits for the first record of a program that has just been started.
fn ready(process: &mut Running, output: &Output, errors: &Path, limit: Duration) {
    let started = wait::within(limit, || match process.ended() {
        Some(_) => Some(false),
        None => output.whole_lines().count("sensor-started").gt(&0).then_some(true),
    });
    let started = started.unwrap_or_else(|| panic!("sensor-started: not within {} s", limit.as_secs()));
    assert!(started, "sensor ended at once: {}", fs::read_to_string(errors).unwrap_or_default());
}

/// `sensor run`.
pub struct Sensor {
    process: Running,
    output: Output,
    errors: PathBuf,
}

impl Sensor {
    /// Starts it with these lines of configuration after `[output]`; its records go to `sensor.json` in the folder.
    pub fn run(folder: &Path, config: &str) -> Self {
        Self::run_by(&[], folder, config, wait::PATIENCE)
    }

    /// The same by a command that becomes what follows it, and within this time.
    pub fn run_by(prefix: &[&str], folder: &Path, config: &str, limit: Duration) -> Self {
        let path = folder.join("sensor.json");
        let file = folder.join("sensor.toml");
        // What it keeps is this test's.
        let state = match config.contains("[deploy]") {
            true => String::new(),
            false => format!("\n[deploy]\nstate = \"{}\"\n", folder.join("state").display()),
        };
        fs::write(&file, format!("[output]\npath = \"{}\"\n{config}{state}", path.display())).unwrap();
        let errors = folder.join("sensor.err");
        let from = fs::metadata(&path).map_or(0, |metadata| metadata.len() as usize);
        let output = Output { path, from };
        let stderr = File::options().create(true).append(true).open(&errors).unwrap();
        let mut command = command_by(prefix, &["run", "--config"]);
        let mut process = Running::start(command.arg(&file).stdin(Stdio::null()).stderr(stderr));
        ready(&mut process, &output, &errors, limit);
        Self { process, output, errors }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn path(&self) -> &Path {
        &self.output.path
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it has written so far.
    pub fn records(&self) -> Records {
        self.output.whole_lines()
    }

    /// Waits for a record.
    pub fn until(&self, what: &str, fits: impl Fn(&Record) -> bool) -> Record {
        wait::until(what, || self.records().iter().find(|record| fits(record)).cloned())
    }

    /// Waits for the end of so many sessions with the sshd on this port.
    pub fn until_sessions_end(&self, port: u16, count: usize) {
        sessions_end(|| self.records(), port, count);
    }

    /// SIGTERM. Everything in its file, also of earlier runs.
    pub fn stop(&mut self) -> Records {
        self.process.signal(Signal::TERM);
        let status = self.process.wait();
        let said = fs::read_to_string(&self.errors).unwrap_or_default();
        assert!(status.success(), "sensor ended with {status}: {said}");
        let records = self.output.everything();
        assert!(records.last().is_some_and(|record| record.is("sensor-stopped")), "no sensor-stopped at the end");
        records
    }

    /// SIGKILL. Everything in its file; a line without an end fails.
    pub fn kill(&mut self) -> Records {
        self.process.signal(Signal::KILL);
        self.process.wait();
        self.output.everything()
    }
}

/// `sensor trace --format json`.
pub struct Trace {
    process: Running,
    output: Output,
    errors: PathBuf,
}

impl Trace {
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_as(folder, command(&["trace", "--format", "json"]).args(args))
    }

    /// A command that becomes `sensor trace --format json`.
    pub fn start_as(folder: &Path, command: &mut Command) -> Self {
        let (path, errors) = (folder.join("trace.json"), folder.join("trace.err"));
        let (stdout, stderr) = (File::create(&path).unwrap(), File::create(&errors).unwrap());
        let output = Output { path, from: 0 };
        let mut process = Running::start(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr));
        ready(&mut process, &output, &errors, wait::PATIENCE);
        Self { process, output, errors }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn records(&self) -> Records {
        self.output.whole_lines()
    }

    /// Waits for a record.
    pub fn until(&self, what: &str, fits: impl Fn(&Record) -> bool) -> Record {
        wait::until(what, || self.records().iter().find(|record| fits(record)).cloned())
    }

    /// Waits for the end of so many sessions with the sshd on this port.
    pub fn until_sessions_end(&self, port: u16, count: usize) {
        sessions_end(|| self.records(), port, count);
    }

    /// Ctrl-C. What it wrote, and its summary.
    pub fn stop(self) -> (Records, String) {
        self.process.signal(Signal::INT);
        self.end()
    }

    /// Ctrl-C for the program that the one started waits for.
    pub fn stop_inner(self) -> (Records, String) {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let inner = children.trim().parse().ok().and_then(Pid::from_raw).expect("one child");
        kill_process(inner, Signal::INT).unwrap();
        self.end()
    }

    /// Waits until it stops by itself.
    pub fn end(mut self) -> (Records, String) {
        let status = self.process.wait();
        let summary = fs::read_to_string(&self.errors).unwrap();
        assert!(status.success(), "sensor trace ended with {status}: {summary}");
        (self.output.everything(), summary)
    }
}

fn sessions_end(records: impl Fn() -> Records, port: u16, count: usize) {
    let ended = || (records().of_server(port).count("ssh-session-ended") == count).then_some(());
    if wait::within(wait::PATIENCE, ended).is_none() {
        let all = records();
        let degraded = all.of("sensor-degraded").filter_map(|record| record.get("sensor.degraded")).collect::<Vec<_>>();
        let of_port = all.of_server(port);
        panic!("not the end of {count} sessions but {:?} of {:?}; {degraded:#?}", of_port.actions(), all.actions());
    }
}
