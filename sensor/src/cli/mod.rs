//! Layer 6: the command line. Arguments as typed become arguments as meant, an error becomes one sentence and an exit
//! code.

mod args;
mod check;
mod deploys;
mod labels;
mod replay;
mod run;
mod schema;
mod signals;
mod trace;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

use crate::sink::stderr;
use args::{Cli, Verb};

use crate::{
    inspect::Inspector,
    kernel::holder::{self, Holder},
};

/// Nothing is wrong, but the sensor cannot run on this machine or as this user (as automake and systemd use it).
const CANNOT_RUN_HERE: u8 = 77;
/// For what is still to be said at the end.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
        .with_writer(|| stderr::Log)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // It would say so with `eprintln!`.
        .log_internal_errors(false)
        .init();
    std::panic::set_hook(Box::new(|panic| stderr::say(&panic.to_string())));
    let code = run(cli);
    stderr::flush(LAST_WORDS);
    code
}

fn run(cli: Cli) -> ExitCode {
    let result = match cli.verb {
        Verb::Trace(args) => trace::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Check(args) => return check::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Deploys(args) => return deploys::run(&args, cli.quiet),
        Verb::Schema(args) => schema::run(&args),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sensor", &mut script);
            write(&script)
        }
        Verb::Man => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered
                .map_err(|source| Error::Io { what: "cannot make the manual page".into(), source })
                .and_then(|()| write(&page))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stderr::say(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Starts the processes beside this one: the holder of the probes, and those that read users' files. Without them the
/// sensor runs, and says what it does not know.
fn helpers(proc: &std::path::Path) -> (Option<Holder>, Option<Inspector>) {
    if !rustix::process::geteuid().is_root() {
        return (None, None); // said by the kernel's half
    }
    let holder =
        holder::start().inspect_err(|error| tracing::warn!(%error, "the end of the sensor waits for its probes"));
    let options = crate::inspect::Options { proc: proc.into(), ..crate::inspect::Options::default() };
    let inspector =
        Inspector::start(&options).inspect_err(|error| tracing::error!(%error, "users' files are not read"));
    (holder.ok(), inspector.ok())
}

/// To standard output. A reader that went away (`| head`) is no error.
fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Io { what: "cannot write".into(), source })
        }
        _ => Ok(()),
    }
}

/// The configuration's limits as the middle takes them.
fn limits(config: &crate::config::Config) -> crate::event::stream::Limits {
    let crate::config::Limits { processes, sessions, connections, .. } = config.limits;
    crate::event::stream::Limits { processes, sessions, connections }
}

/// One thread is enough: the work is a few microseconds per event, and one owner per state needs no locks.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "cannot start the event loop".into(), source })
}
