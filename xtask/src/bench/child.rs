//! Programs that run beside the measurement and end with it.
//!
//! However this process ends, its children get SIGTERM from the kernel: each is started through this program's own
//! `bench under`, which asks for that (PR_SET_PDEATHSIG survives exec) and becomes the wanted program, with the same
//! pid.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

/// A stop that takes longer is a hang.
const STOP: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct UnderArgs {
    /// Run on this CPU only
    #[arg(long)]
    cpu: Option<usize>,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(super) fn become_program(args: &UnderArgs) -> Result<()> {
    set_pdeathsig(Signal::SIGTERM)?;
    if let Some(cpu) = args.cpu {
        pin(cpu)?;
    }
    let Some((program, rest)) = args.command.split_first() else { bail!("no command") };
    Err(Command::new(program).args(rest).exec()).with_context(|| format!("cannot start {}", program.display()))
}

/// Keeps this process and its children to one CPU.
pub(super) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu} only"))
}

/// The CPU for what is measured: the last one, as the first takes most interrupts.
pub(super) fn cpu() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1
}

/// A command that will end with this process.
pub(super) fn command(program: impl AsRef<OsStr>, cpu: Option<usize>) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "under"]);
    if let Some(cpu) = cpu {
        command.args(["--cpu", &cpu.to_string()]);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// A running program; dropping it stops it.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn().context("cannot start a child")?))
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.0.id().cast_signed()), signal)?)
    }

    /// SIGTERM, and its exit status.
    pub(super) fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.has_ended()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP {
            if let Some(status) = self.has_ended()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.0.kill()?;
        bail!("process {} did not end within {} s of SIGTERM", self.pid(), STOP.as_secs());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop();
        let _ = self.0.wait();
    }
}
