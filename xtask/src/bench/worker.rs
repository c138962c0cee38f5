//! The loop that is measured: a process that starts a program and waits for it, over and over, on one CPU.
//!
//! In: numbers, one a line on standard input: how many times. Out: for each, a line with the nanoseconds it took by the
//! clock, of CPU (its own and its children's), and for the median exec, which a neighbour that takes the CPU now and
//! then does not move. The child is made by posix_spawn, which is vfork and exec: the cost of copying a large parent is
//! not in it. Parent and child share the CPU and alternate, so nothing is won or lost by where they are placed. One
//! process does all samples of a run.

use std::{
    io::{BufRead as _, Write as _, stdin, stdout},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

use super::child::pin;

/// Arguments as people give them: what they cost to read, to redact and to render is part of the load.
const ARGUMENTS: [&[&str]; 8] = [
    &[],
    &["-la", "/usr/share/doc"],
    &["-c", "for i in 1 2 3; do echo $i; done"],
    &["--config", "/etc/app/config.toml", "--verbose"],
    &["status", "--porcelain=v2", "--branch"],
    &["-rn", "TODO", "src", "--include=*.rs"],
    &["-H", "Accept: application/json", "https://example.com/api/v1/items?page=2&limit=50"],
    &["-x", "-y", "-z", "a rather long argument that says nothing in particular, but says it at length and with care"],
];

#[derive(clap::Args)]
pub(super) struct WorkerArgs {
    #[arg(long)]
    cpu: Option<usize>,
    /// Give the program arguments
    #[arg(long)]
    arguments: bool,
    program: PathBuf,
}

pub(super) fn run(args: &WorkerArgs) -> Result<()> {
    if let Some(cpu) = args.cpu {
        pin(cpu)?;
    }
    for line in stdin().lines() {
        let count: usize = line?.trim().parse()?;
        let (began, used) = (Instant::now(), cpu_time()?);
        let mut each = Vec::with_capacity(count);
        for arguments in ARGUMENTS.iter().cycle().take(count) {
            let arguments = if args.arguments { arguments } else { [].as_slice() };
            let began = Instant::now();
            let status = Command::new(&args.program).args(arguments).status()?;
            each.push(began.elapsed().as_nanos());
            ensure!(status.success(), "{} failed: {status}", args.program.display());
        }
        let (wall, cpu) = (began.elapsed().as_nanos(), cpu_time()? - used);
        each.sort_unstable();
        println!("{wall} {cpu} {}", each.get(count / 2).copied().unwrap_or_default());
        stdout().flush()?;
    }
    Ok(())
}

fn cpu_time() -> Result<i64> {
    let of =
        |who| getrusage(who).map(|usage| usage.user_time().num_nanoseconds() + usage.system_time().num_nanoseconds());
    Ok(of(UsageWho::RUSAGE_SELF)? + of(UsageWho::RUSAGE_CHILDREN)?)
}

/// One sample, per exec.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) wall_ns: f64,
    pub(super) cpu_ns: f64,
    /// The median exec's.
    pub(super) median_ns: f64,
}

impl Sample {
    /// How many fit into a time.
    #[expect(clippy::cast_sign_loss, reason = "a time is positive")]
    pub(super) fn times_in(self, time: Duration) -> u32 {
        ((time.as_secs_f64() * 1e9 / self.wall_ns) as u32).max(1)
    }
}

/// The worker, from outside.
pub(super) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: std::io::BufReader<ChildStdout>,
}

impl Worker {
    pub(super) fn start(program: &std::path::Path, cpu: usize) -> Result<Self> {
        // Before all others: what they do meanwhile is not what is measured.
        let mut command = Command::new("nice");
        command.args(["-n", "-20"]).arg(std::env::current_exe()?);
        command.args(["bench", "worker", "--cpu", &cpu.to_string()]).arg(program);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the worker has no output")?;
        Ok(Self { child, input, output: std::io::BufReader::new(output) })
    }

    pub(super) fn sample(&mut self, count: u32) -> Result<Sample> {
        writeln!(self.input.as_ref().context("the worker has no input")?, "{count}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut numbers = line.split_whitespace().map(str::parse::<f64>);
        let mut next = || numbers.next()?.ok();
        let (Some(wall), Some(cpu), Some(median_ns)) = (next(), next(), next()) else {
            anyhow::bail!("the worker failed");
        };
        Ok(Sample { wall_ns: wall / f64::from(count), cpu_ns: cpu / f64::from(count), median_ns })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
