//! Layer 6: the command line. Arguments as typed become arguments as meant, an error becomes one sentence and an exit
//! code.

mod args;
mod check;
mod deploys;
mod duration;
mod error;
mod labels;
mod replay;
mod run;
mod schema;
mod setup;
mod signals;
mod stdout;
mod trace;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

use self::{
    args::{Cli, Verb},
    error::Error,
    stdout::write,
};
use crate::sink::stderr;

/// For what is still to be said at the end.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
