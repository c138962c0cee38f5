//! `cargo xtask bench replay`: how fast decode, enrich, correlate, render and sink are, on one core.
//!
//! In: a recording, or none: then a real mixed load is recorded (execs inside an SSH session and outside, all with
//! arguments) and repeated with its times moved on until it is large. Out: events and records a second, the median of
//! some runs of `sensor replay FILE --format json` to /dev/null, its memory after the last event, and where perf saw
//! the time go. Recording needs root, an sshd and a kernel; replaying needs nothing.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    child::{self, Running},
    figures::{Spread, verdict},
    sensor::{self, Memory},
    sessions::Sshd,
};
use crate::{setup, shell, vm::scratch::Scratch};

const AIM_EVENTS: f64 = 1_000_000.0;
/// The probes are attached by then, wherever this runs.
const START: Duration = Duration::from_mins(1);
/// Without output for so long, everything that was read is rendered.
const QUIET: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(super) struct ReplayArgs {
    /// A file written by `sensor trace --record`
    file: Option<PathBuf>,
    /// A small stream and few runs, to see that it works: the numbers mean little
    #[arg(long)]
    quick: bool,
    /// Keep the stream that was made in this file
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    keep: Option<PathBuf>,
}

/// What one run of `sensor replay` said and took.
struct Run {
    events: f64,
    records: f64,
    seconds: f64,
}

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    setup::run()?;
    let program = sensor::build()?;
    let scratch = Scratch::new()?;
    let files = |name: &str| scratch.path(name);
    let stream = if let Some(file) = &args.file {
        file.clone()
    } else {
        let recording = record(&program, files, if args.quick { 500 } else { 5000 })?;
        let stream = args.keep.clone().unwrap_or_else(|| files("stream"));
        repeat(&recording, &stream, if args.quick { 4 } else { 40 })?;
        stream
    };
    let runs = if args.quick { 2 } else { 5 };
    let runs: Vec<Run> = (0..runs).map(|_| replay(&program, &stream)).collect::<Result<_>>()?;
    let bytes = fs::metadata(&stream)?.len() as f64;
    let median = |of: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(of)).median();
    let rate = Spread::of(runs.iter().map(|run| run.events / run.seconds));
    let (memory, written) = memory(&program, &stream)?;
    let seconds = median(&|run| run.seconds);
    let events = median(&|run| run.events);
    let mb = |bytes: f64| bytes / 1e6;
    println!(
        "{events:.0} events, {:.0} MB; {:.0} records, {:.0} MB of JSON; on CPU {}",
        mb(bytes),
        median(&|run| run.records),
        mb(written as f64),
        child::cpu()
    );
    println!(
        "{:.0} events/s (median of {}; {:.2} us each), aim: over 1,000,000: {}",
        rate.median(),
        runs.len(),
        seconds * 1e6 / events,
        verdict(rate.median() > AIM_EVENTS)
    );
    println!(
        "{:.0} records/s, {:.0} MB/s read, {:.0} MB/s written",
        median(&|run| run.records / run.seconds),
        mb(bytes) / seconds,
        mb(written as f64) / seconds
    );
    println!("{memory}   after the last event");
    if shell::has("perf") {
        println!("time goes to: {}", profile(&program, &stream, &files("perf.data"))?);
    }
    Ok(())
}

fn replay(program: &Path, stream: &Path) -> Result<Run> {
    let began = Instant::now();
    let mut command = child::command(program, Some(child::cpu()))?;
    command.arg("replay").arg(stream).args(["--format", "json"]).stdin(Stdio::null()).stdout(Stdio::null());
    let out = command.stderr(Stdio::piped()).output()?;
    let seconds = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "sensor replay failed: {}", said.trim());
    // sensor: 3 records shown (0 filtered out), from 9 events
    let mut numbers = said.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<f64>().ok());
    let (Some(records), Some(_filtered), Some(events)) = (numbers.next(), numbers.next(), numbers.next()) else {
        anyhow::bail!("sensor replay said something else than its counts: {said}");
    };
    Ok(Run { events, records, seconds })
}

/// Memory when everything was read, and bytes written: the stream comes through a pipe that stays open.
fn memory(program: &Path, stream: &Path) -> Result<(Memory, u64)> {
    let mut command = child::command(program, None)?;
    command.args(["--quiet", "replay", "/dev/stdin", "--format", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running::start(command.stderr(Stdio::null()))?;
    let mut input = running.child().stdin.take().context("no input")?;
    let mut output = running.child().stdout.take().context("no output")?;
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 1 << 20];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                written.fetch_add(n as u64, Ordering::Relaxed);
            }
        });
        let copied = File::open(stream).and_then(|mut file| io::copy(&mut file, &mut input));
        let mut last = u64::MAX;
        while last != written.load(Ordering::Relaxed) {
            last = written.load(Ordering::Relaxed);
            sleep(QUIET);
        }
        let memory = sensor::memory(running.pid());
        // The end of its input ends it, and then the thread that reads what it writes.
        drop(input);
        copied?;
        memory
    })
    .map(|memory| (memory, written.into_inner()))
}

/// A real mixed load, recorded: `execs` inside an SSH session and as many outside at the same time.
fn record(program: &Path, files: impl Fn(&str) -> PathBuf, execs: u32) -> Result<PathBuf> {
    ensure!(shell::is_root(), "recording a load needs root; or give a FILE that `sensor trace --record` wrote");
    let (recording, output) = (files("recording"), files("trace.json"));
    let sshd = Sshd::start(&files)?;
    let mut command = child::command(program, None)?;
    command.args(["trace", "--all", "--format", "json", "--record"]).arg(&recording);
    command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(Stdio::null());
    let mut trace = Running::start(&mut command)?;
    let began = Instant::now();
    while fs::metadata(&output)?.len() == 0 {
        ensure!(trace.has_ended()?.is_none() && began.elapsed() < START, "sensor trace does not start");
        sleep(Duration::from_millis(20));
    }
    let exe = std::env::current_exe()?;
    let load = format!("echo {execs} | {} bench worker --arguments /bin/true >/dev/null", exe.display());
    let mut inside = sshd.client()?.arg(&load).stdin(Stdio::null()).spawn()?;
    let outside = Command::new("sh").args(["-c", &load]).status();
    ensure!(inside.wait()?.success() && outside?.success(), "the load failed");
    // The session's end is part of the recording.
    sleep(Duration::from_millis(200));
    ensure!(trace.stop()?.success(), "sensor trace failed");
    Ok(recording)
}

fn repeat(recording: &Path, stream: &Path, times: u32) -> Result<()> {
    let run = ["run", "--release", "--quiet", "--package", "sensor-tests", "--bin", "repeat", "--"];
    let mut command = shell::cargo();
    shell::run(command.args(run).arg(recording).arg(stream).arg(times.to_string()))
}

/// The functions in which most time is spent.
fn profile(program: &Path, stream: &Path, data: &Path) -> Result<String> {
    let mut record = child::command("perf", None)?;
    record.args(["record", "--quiet", "--freq", "999", "--output"]).arg(data).arg("--").arg(program);
    record.arg("replay").arg(stream).args(["--format", "json"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !record.status()?.success() {
        return Ok("perf record does not work here".into());
    }
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "--no-children", "--sort", "symbol", "--input"]).arg(data).stderr(Stdio::null());
    let report = String::from_utf8_lossy(&report.output()?.stdout).into_owned();
    let lines = report.lines().map(str::trim).filter(|line| !line.starts_with('#') && line.contains('%')).take(8);
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "))
}
