//! The one door for developers: `cargo xtask <verb>`.
//!
//! Each verb is a file. CI and the README call the same verbs. A verb prints what it does and fails with one sentence
//! that says what to do.

mod bench;
mod fuzz;
mod lint;
mod setup;
mod shell;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, run, test and measure sensor", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Get what the eBPF build needs on this machine (idempotent)
    Setup,
    /// Set up, build and run `sensor trace` as root; arguments go to it
    Trace {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run all tests, on this kernel and on others; installs what they need
    Test(test::TestArgs),
    /// Check formatting and warnings, for the host and the BPF target
    Lint,
    /// Measure what the sensor costs, and how fast it is
    Bench(bench::BenchArgs),
    /// Feed hostile bytes to everything that reads bytes
    Fuzz(fuzz::FuzzArgs),
    /// Run a command (default: the session tests) on other real kernels, in QEMU
    Vm(vm::VmArgs),
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result = match Cli::parse().verb {
        Verb::Setup => setup::run().map(done),
        Verb::Trace { args } => setup::run().and_then(|()| shell::sensor("trace", &args)).map(done),
        Verb::Test(args) => test::test(&args),
        Verb::Lint => lint::lint().map(done),
        Verb::Bench(args) => bench::run(args).map(done),
        Verb::Fuzz(args) => fuzz::run(&args).map(done),
        Verb::Vm(args) => vm::run(&args, test::guest_command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
