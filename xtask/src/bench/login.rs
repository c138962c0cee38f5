//! `cargo xtask bench login`: what a login takes with the sensor, as a ratio to what it takes without.
//!
//! A real ssh logs in to a real sshd on loopback with a key, runs `true` and leaves: key exchange, authentication,
//! every packet decrypted on both sides, the command and the end. Pairs in alternating order, as in [`super::exec`]; a
//! sample is the median of its logins, since one login in a few meets a busy neighbour. Both ends run on this machine,
//! so both are probed and both are counted. Needs root.

use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    figures::{Spread, verdict},
    sensor::{self, Sensor},
    sessions::Sshd,
};
use crate::{setup, shell, vm::scratch::Scratch};

const SETTLE: Duration = Duration::from_millis(300);
const AIM_RATIO: f64 = 1.03;

#[derive(clap::Args)]
pub(super) struct LoginArgs {
    /// Pairs of samples
    #[arg(long, default_value_t = 20)]
    pairs: u32,
    /// Logins in a sample
    #[arg(long, default_value_t = 20)]
    logins: u32,
    /// The cipher, by its name in ssh_config
    #[arg(long, default_value = "chacha20-poly1305@openssh.com")]
    cipher: String,
}

pub(super) fn run(args: &LoginArgs) -> Result<()> {
    ensure!(shell::is_root(), "the sensor needs root: run this as root");
    setup::run()?;
    let program = sensor::build()?;
    ensure!(sensor::others() == 0, "another sensor is running on this machine: it would be in every sample");
    let scratch = Scratch::new()?;
    let files = |name: &str| scratch.path(name);
    let sshd = Sshd::start(files)?;
    sample(&sshd, args)?;
    println!("{} pairs of {} logins, {}", args.pairs, args.logins, args.cipher);
    let mut pairs = Vec::new();
    for pair in 0..args.pairs {
        let with = || -> Result<f64> {
            let sensor = Sensor::start(&program, files, false)?;
            sleep(SETTLE);
            let mut authenticated = sensor.counter("ssh-authentication")?;
            let ms = sample(&sshd, args)?;
            sleep(SETTLE);
            let seen = authenticated();
            // Each end records the attempt without a method and the one with the key.
            drop(authenticated);
            ensure!(seen as u32 >= 4 * args.logins, "the sensor saw {seen} authentications of {} logins", args.logins);
            sensor.stop()?;
            sleep(SETTLE);
            Ok(ms)
        };
        pairs.push(if pair % 2 == 1 {
            let with = with()?;
            (sample(&sshd, args)?, with)
        } else {
            (sample(&sshd, args)?, with()?)
        });
    }
    let ratio = Spread::of(pairs.iter().map(|(without, with)| with / without));
    let median = |of: fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(of)).median();
    println!("{:<24}{:>9}{:>9}   ratio   quartiles       extremes", "", "without", "with");
    println!("{:<24}{:>6.1} ms{:>6.1} ms   {ratio}", "login", median(|pair| pair.0), median(|pair| pair.1));
    println!("{:<24}aim: a ratio of at most {AIM_RATIO}: {}", "", verdict(ratio.median() <= AIM_RATIO));
    Ok(())
}

/// Median time of a login in ms.
fn sample(sshd: &Sshd, args: &LoginArgs) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..args.logins {
        let mut command = Command::new("ssh");
        sshd.describe(&mut command);
        command.args(["-c", &args.cipher, "root@127.0.0.1", "true"]).stdin(Stdio::null());
        let began = Instant::now();
        let status = command.status()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(status.success(), "a login failed: {status}");
    }
    Ok(Spread::of(times.into_iter()).median())
}
