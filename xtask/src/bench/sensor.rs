//! The sensor under test: the release build, as a daemon with its default configuration, writing to a file.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::child::{self, Running};
use crate::shell;

/// Loading takes a tenth of a second; on a busy machine or an emulated one, many.
const START: Duration = Duration::from_mins(1);
/// Clock ticks a second in /proc/PID/stat (USER_HZ is 100 on every architecture that the sensor runs on).
const TICK: Duration = Duration::from_millis(10);

pub(super) struct Sensor {
    running: Running,
    output: PathBuf,
}

/// Resident memory in KiB.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) anon: u64,
    pub(super) rss: u64,
}

/// Builds the release; gives its path.
pub(super) fn build() -> Result<PathBuf> {
    shell::run(shell::cargo().args(["build", "--release", "--quiet", "--package", "sensor"]))?;
    Ok(shell::target().join("release/sensor"))
}

/// Another sensor would be in both halves of each pair.
pub(super) fn others() -> usize {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path().join("comm"));
    names.filter(|comm| fs::read_to_string(comm).is_ok_and(|name| name.trim() == "sensor")).count()
}

impl Sensor {
    /// Starts the daemon and waits until it watches. `files` is where its configuration and its output go.
    pub(super) fn start(program: &Path, files: impl Fn(&str) -> PathBuf, all: bool) -> Result<Self> {
        let (config, output, errors) = (files("sensor.toml"), files("sensor.json"), files("sensor.err"));
        fs::write(
            &config,
            format!(
                "[output]\npath = \"{}\"\n[scope]\nall = {all}\n[deploy]\nstate = \"\"\n[limits]\nsession_records_per_second = 0\n\
                 session_bytes_per_second = 0\n",
                output.display()
            ),
        )?;
        // Its own marks below must be this run's.
        let _ = fs::remove_file(&output);
        let mut command = child::command(program, None)?;
        command.args(["--quiet", "run", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&errors)?);
        let mut sensor = Self { running: Running::start(&mut command)?, output };
        let began = Instant::now();
        while sensor.count("sensor-started") == 0 {
            if let Some(status) = sensor.running.has_ended()? {
                bail!("the sensor ended ({status}): {}", fs::read_to_string(&errors)?.trim());
            }
            ensure!(began.elapsed() < START, "the sensor does not start");
            sleep(Duration::from_millis(10));
        }
        Ok(sensor)
    }

    /// How many of its records have this action.
    fn count(&self, action: &str) -> usize {
        count(&fs::read_to_string(&self.output).unwrap_or_default(), action)
    }

    /// Counts its records of an action from now on, each time those so far; each is read once.
    pub(super) fn counter(&self, action: &'static str) -> Result<impl FnMut() -> usize> {
        let mut file = fs::File::open(&self.output)?;
        file.seek(SeekFrom::End(0))?;
        let (mut text, mut total) = (String::new(), 0);
        Ok(move || {
            // What comes is whole lines, and at the worst the rest of one comes the next time.
            let _ = file.read_to_string(&mut text);
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            total += count(text.get(..whole).unwrap_or_default(), action);
            text.drain(..whole);
            total
        })
    }

    /// Of all its processes together.
    pub(super) fn memory(&self) -> Result<Memory> {
        let mut all = memory(self.running.pid())?;
        for pid in self.family().into_iter().skip(1) {
            // One that ended meanwhile holds nothing.
            let Ok(one) = memory(pid) else { continue };
            all = Memory { anon: all.anon + one.anon, rss: all.rss + one.rss };
        }
        Ok(all)
    }

    /// CPU time that all its processes used so far, those that ended included.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let own = ticks(self.running.pid())?;
        let others = self.family().into_iter().skip(1).filter_map(|pid| ticks(pid).ok());
        Ok(TICK * (own + others.sum::<u32>()))
    }

    /// CPU time of the threads that live, to the nanosecond: for what takes less than a tick.
    pub(super) fn fine_cpu(&self) -> Duration {
        let of_task = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        let of_process = |pid: u32| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            tasks.filter_map(of_task).sum::<u64>()
        };
        Duration::from_nanos(self.family().into_iter().map(of_process).sum())
    }

    /// The daemon and all processes below it: it comes first.
    fn family(&self) -> Vec<u32> {
        let parent = |pid: u32| -> Option<u32> {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
        };
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids: Vec<u32> = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let parents: Vec<(u32, u32)> = pids.into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        let mut family = vec![self.running.pid()];
        let mut at = 0;
        while let Some(member) = family.get(at).copied() {
            family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| *pid));
            at += 1;
        }
        family
    }

    /// Stops it; an exit code other than 0 is an error.
    pub(super) fn stop(mut self) -> Result<()> {
        let status = self.running.stop()?;
        ensure!(status.success(), "the sensor failed when it was stopped: {status}");
        ensure!(self.count("sensor-stopped") == 1, "the sensor stopped without saying so");
        for line in fs::read_to_string(&self.output)?.lines().filter(|line| count(line, "sensor-events-lost") > 0) {
            let what = line.split("\"lost\":").nth(1).and_then(|rest| rest.split('}').next()).unwrap_or(line);
            eprintln!("xtask: the sensor lost events: {what}}}");
        }
        Ok(())
    }
}

fn count(text: &str, action: &str) -> usize {
    let action = format!("\"action\":\"{action}\"");
    text.lines().filter(|line| line.contains(&action)).count()
}

/// User and system time of a process and of its children that it has waited for, in ticks.
fn ticks(pid: u32) -> Result<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat is not as it should be")?;
    Ok(fields.split_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse::<u32>().ok()).sum())
}

/// RssAnon is what the process holds; VmRSS also has the pages of its program and the ring, which is mapped twice.
pub(super) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Memory { anon: field("RssAnon:")?, rss: field("VmRSS:")? })
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        write!(f, "RssAnon {:6.1} MiB   VmRSS {:6.1} MiB", mib(self.anon), mib(self.rss))
    }
}
