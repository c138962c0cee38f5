//! `cargo xtask bench inprocess`: what the sensor takes from applications that speak SSH themselves, and from those
//! that have the same libraries loaded for other things.
//!
//! Paramiko (Debian's, over the system's cryptography): commands on one connection, and a copy by sftp, to a real sshd
//! here (which is probed too). Not SSH: a Python web server that answers without cryptography, and one that opens and
//! seals a Fernet token for each request, with the very functions that are probed. Measured in pairs
//! ([`super::paired`]). Needs root.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    paired::{Load, Paired},
    sessions::Sshd,
};

const PROGRAM: &str = include_str!("inprocess.py");

#[derive(clap::Args)]
pub(super) struct InprocessArgs {
    /// Pairs of samples of each load
    #[arg(long, default_value_t = 10)]
    pairs: u32,
    /// Commands in a sample
    #[arg(long, default_value_t = 100)]
    commands: u32,
    /// MiB that a copy moves
    #[arg(long, default_value_t = 64)]
    mib: u32,
    /// Requests in a sample
    #[arg(long, default_value_t = 5_000)]
    requests: u32,
    /// One load only: commands, sftp, web or web-fernet
    #[arg(long)]
    only: Option<String>,
}

pub(super) fn run(args: &InprocessArgs) -> Result<()> {
    let paramiko = Path::new("/usr/lib/python3/dist-packages/paramiko");
    ensure!(paramiko.exists(), "there is no {} here (Debian: apt-get install python3-paramiko)", paramiko.display());
    println!("{} commands, {} MiB, {} requests a sample", args.commands, args.mib, args.requests);
    let paired = Paired::prepare(args.pairs)?;
    let sshd = Sshd::start(|name| paired.file(name))?;
    let script = paired.file("inprocess.py");
    std::fs::write(&script, PROGRAM)?;
    let sample = |what: &[&str]| -> Result<f64> {
        let mut python = Command::new("/usr/bin/python3");
        let output = python.arg(&script).args(what).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "{} failed: {}", what.join(" "), output.status);
        String::from_utf8(output.stdout)?.trim().parse().context("no rate")
    };
    let (port, key) = (sshd.port().to_string(), sshd.key().display().to_string());
    let [commands, mib, requests] = [args.commands, args.mib, args.requests].map(|count| count.to_string());
    let ssh = |what: &str, count: &str| sample(&[what, &port, &key, count]);
    let loads = [
        // Both ends tell each command.
        Load {
            name: "commands",
            unit: "/s",
            aim: Some(0.97),
            records: ("ssh-command-ended", 2 * args.commands as usize),
            rate: &|| ssh("commands", &commands),
        },
        Load {
            name: "sftp",
            unit: "MiB/s",
            aim: Some(0.97),
            records: ("ssh-session-ended", 2),
            rate: &|| ssh("sftp", &mib),
        },
        Load {
            name: "web",
            unit: "/s",
            aim: None,
            records: ("ssh-session-ended", 0),
            rate: &|| sample(&["web", "0", &requests]),
        },
        Load {
            name: "web-fernet",
            unit: "/s",
            aim: None,
            records: ("ssh-session-ended", 0),
            rate: &|| sample(&["web", "1", &requests]),
        },
    ];
    let wanted = |name: &str| args.only.as_deref().is_none_or(|only| only == name);
    ensure!(loads.iter().any(|load| wanted(load.name)), "no such load");
    loads.iter().filter(|load| wanted(load.name)).try_for_each(|load| paired.measure(load))
}
