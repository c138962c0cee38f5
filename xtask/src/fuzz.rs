//! `cargo xtask fuzz`: hostile bytes for everything that reads bytes (`tests/fuzz`), with libFuzzer.
//!
//! In: a target or none (all, one after the other), and how long. Out: libFuzzer's own report; the verb fails with the
//! first input that breaks something, and says how to run that input again. Coverage comes from LLVM's own pass, which
//! a stable compiler has too; overflow checks and debug assertions are on. The crate libfuzzer-sys compiles libFuzzer,
//! so this needs a C++ compiler. What was found to reach new code is kept in `target/fuzz/corpus`, so a later run
//! starts where this one stopped.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{setup, shell};

/// The programs of `tests/fuzz`, with the longest input that makes sense for each.
const TARGETS: [(&str, u32); 11] = [
    ("decoder", 4096),
    ("ssh", 4096),
    ("redact", 1024),
    ("recording", 4096),
    ("program", 4096),
    ("sites", 2048),
    ("files", 1024),
    ("inspect", 4096),
    ("middle", 4096),
    ("deploys", 8192),
    ("tools", 4096),
];

const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

#[derive(clap::Args)]
pub(crate) struct FuzzArgs {
    /// decoder, ssh, redact, recording, program, sites, files, inspect, middle, deploys or tools [default: all]
    target: Option<String>,
    /// Stop each target after this many inputs
    #[arg(long)]
    cases: Option<u64>,
    /// Stop each target after this time [default: 60, unless --cases is given]
    #[arg(long)]
    seconds: Option<u64>,
    /// libFuzzer's random seed; it prints the one it takes by itself
    #[arg(long)]
    seed: Option<u32>,
    /// Run this input only: the file that a failure named
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
}

pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    let targets: Vec<_> =
        TARGETS.into_iter().filter(|(name, _)| args.target.as_deref().is_none_or(|wanted| wanted == *name)).collect();
    if targets.is_empty() {
        bail!("no such target; there are {}", TARGETS.map(|(name, _)| name).join(", "));
    }
    setup::run()?;
    if !shell::has("c++") {
        shell::apt_install(&["g++"])?;
    }
    let folder = shell::target().join("fuzz");
    let programs = build(&folder)?;
    for (name, longest) in targets {
        let mut fuzzer = Command::new(programs.join(name));
        if let Some(input) = &args.input {
            fuzzer.arg(input);
        } else {
            let corpus = folder.join("corpus").join(name);
            fs::create_dir_all(&corpus)?;
            fuzzer.arg(corpus).args(limits(args)).arg(format!("-max_len={longest}"));
        }
        let artifact = folder.join(format!("{name}-"));
        eprintln!("xtask: fuzzing {name}");
        // No input needs more than these: bounded memory and bounded time are part of what is tested.
        fuzzer.args(["-rss_limit_mb=1024", "-timeout=10", "-print_final_stats=1"]);
        fuzzer.arg(format!("-artifact_prefix={}", artifact.display()));
        shell::run(&mut fuzzer).with_context(|| {
            format!(
                "{name} broke; run its input again with `cargo xtask fuzz {name} --input {}...`",
                artifact.display()
            )
        })?;
    }
    Ok(())
}

fn limits(args: &FuzzArgs) -> Vec<String> {
    let seconds = args.seconds.or(if args.cases.is_none() { Some(60) } else { None });
    let cases = args.cases.map(|cases| format!("-runs={cases}"));
    let seconds = seconds.map(|seconds| format!("-max_total_time={seconds}"));
    let seed = args.seed.map(|seed| format!("-seed={seed}"));
    [cases, seconds, seed].into_iter().flatten().collect()
}

/// Builds the programs with coverage, for this machine's own target: build scripts and macros then do without it.
fn build(folder: &std::path::Path) -> Result<PathBuf> {
    let version = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    shell::run(
        shell::cargo()
            .args(["build", "--quiet", "--release", "--package", "sensor-fuzz", "--target", host, "--target-dir"])
            .arg(folder)
            .env("RUSTFLAGS", COVERAGE)
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
            .env("CARGO_PROFILE_RELEASE_LTO", "off"),
    )
    .context("cannot build the fuzz targets")?;
    Ok(folder.join(host).join("release"))
}
