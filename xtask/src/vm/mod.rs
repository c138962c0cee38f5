//! `cargo xtask vm`: run a command on other real Linux kernels, in QEMU.
//!
//! In: kernels by series (`5.10`) or `newest`, and a command. Out: per kernel the command's live output, the guest's
//! `uname -r`, the times and the exit status; the verb's own status is the first that is not 0 (124: out of time,
//! 125: the guest died). The guest's root is a copy-on-write view of this machine's, so whatever is installed or
//! built here runs there, and nothing it writes stays, save in a `--writable` folder. Only loopback is its network.
//!
//! Everything fetched stays in `target/vm/` and is reused: the network is needed once. [`archive`] is the door to
//! Debian's archive, [`kernels`] picks and unpacks, [`initramfs`] prepares the guest, [`machine`] runs it.
//! It fails with one sentence where it is not root, where a tool is missing and apt cannot install it, or where no
//! configured suite has a kernel of the series; a `newest` that does not boot is reported, and the next is tried.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use archive::Archive;
use host::{Accel, Host};
use initramfs::Share;
use kernels::{Kernel, Wanted};
use machine::{Outcome, Settings, Status};
use package::Package;

mod archive;
mod commands;
mod host;
mod initramfs;
mod kernels;
mod machine;
mod package;
mod relay;
pub(crate) mod scratch;

/// The series that `--all` means: the oldest supported, two long-term ones, and whatever Debian has newest.
const ALL: [&str; 4] = ["5.10", "6.1", "6.12", "newest"];
/// Without `--kernel`: the two ends of the range, where most differences show.
const ENDS: [&str; 2] = ["5.10", "newest"];

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags, as typed")]
pub(crate) struct VmArgs {
    /// A series such as 5.10 or 6.18, or `newest`; may be given several times [default: 5.10 and newest]
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<Wanted>,
    /// The series 5.10, 6.1, 6.12 and newest
    #[arg(long, conflicts_with = "kernel")]
    all: bool,
    /// Show which packages the series resolve to, and stop
    #[arg(long)]
    list: bool,
    /// Fetch and unpack the kernels, and stop
    #[arg(long, conflicts_with = "list")]
    fetch_only: bool,
    /// Ask the archive anew which kernels there are
    #[arg(long)]
    update: bool,
    /// The guest's memory, as QEMU writes it
    #[arg(long, default_value = "1G")]
    memory: String,
    /// The guest's CPUs
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Seconds a guest may take, boot included
    #[arg(long, default_value_t = 600, value_name = "SECS")]
    timeout: u64,
    /// A folder of this machine that the guest may change
    #[arg(long, value_name = "DIR")]
    writable: Vec<PathBuf>,
    /// A variable for the command; without a value, this machine's own
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// A kernel parameter, such as lsm=lockdown,yama,bpf
    #[arg(long, value_name = "PARAMETER")]
    append: Vec<String>,
    /// The command: one word is a shell command line, more are taken literally
    #[arg(last = true)]
    command: Vec<String>,
}

/// Does what the arguments ask. `default_command` is asked for the command only where one is needed and none was
/// given, so it may build what it names; the rule of one word or several holds for it too.
pub(crate) fn run(args: &VmArgs, default_command: impl FnOnce() -> Result<Vec<String>>) -> Result<ExitCode> {
    ensure!(env::consts::ARCH == "x86_64", "vm: the guest runs this machine's programs, and only x86_64 is supported");
    let cache = workspace()?.join("target/vm");
    host::install_tools()?;
    let mut archive = Archive::open(&cache, args.update)?;
    let wanted = wanted(args)?;
    if args.list {
        list(&archive, &cache, &wanted);
        return Ok(ExitCode::SUCCESS);
    }
    if args.fetch_only {
        for want in &wanted {
            let kernel = obtain(&mut archive, &cache, want, 0)?.with_context(|| format!("vm: no kernel {want}"))?;
            println!("{want}: {}", kernel.dir.display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let is_root = Path::new("/proc/self").metadata().is_ok_and(|me| me.uid() == 0);
    ensure!(is_root, "vm: needs root, to mount and serve this machine's root file system; try sudo");
    let command = if args.command.is_empty() { default_command()? } else { args.command.clone() };
    let settings = Settings {
        memory: args.memory.clone(),
        cpus: args.cpus,
        timeout: Duration::from_secs(args.timeout),
        append: args.append.join(" "),
        shares: shares(&args.writable)?,
        script: initramfs::script(&command, &args.env)?,
    };
    let mut host = Host::prepare(&cache, &archive)?;
    let mut reports = Vec::new();
    for want in &wanted {
        reports.push(run_on(&mut archive, &cache, &mut host, want, &settings)?);
    }
    Ok(conclude(&reports))
}

/// Runs the command on the wanted kernel, or, where that does not boot, on the next of its candidates.
fn run_on(
    archive: &mut Archive,
    cache: &Path,
    host: &mut Host,
    want: &Wanted,
    settings: &Settings,
) -> Result<(String, Status)> {
    let mut last = None;
    let mut dead: Vec<String> = Vec::new();
    while let Some(kernel) = obtain(archive, cache, want, dead.len())? {
        if let Some(release) = dead.last() {
            eprintln!("vm: {want}: {release} does not boot here; trying the next, {}", kernel.release);
        }
        let outcome = boot(host, &kernel, settings)?;
        report(&kernel, &outcome);
        if outcome.up.is_some() {
            let instead = if dead.is_empty() { String::new() } else { format!(" in place of {}", dead.join(" and ")) };
            return Ok((kernel.release + &instead, outcome.status));
        }
        dead.push(kernel.release.clone());
        last = Some((kernel.release, outcome.status));
    }
    last.with_context(|| format!("vm: no kernel {want} among the configured suites"))
}

/// One guest; with KVM where that works, and emulated from then on where KVM turns out not to run a kernel.
fn boot(host: &mut Host, kernel: &Kernel, settings: &Settings) -> Result<Outcome> {
    eprintln!("vm: {}: starting ({}, {} CPUs, {})", kernel.release, host.accel, settings.cpus, settings.memory);
    let outcome = machine::run(host, kernel, settings)?;
    if outcome.up.is_some() || host.accel == Accel::Tcg {
        return Ok(outcome);
    }
    let why = outcome.console.iter().find(|line| line.contains("qemu")).map_or("the guest did not boot", |line| line);
    eprintln!("vm: KVM is here but does not run a kernel ({why}); emulating");
    host.accel = Accel::Tcg;
    machine::run(host, kernel, settings)
}

/// The `attempt`th candidate, fetched and unpacked; None where there are no more. Where the archive no longer has
/// what its index says, the index is fetched anew once.
fn obtain(archive: &mut Archive, cache: &Path, want: &Wanted, attempt: usize) -> Result<Option<Kernel>> {
    let pick = |archive: &Archive| kernels::candidates(archive.packages(), want).get(attempt).copied().cloned();
    let Some(package) = pick(archive) else { return Ok(None) };
    match kernels::fetch(archive, cache, &package) {
        Err(error) if !archive.is_fresh() => {
            eprintln!("{error:#}; trying with a new index");
            archive.update()?;
            let package: Package = pick(archive).with_context(|| format!("vm: no kernel {want} any more"))?;
            kernels::fetch(archive, cache, &package).map(Some)
        }
        fetched => fetched.map(Some),
    }
}

fn report(kernel: &Kernel, outcome: &Outcome) {
    let seconds = outcome.took.as_secs_f64();
    match &outcome.up {
        Some(up) => {
            let (status, release, boot) = (&outcome.status, &up.release, &up.seconds);
            eprintln!("vm: {release}: {status}, after {seconds:.1} s (of which {boot} s to boot)");
        }
        None => eprintln!("vm: {}: did not boot in {seconds:.1} s: {}", kernel.release, outcome.status),
    }
    if !matches!(outcome.status, Status::Exited(_)) {
        for line in &outcome.console {
            eprintln!("vm: console: {line}");
        }
    }
}

/// The last line, and the status of the whole: the first that is not 0.
fn conclude(reports: &[(String, Status)]) -> ExitCode {
    let failed: Vec<_> = reports.iter().filter(|(_, status)| status.code() != 0).collect();
    let names = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>().join(", ");
    let Some((_, first)) = failed.first() else {
        eprintln!("vm: passed on {}", names(&mut reports.iter().map(|(release, _)| release.clone())));
        return ExitCode::SUCCESS;
    };
    let which = names(&mut failed.iter().map(|(release, status)| format!("{release} ({status})")));
    eprintln!("vm: failed on {} of {}: {which}", failed.len(), reports.len());
    ExitCode::from(u8::try_from(first.code()).unwrap_or(1))
}

fn list(archive: &Archive, cache: &Path, wanted: &[Wanted]) {
    for want in wanted {
        let candidates = kernels::candidates(archive.packages(), want);
        if candidates.is_empty() {
            println!("{:<24}no such kernel among the configured suites", want.to_string());
        }
        for (rank, package) in candidates.iter().enumerate() {
            let state = if kernels::is_unpacked(cache, package) { "fetched" } else { "not fetched" };
            let role = if rank == 0 { want.to_string() } else { "(if that does not boot)".to_owned() };
            println!("{role:<24}{} {} ({state})", package.name, package.version);
        }
    }
}

fn wanted(args: &VmArgs) -> Result<Vec<Wanted>> {
    let named = if args.all { ALL.as_slice() } else { ENDS.as_slice() };
    if args.kernel.is_empty() {
        return named.iter().map(|name| name.parse()).collect();
    }
    Ok(args.kernel.clone())
}

/// What the guest sees beside `/`: the writable folders, and the workspace where it lies on a file system of its own,
/// as only `/` itself is shared.
fn shares(writable: &[PathBuf]) -> Result<Vec<Share>> {
    let mut shares = Vec::new();
    let workspace = workspace()?;
    if workspace.metadata()?.dev() != Path::new("/").metadata()?.dev() {
        shares.push(Share { path: workspace, writable: false });
    }
    for dir in writable {
        let path = dir.canonicalize().with_context(|| format!("vm: --writable {}", dir.display()))?;
        if !path.is_dir() {
            bail!("vm: --writable {}: not a folder", path.display());
        }
        shares.push(Share { path, writable: true });
    }
    Ok(shares)
}

fn workspace() -> Result<PathBuf> {
    let manifest: OsString = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let parent = Path::new(&manifest).parent().context("vm: xtask has no parent folder")?;
    Ok(parent.canonicalize()?)
}
