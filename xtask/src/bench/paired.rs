//! Rates with the sensor against rates without it: pairs in alternating order, as in [`super::exec`], and what the
//! sensor had to see is checked in its records.

use std::{
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    figures::{Spread, verdict},
    sensor::{self, Sensor},
};
use crate::{setup, shell, vm::scratch::Scratch};

/// Programs are freed by the kernel a little after they were detached, and a daemon has some things to do when it
/// starts.
const SETTLE: Duration = Duration::from_millis(300);
/// Until a record of something that happened is written.
const SEEN: Duration = Duration::from_secs(10);

/// What is measured.
pub(super) struct Load<'a> {
    pub(super) name: &'a str,
    /// Of the rate: `/s`.
    pub(super) unit: &'a str,
    /// The ratio to reach. None: as good as without, within the noise of this run.
    pub(super) aim: Option<f64>,
    /// Records that a sample makes.
    pub(super) records: (&'static str, usize),
    /// Does it once; how much a second.
    pub(super) rate: &'a dyn Fn() -> Result<f64>,
}

pub(super) struct Paired {
    program: PathBuf,
    scratch: Scratch,
    pairs: u32,
}

impl Paired {
    /// Builds the sensor and says what the machine does meanwhile.
    pub(super) fn prepare(pairs: u32) -> Result<Self> {
        ensure!(shell::is_root(), "the sensor needs root: run this as root");
        setup::run()?;
        let program = sensor::build()?;
        ensure!(sensor::others() == 0, "another sensor is running on this machine: it would be in every sample");
        let load = std::fs::read_to_string("/proc/loadavg")?;
        println!("{pairs} pairs each; load average {} before the start", load.split(' ').next().unwrap_or_default());
        println!("{:<12}{:>15}{:>15}   ratio   quartiles       extremes", "", "without", "with");
        Ok(Self { program, scratch: Scratch::new()?, pairs })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// Measures and prints.
    pub(super) fn measure(&self, load: &Load<'_>) -> Result<()> {
        let (mut pairs, mut used) = (Vec::new(), Duration::ZERO);
        (load.rate)()?; // the first time is always another
        for pair in 0..self.pairs {
            let mut with = || self.with_sensor(load, &mut used);
            pairs.push(if pair % 2 == 1 {
                let with = with()?;
                ((load.rate)()?, with)
            } else {
                ((load.rate)()?, with()?)
            });
        }
        let Load { name, unit, aim, .. } = load;
        let ratio = Spread::of(pairs.iter().map(|(without, with)| with / without));
        let median = |of: fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(of)).median();
        let [without, with] = [median(|pair| pair.0), median(|pair| pair.1)].map(|rate| format!("{rate:.2} {unit}"));
        println!("{name:<12}{without:>15}{with:>15}   {ratio}");
        let each = used.as_secs_f64() * 1e3 / f64::from(self.pairs);
        println!("{:<12}the daemon's own CPU time: {each:.0} ms a sample", "");
        match aim {
            Some(aim) => println!("{:<12}aim: at least {aim}: {}", "", verdict(ratio.median() >= *aim)),
            None => println!("{:<12}aim: 1.00 within its quartiles: {}", "", verdict(ratio.upper_quartile() >= 1.0)),
        }
        Ok(())
    }

    fn with_sensor(&self, load: &Load<'_>, used: &mut Duration) -> Result<f64> {
        let sensor = Sensor::start(&self.program, |name| self.file(name), false)?;
        sleep(SETTLE);
        let (action, expected) = load.records;
        let (mut seen, before) = (sensor.counter(action)?, sensor.cpu()?);
        let rate = (load.rate)()?;
        let (began, mut records) = (Instant::now(), seen());
        while records < expected && began.elapsed() < SEEN {
            sleep(Duration::from_millis(20));
            records = seen();
        }
        *used += sensor.cpu()?.saturating_sub(before);
        drop(seen);
        sensor.stop()?;
        if records < expected {
            // The scratch directory goes with this run, and only the records say what is missing; the last ones count
            // what was lost.
            let kept = shell::target().join("bench-missed.json");
            let copied = std::fs::copy(self.file("sensor.json"), &kept);
            let records = format!("the sensor wrote {records} of {expected} records {action}");
            copied.with_context(|| format!("{records}; {} cannot be written", kept.display()))?;
            bail!("{records}; all it wrote is in {}", kept.display());
        }
        sleep(SETTLE);
        Ok(rate)
    }
}
