//! `cargo xtask bench deploys`: how fast the tree of a deploy is drawn from the logs of both sides, and what a large
//! log takes.
//!
//! The logs are made by hand (`sensor-tests`, `deploy_log`): a deployer's and those of its targets, every command
//! recorded by all four records of both sides, with its processes. A sample is a whole run of `sensor deploys show
//! last`: start, two readings of all logs, drawing. Needs nothing but a build.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    child::{self, Running},
    figures::{Spread, verdict},
    sensor,
};
use crate::{shell, vm::scratch::Scratch};

const AIM_MS: f64 = 100.0;
/// Often enough to meet the largest size of a run of seconds.
const LOOK: Duration = Duration::from_millis(5);

#[derive(clap::Args)]
pub(super) struct DeploysArgs {
    #[arg(long, default_value_t = 20)]
    hosts: u32,
    /// Commands on each host
    #[arg(long, default_value_t = 40)]
    commands: u32,
    #[arg(long, default_value_t = 21)]
    runs: u32,
    /// Size in MB of the large log that is read once
    #[arg(long, default_value_t = 1024)]
    large: u32,
}

pub(super) fn run(args: &DeploysArgs) -> Result<()> {
    let program = sensor::build()?;
    let scratch = Scratch::new()?;
    let files = logs(&scratch, args, 0)?;
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).map_or(0, |metadata| metadata.len())).sum();
    let tree = command(&program, &files)?.stdout(Stdio::piped()).output()?;
    ensure!(tree.status.success(), "sensor deploys failed: {}", String::from_utf8_lossy(&tree.stderr).trim());
    let drawn = String::from_utf8_lossy(&tree.stdout).lines().filter(|line| line.contains("docker ps")).count();
    ensure!(drawn as u32 >= args.hosts * args.commands, "the tree has {drawn} commands only");
    let sample = |_| -> Result<f64> {
        let began = Instant::now();
        let status = command(&program, &files)?.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "sensor deploys failed: {status}");
        Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    let times: Vec<f64> = (0..args.runs).map(sample).collect::<Result<_>>()?;
    let times = Spread::of(times.into_iter());
    let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{} hosts, {} commands each: {} logs, {:.1} MB, {drawn} commands drawn",
        args.hosts,
        args.commands,
        files.len(),
        mb(bytes)
    );
    println!(
        "{times} ms (median, quartiles, extremes of {}), aim: under {AIM_MS}: {}",
        args.runs,
        verdict(times.median() < AIM_MS)
    );
    large(&program, &scratch, args)
}

/// The same deploy at the end of a large log.
fn large(program: &Path, scratch: &Scratch, args: &DeploysArgs) -> Result<()> {
    let files = logs(scratch, args, args.large)?;
    let began = Instant::now();
    let mut running = Running::start(command(program, &files)?.stdout(File::create(scratch.path("tree"))?))?;
    let mut peak = 0;
    while running.has_ended()?.is_none() {
        peak = sensor::memory(running.pid()).map_or(peak, |memory| memory.anon.max(peak));
        sleep(LOOK);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "with a log of {} MB: {seconds:.2} s for two readings, RssAnon at most {:.1} MiB",
        args.large,
        peak as f64 / 1024.0
    );
    Ok(())
}

fn command(program: &Path, files: &[PathBuf]) -> Result<Command> {
    let mut command = child::command(program, None)?;
    command.args(["--quiet", "deploys", "show", "last"]).args(files).stdin(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}

fn logs(scratch: &Scratch, args: &DeploysArgs, filler: u32) -> Result<Vec<PathBuf>> {
    let run = ["run", "--release", "--quiet", "--package", "sensor-tests", "--bin", "deploy-log", "--"];
    let first = scratch.path("0.json");
    let folder = first.parent().context("no folder")?;
    let numbers = [args.hosts, args.commands, filler].map(|number| number.to_string());
    shell::run(shell::cargo().args(run).arg(folder).args(numbers))?;
    Ok((0..=args.hosts).map(|n| scratch.path(&format!("{n}.json"))).collect())
}
