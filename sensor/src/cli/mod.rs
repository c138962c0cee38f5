//! Layer 6: the command line. Arguments as typed become arguments as meant, an error becomes one sentence and an exit code.

mod args;
mod check;
mod deploys;
mod labels;
mod replay;
mod run;
mod signals;
mod trace;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

use args::{Cli, Verb};

/// Nothing is wrong, but the sensor cannot run on this machine or as this user (as automake and systemd use it).
const CANNOT_RUN_HERE: u8 = 77;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Pipeline(#[from] crate::pipeline::Failure),
    #[error(transparent)]
    Kernel(#[from] crate::kernel::Error),
    #[error(transparent)]
    Tools(#[from] crate::host::tools::Error),
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    #[error(transparent)]
    Labels(#[from] labels::Error),
    #[error(transparent)]
    Output(#[from] crate::sink::OpenError),
    #[error("{path}: {source}")]
    Recording { path: String, source: crate::decode::recording::Error },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Pipeline(crate::pipeline::Failure::Kernel(error)) | Self::Kernel(error) if error.is_unusable() => {
                CANNOT_RUN_HERE
            }
            _ => 1,
        }
    }
}

/// Parses the command line, runs what it says, and maps the result to an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("SENSOR_LOG")
        .unwrap_or_else(|_| EnvFilter::new(if cli.quiet { "error" } else { "info" }));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    let result = match cli.verb {
        Verb::Trace(args) => trace::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Check(args) => return check::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Deploys(args) => return deploys::run(&args, cli.quiet),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sensor", &mut io::stdout());
            Ok(())
        }
        Verb::Man => clap_mangen::Man::new(Cli::command())
            .render(&mut io::stdout())
            .map_err(|source| Error::Io { what: "cannot write the manual page".into(), source }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sensor: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The configuration's limits as the middle takes them.
fn limits(config: &crate::config::Config) -> crate::event::stream::Limits {
    let crate::config::Limits { processes, sessions, connections } = config.limits;
    crate::event::stream::Limits { processes, sessions, connections }
}

/// Starts the process that outlives this one to release its probes.
fn holder() -> Result<crate::kernel::Holder, Error> {
    crate::kernel::holder::start()
        .map_err(|source| Error::Io { what: "cannot start the process that holds the probes".into(), source })
}

/// One thread is enough: the work is a few microseconds per event, and one owner per state needs no locks.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "cannot start the event loop".into(), source })
}
