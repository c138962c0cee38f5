//! `cargo xtask bench`: what the sensor costs and how fast it is, measured and printed beside the aims.
//!
//! [`exec`] runs a loop of fork and exec with and without the sensor, and looks at its memory; [`login`] does so with
//! logins, [`ssh`] with copies, logins and loads that are not SSH, [`inprocess`] with applications that speak SSH
//! themselves; [`deploys`] draws a deploy from its logs; [`replay`] runs a recorded stream through its stages. All
//! build the release first. Nothing stays behind: children end with this process, files lie in a temporary folder that
//! goes with it.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod audit;
mod child;
mod deploys;
mod exec;
mod figures;
mod inprocess;
mod login;
mod others;
mod paired;
mod replay;
mod sensor;
mod sessions;
mod ssh;
mod worker;

use anyhow::Result;
use clap::Subcommand;

#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: EventKind,
}

#[derive(Subcommand)]
enum EventKind {
    /// fork+exec with and without the sensor, beside auditd; memory, idle and with live sessions
    Exec(exec::ExecArgs),
    /// The tree of a large deploy from its logs
    Deploys(deploys::DeploysArgs),
    /// An SSH login with and without the sensor
    Login(login::LoginArgs),
    /// SSH copies and logins, and loads that are not SSH, with and without the sensor
    Ssh(ssh::SshArgs),
    /// Paramiko's commands and copies, and Python web servers, with and without the sensor
    Inprocess(inprocess::InprocessArgs),
    /// Events per second of `sensor replay` on one core
    Replay(replay::ReplayArgs),
    /// The loop that is measured
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    /// Become a program that ends with its parent
    #[command(hide = true)]
    Under(child::UnderArgs),
}

pub(crate) fn run(args: BenchArgs) -> Result<()> {
    match args.what {
        EventKind::Exec(args) => exec::run(&args),
        EventKind::Deploys(args) => deploys::run(&args),
        EventKind::Login(args) => login::run(&args),
        EventKind::Ssh(args) => ssh::run(&args),
        EventKind::Inprocess(args) => inprocess::run(&args),
        EventKind::Replay(args) => replay::run(&args),
        EventKind::Worker(args) => worker::run(&args),
        EventKind::Under(args) => child::become_program(&args),
    }
}
