//! `cargo xtask bench exec`: what a fork+exec costs with the sensor, as a ratio to what it costs without.
//!
//! Pairs: a sample without, a sample with, in alternating order, so that what drifts (clocks, caches, neighbours) falls
//! on both; the ratio of a pair is one number, and their median and quartiles are printed: by the clock, by CPU time of
//! the loop, and by its median exec, which a busy machine disturbs less. What the sensor's own processes use, on
//! another CPU, is shown apart. Then their memory and CPU time: idle, after the load, and with live SSH sessions.
//! `--readme` writes the figures of this run into README.md. Needs root. Fails if the sensor does not start, fails or
//! cannot be stopped.

use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    audit::Audit,
    child,
    figures::{Spread, verdict},
    sensor::{self, Sensor},
    sessions::Sessions,
    worker::{Sample, Worker},
};
use crate::{setup, shell, vm::scratch::Scratch};

/// Programs are freed by the kernel a little after they were detached, and a daemon has some things to do when it
/// starts.
const SETTLE: Duration = Duration::from_millis(300);
/// Execs before those that are measured.
const WARM: u32 = 500;
const IDLE: Duration = Duration::from_secs(2);
/// For the CPU time of an idle sensor.
const IDLE_LONG: Duration = Duration::from_secs(30);
const AIM_RATIO: f64 = 1.02;
const AIM_EACH_US: f64 = 6.0;
const AIM_IDLE_PERCENT: f64 = 0.05;
const AIM_IDLE_KIB: u64 = 12 << 10;
const AIM_BUSY_KIB: u64 = 25 << 10;

#[derive(clap::Args)]
pub(super) struct ExecArgs {
    /// A few short pairs and sessions, to see that it works: the numbers mean little
    #[arg(long)]
    quick: bool,
    /// Pairs of samples per column
    #[arg(long)]
    pairs: Option<u32>,
    /// Live sessions to open for the measurement of memory, as far as there is memory for their sshd and ssh
    #[arg(long)]
    sessions: Option<u32>,
    /// Write the figures of this run into README.md
    #[arg(long)]
    readme: bool,
    /// What is executed
    #[arg(long, default_value = "/bin/true")]
    program: PathBuf,
}

/// Fully measured column.
struct Column {
    wall: Spread,
    cpu: Spread,
    median: Spread,
    without: Spread,
    with: Spread,
}

pub(super) fn run(args: &ExecArgs) -> Result<()> {
    ensure!(shell::is_root(), "the sensor needs root, and so does auditd: run this as root");
    setup::run()?;
    let program = sensor::build()?;
    ensure!(sensor::others() == 0, "another sensor is running on this machine: it would be in every sample");
    let scratch = Scratch::new()?;
    let files = |name: &str| scratch.path(name);
    let pairs = args.pairs.unwrap_or(if args.quick { 3 } else { 20 });
    let length = Duration::from_millis(if args.quick { 200 } else { 1000 });

    let mut worker = Worker::start(&args.program, child::cpu())?;
    worker.sample(100)?;
    let count = worker.sample(500)?.times_in(length);
    println!(
        "{pairs} pairs of {count} posix_spawn + exec + wait of {}, on CPU {}",
        args.program.display(),
        child::cpu()
    );
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!(
        "load average {} before the start; a CPU that others use makes the spread, not the median, wide",
        load.split(' ').next().unwrap_or_default()
    );
    println!("{:<24}{:>9}{:>9}   ratio   quartiles       extremes", "", "without", "with");

    let mut figures = Figures::default();
    for (name, all) in [("sensor", false), ("sensor, scope.all", true)] {
        let mut used = Duration::ZERO;
        let column = measure(&mut worker, pairs, |worker, on| {
            if !on {
                worker.sample(WARM)?;
                return worker.sample(count);
            }
            let sensor = Sensor::start(&program, files, all)?;
            sleep(SETTLE);
            // What is new to a sensor that has just started is no exec's cost.
            worker.sample(WARM)?;
            // To the nanosecond: ticks are sampled, and the sensor wakes in step with them.
            let before = sensor.fine_cpu();
            let sample = worker.sample(count)?;
            used += sensor.fine_cpu().saturating_sub(before);
            sensor.stop()?;
            sleep(SETTLE);
            Ok(sample)
        })?;
        column.print(name);
        let each = used.as_secs_f64() * 1e6 / f64::from(pairs * count);
        println!("{:<24}CPU time of the sensor's processes: {each:.1} us for each exec", "");
        if !all {
            let (ratio, each_met) = (column.wall.median() <= AIM_RATIO, each <= AIM_EACH_US);
            println!(
                "{:<24}aims: a ratio of at most {AIM_RATIO}: {}; at most {AIM_EACH_US} us: {}",
                "",
                verdict(ratio),
                verdict(each_met)
            );
            figures.ratio = column.wall.to_string();
            figures.each_us = each;
        }
    }
    match Audit::start(files) {
        Ok(mut audit) => {
            let column = measure(&mut worker, pairs, |worker, on| {
                audit.set(on)?;
                sleep(SETTLE);
                worker.sample(count)
            })?;
            column.print("auditd, execve rule");
            figures.audit = Some(column.wall.median());
        }
        Err(error) => println!("{:<24}not measured: {error:#}", "auditd, execve rule"),
    }
    memory(args, &program, &mut worker, files, &mut figures)?;
    if args.readme { figures.write() } else { Ok(()) }
}

fn measure(
    worker: &mut Worker,
    pairs: u32,
    mut sample: impl FnMut(&mut Worker, bool) -> Result<Sample>,
) -> Result<Column> {
    let mut samples = Vec::new();
    for pair in 0..pairs {
        let first_with = pair % 2 == 1;
        let first = sample(worker, first_with)?;
        let second = sample(worker, !first_with)?;
        samples.push(if first_with { (second, first) } else { (first, second) });
    }
    Ok(Column {
        wall: Spread::of(samples.iter().map(|(without, with)| with.wall_ns / without.wall_ns)),
        cpu: Spread::of(samples.iter().map(|(without, with)| with.cpu_ns / without.cpu_ns)),
        median: Spread::of(samples.iter().map(|(without, with)| with.median_ns / without.median_ns)),
        without: Spread::of(samples.iter().map(|(without, _)| without.wall_ns)),
        with: Spread::of(samples.iter().map(|(_, with)| with.wall_ns)),
    })
}

impl Column {
    fn print(&self, name: &str) {
        let us = |spread: &Spread| spread.median() / 1000.0;
        println!("{name:<24}{:>6.1} us{:>6.1} us   {}", us(&self.without), us(&self.with), self.wall);
        println!("{:<24}{:>18}   {}", "", "by CPU time", self.cpu);
        println!("{:<24}{:>18}   {}", "", "by the median exec", self.median);
    }
}

fn memory(
    args: &ExecArgs,
    program: &Path,
    worker: &mut Worker,
    files: impl Fn(&str) -> PathBuf + Copy,
    figures: &mut Figures,
) -> Result<()> {
    let sensor = Sensor::start(program, files, false)?;
    // Workers that answered questions of the start end after some seconds.
    sleep(if args.quick { IDLE } else { IDLE * 6 });
    let before = sensor.fine_cpu();
    let length = if args.quick { IDLE } else { IDLE_LONG };
    sleep(length);
    figures.idle_percent = 100.0 * sensor.fine_cpu().saturating_sub(before).as_secs_f64() / length.as_secs_f64();
    println!(
        "{:<24}{:.3} % of a CPU   aim: at most {AIM_IDLE_PERCENT}: {}",
        "idle",
        figures.idle_percent,
        verdict(figures.idle_percent <= AIM_IDLE_PERCENT)
    );
    let idle = sensor.memory()?;
    figures.idle_kib = idle.anon;
    println!("{:<24}{idle}   aim: RssAnon under 12 MiB: {}", "idle", verdict(idle.anon < AIM_IDLE_KIB));
    worker.sample(if args.quick { 500 } else { 20_000 })?;
    sleep(IDLE);
    println!("{:<24}{}", "after a burst of execs", sensor.memory()?);
    let wanted = args.sessions.unwrap_or(if args.quick { 10 } else { 1000 });
    let began = Instant::now();
    match Sessions::open(wanted, files, sensor.counter("ssh-session-started")?) {
        Ok(sessions) => {
            sleep(IDLE);
            let busy = sensor.memory()?;
            let live = sessions.live();
            figures.busy = Some((live, busy.anon));
            println!(
                "{:<24}{busy}   aim: RssAnon under 25 MiB with 1,000: {}",
                format!("{live} live sessions"),
                if live < 1000 { "not tried" } else { verdict(busy.anon < AIM_BUSY_KIB) }
            );
            if live < wanted {
                println!("{:<24}{wanted} were wanted: there is memory for {live} sshd and ssh", "");
            }
            println!(
                "{:<24}real: sshd, ssh and one command each, opened in {:.0} s",
                "",
                began.elapsed().as_secs_f64()
            );
        }
        Err(error) => println!("{:<24}not measured: {error:#}", "live sessions"),
    }
    sensor.stop()
}

/// What the README says, from one run.
#[derive(Default)]
struct Figures {
    ratio: String,
    each_us: f64,
    audit: Option<f64>,
    idle_percent: f64,
    idle_kib: u64,
    busy: Option<(u32, u64)>,
}

const BEGIN: &str = "<!-- figures of `cargo xtask bench exec --readme` -->\n";
const END: &str = "<!-- end of figures -->\n";

impl Figures {
    fn write(&self) -> Result<()> {
        let path = shell::root().join("README.md");
        let text = std::fs::read_to_string(&path)?;
        let (before, rest) = text.split_once(BEGIN).context("README.md has no place for the figures")?;
        let (_, after) = rest.split_once(END).context("README.md has no end of the figures")?;
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", self.text()))?;
        Ok(())
    }

    fn text(&self) -> String {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let Self { ratio, each_us, idle_percent, .. } = self;
        let audit = self.audit.map(|audit| format!("; auditd's execve rule: {audit:.2}")).unwrap_or_default();
        let busy = |(live, kib)| format!(", {:.1} MiB with {live} live SSH sessions", mib(kib));
        let (idle, busy) = (mib(self.idle_kib), self.busy.map(busy).unwrap_or_default());
        format!(
            "- A loop of fork+exec takes {} times as long with the sensor\n  (median, quartiles, extremes of \
             pairs){audit}.\n- The sensor's processes take {each_us:.1} us of CPU for an exec, and {idle_percent:.3} % of \
             a CPU idle.\n- Their own memory (RssAnon) is {idle:.1} MiB idle{busy}.\n",
            ratio.trim()
        )
    }
}
