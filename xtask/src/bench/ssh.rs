//! `cargo xtask bench ssh`: what the sensor takes from SSH, and from everything that is not SSH, as ratios of rates with it to rates without.
//!
//! SSH: a copy over loopback by a real ssh from a real sshd (both ends are here, so each packet is decrypted twice), and logins with a command, two at a time. Not SSH: a
//! TLS server that uses the same cipher function of the same library, a TCP ping-pong of single bytes, and a TCP stream. Pairs in alternating order, as in
//! [`super::exec`], one after the other for each load; what the sensor had to see is checked in its records. Needs root.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    figures::{Spread, verdict},
    others::{self, Tls},
    sensor::{self, Sensor},
    sessions::Sshd,
};
use crate::{setup, shell, vm::scratch::Scratch};

/// Programs are freed by the kernel a little after they were detached, and a daemon has some things to do when it starts.
const SETTLE: Duration = Duration::from_millis(300);
/// Until a record of something that happened is written.
const SEEN: Duration = Duration::from_secs(10);
const LOGINS_AT_ONCE: u32 = 2;

#[derive(clap::Args)]
pub(super) struct SshArgs {
    /// Pairs of samples of each load
    #[arg(long, default_value_t = 10)]
    pairs: u32,
    /// GiB that a copy moves
    #[arg(long, default_value_t = 2.0)]
    gib: f64,
    /// Logins in a sample
    #[arg(long, default_value_t = 40)]
    logins: u32,
    /// One load only: chacha20, aes-gcm, logins, tls, ping-pong or stream
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// By this cipher.
    Copy(&'static str),
    Logins,
    Tls,
    PingPong,
    Stream,
}

/// Name, what is counted, the load, and the ratio to reach; None: as good as without, within the noise of this run.
const LOADS: [(&str, &str, Load, Option<f64>); 6] = [
    ("chacha20", "GiB/s", Load::Copy("chacha20-poly1305@openssh.com"), Some(0.97)),
    ("aes-gcm", "GiB/s", Load::Copy("aes128-gcm@openssh.com"), Some(0.95)),
    ("logins", "/s", Load::Logins, Some(0.97)),
    ("tls", "/s", Load::Tls, None),
    ("ping-pong", "/s", Load::PingPong, Some(0.98)),
    ("stream", "GiB/s", Load::Stream, Some(0.98)),
];

struct Bench<'a> {
    args: &'a SshArgs,
    program: PathBuf,
    scratch: Scratch,
    sshd: Sshd,
    tls: Tls,
}

pub(super) fn run(args: &SshArgs) -> Result<()> {
    ensure!(shell::is_root(), "the sensor needs root: run this as root");
    setup::run()?;
    let wanted = |name: &str| args.only.as_deref().is_none_or(|only| only == name);
    ensure!(LOADS.iter().any(|(name, ..)| wanted(name)), "no such load");
    let program = sensor::build()?;
    ensure!(sensor::others() == 0, "another sensor is running on this machine: it would be in every sample");
    let scratch = Scratch::new()?;
    let (sshd, tls) = (Sshd::start(|name| scratch.path(name))?, Tls::start(|name| scratch.path(name))?);
    let bench = Bench { args, program, scratch, sshd, tls };
    println!("{} pairs each; copies of {} GiB, {} logins a sample", args.pairs, args.gib, args.logins);
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!("load average {} before the start", load.split(' ').next().unwrap_or_default());
    println!("{:<12}{:>15}{:>15}   ratio   quartiles       extremes", "", "without", "with");
    for (name, unit, load, aim) in LOADS.iter().filter(|(name, ..)| wanted(name)) {
        bench.measure(name, unit, *load, *aim)?;
    }
    Ok(())
}

impl Bench<'_> {
    fn measure(&self, name: &str, unit: &str, load: Load, aim: Option<f64>) -> Result<()> {
        let (mut pairs, mut used) = (Vec::new(), Duration::ZERO);
        self.rate(load)?; // the first time is always another
        for pair in 0..self.args.pairs {
            let mut with = || self.rate_with(load, &mut used);
            pairs.push(if pair % 2 == 1 {
                let with = with()?;
                (self.rate(load)?, with)
            } else {
                (self.rate(load)?, with()?)
            });
        }
        let ratio = Spread::of(pairs.iter().map(|(without, with)| with / without));
        let median = |of: fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(of)).median();
        let [without, with] = [median(|pair| pair.0), median(|pair| pair.1)].map(|rate| format!("{rate:.2} {unit}"));
        println!("{name:<12}{without:>15}{with:>15}   {ratio}");
        let each = used.as_secs_f64() * 1e3 / f64::from(self.args.pairs);
        println!("{:<12}the daemon's own CPU time: {each:.0} ms a sample", "");
        match aim {
            Some(aim) => println!("{:<12}aim: at least {aim}: {}", "", verdict(ratio.median() >= aim)),
            None => println!("{:<12}aim: 1.00 within its quartiles: {}", "", verdict(ratio.upper_quartile() >= 1.0)),
        }
        Ok(())
    }

    fn rate_with(&self, load: Load, used: &mut Duration) -> Result<f64> {
        let sensor = Sensor::start(&self.program, |name| self.scratch.path(name), false)?;
        sleep(SETTLE);
        let (mut seen, before) = (sensor.counter("ssh-session-ended")?, sensor.cpu()?);
        let rate = self.rate(load)?;
        // Both ends tell each session.
        let expected = match load {
            Load::Copy(_) => 2,
            Load::Logins => 2 * self.args.logins as usize,
            Load::Tls | Load::PingPong | Load::Stream => 0,
        };
        let (began, mut sessions) = (Instant::now(), seen());
        while sessions < expected && began.elapsed() < SEEN {
            sleep(Duration::from_millis(20));
            sessions = seen();
        }
        ensure!(sessions >= expected, "the sensor saw the end of {sessions} of {expected} sessions");
        *used += sensor.cpu()?.saturating_sub(before);
        drop(seen);
        sensor.stop()?;
        sleep(SETTLE);
        Ok(rate)
    }

    /// How much a second.
    fn rate(&self, load: Load) -> Result<f64> {
        match load {
            Load::Copy(cipher) => self.copy(cipher),
            Load::Logins => self.logins(),
            Load::Tls => self.tls.rate(),
            Load::PingPong => others::ping_pong(),
            Load::Stream => others::stream(),
        }
    }

    fn ssh(&self, options: &[&str], command: &str) -> Result<()> {
        let mut ssh = Command::new("ssh");
        self.sshd.describe(&mut ssh);
        let status = ssh.args(options).args(["root@127.0.0.1", command]).stdin(Stdio::null()).stdout(Stdio::null());
        let status = status.status()?;
        ensure!(status.success(), "ssh failed: {status}");
        Ok(())
    }

    #[expect(clippy::cast_sign_loss, reason = "a size")]
    fn copy(&self, cipher: &str) -> Result<f64> {
        let bytes = (self.args.gib * f64::from(1 << 30)) as u64;
        let began = Instant::now();
        self.ssh(&["-c", cipher], &format!("head -c {bytes} /dev/zero"))?;
        Ok(self.args.gib / began.elapsed().as_secs_f64())
    }

    fn logins(&self) -> Result<f64> {
        let began = Instant::now();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..LOGINS_AT_ONCE)
                .map(|nth| {
                    let own = (nth..self.args.logins).step_by(LOGINS_AT_ONCE as usize);
                    scope.spawn(move || own.into_iter().try_for_each(|_| self.ssh(&[], "true")))
                })
                .collect();
            clients
                .into_iter()
                .try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
        })?;
        Ok(f64::from(self.args.logins) / began.elapsed().as_secs_f64())
    }
}
