//! The live source: kernel records, decoded; facts about the host before the events that need them; the account of what was lost.

use std::{io, path::PathBuf};

use super::{channels::Channels, deploys::Deploys, programs::Programs};
use crate::{
    decode::{Decoder, Error as DecodeError},
    deploy::{Error as ToolError, Tools},
    event::{
        deploy::ToolFile,
        labels::Label,
        stream::{Counted, Degraded, Event, Limits, Lost, What},
    },
    host::{
        config_files::{ConfigFiles, Settings},
        facts::Facts,
        identity,
        known_hosts::KnownHosts,
        mounts, privileges, snapshot,
    },
    kernel::{self, Account, Drained, Holder, Kernel, Options, Program, Ring},
    stats::Stats,
};

/// Records per drain: some milliseconds of work.
const DRAIN_MAX: usize = 8192;
/// Ticks between two searches for what is left behind: probed programs that are gone, counts of channels. A minute.
const SWEEP: u32 = 120;
/// At the end, for configuration files that are being read.
const CONFIG_PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);
/// A wall clock that moved by less is not worth an event: NTP slews it all the time.
const CLOCK_STEP_NS: i64 = 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    #[error("cannot read the processes under {path}: {why}")]
    Proc { path: PathBuf, why: String },
    #[error(transparent)]
    Tools(#[from] ToolError),
    #[error("cannot write the recording: {0}")]
    Recording(#[from] io::Error),
}

pub struct Source {
    /// None once detached.
    kernel: Option<Kernel>,
    ring: Ring,
    account: Account,
    decoder: Decoder,
    facts: Facts,
    programs: Programs,
    channels: Channels,
    config_files: ConfigFiles,
    known_hosts: KnownHosts,
    deploys: Deploys,
    /// Ticks until the next such search.
    next_sweep: u32,
    proc: PathBuf,
    /// The accounts when losses were last reported, and when that was.
    reported: Vec<Program>,
    /// Skipped events by the last look.
    skipped: Vec<Option<u64>>,
    reported_at: u64,
    offset: i64,
    labels: Vec<Label>,
    undecodable: u64,
    last_error: Option<DecodeError>,
    stats: Stats,
    decoded: Vec<Event>,
}

impl Source {
    /// Loads and attaches. From here on events are in the ring.
    pub fn attach(
        ring_bytes: u32,
        proc: &std::path::Path,
        settings: Settings,
        labels: Vec<Label>,
        tools: Vec<ToolFile>,
        holder: Option<Holder>,
    ) -> Result<Self, Failure> {
        let deploys = Deploys::new(proc, Tools::new(&tools)?, tools);
        let options = Options { ring_bytes, cgroup2: mounts::cgroup2(), holder };
        let reported_at = identity::boot_time();
        let mut kernel = Kernel::load(&options)?;
        if let Err(error) = privileges::take_precedence() {
            tracing::warn!(%error, "cannot raise the scheduling priority: under load more events may be lost");
        }
        let ring = kernel.ring()?;
        let account = kernel.account()?;
        let channels = Channels::new(kernel.channel_bytes()?);
        // From nothing: what is lost between attaching and the first look counts too.
        let reported: Vec<Program> = account.read()?.into_iter().map(Program::begun).collect();
        #[cfg(feature = "ebpf-log")]
        kernel.log()?;
        Ok(Self {
            kernel: Some(kernel),
            skipped: reported.iter().map(|program| program.skipped).collect(),
            ring,
            account,
            decoder: Decoder::default(),
            facts: Facts::new(proc),
            programs: Programs::new(proc),
            channels,
            config_files: ConfigFiles::new(proc, settings),
            known_hosts: KnownHosts::new(proc),
            deploys,
            next_sweep: SWEEP,
            proc: proc.into(),
            reported,
            reported_at,
            offset: 0,
            labels,
            undecodable: 0,
            last_error: None,
            stats: Stats::default(),
            decoded: Vec::new(),
        })
    }

    /// What precedes the first kernel event: the host, the probes, the processes that are there.
    pub(super) fn begin(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        let time = identity::boot_time();
        self.offset = identity::clock_offset();
        let mut push = |what| out.push(Event { time, what });
        push(What::Host(identity::host(&self.proc, time)));
        push(What::Clock { offset: self.offset });
        push(What::Labels(std::mem::take(&mut self.labels)));
        out.extend(self.deploys.own_tools().map(|what| Event { time, what }));
        let mut push = |what| out.push(Event { time, what });
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let mut probes = kernel.probes().to_vec();
        let mut uncovered = Vec::new();
        self.programs.begin(kernel, &mut probes, &mut uncovered);
        push(What::Probes(probes));
        for gap in gaps(kernel).into_iter().chain(uncovered) {
            push(What::Degraded(gap));
        }
        if !mounts::sees_whole_cgroup_tree(&self.proc) {
            push(What::Degraded(Degraded {
                what: "cgroup/connect4, cgroup/connect6".into(),
                why: "this process is in a cgroup namespace of its own (in Kubernetes: hostPID with cgroupns: host)"
                    .into(),
                effect: "outgoing connections of processes outside of this namespace are not seen".into(),
            }));
        }
        let snapshot = snapshot::take(&self.proc)
            .map_err(|error| Failure::Proc { path: self.proc.clone(), why: error.to_string() })?;
        kernel.add_listeners(snapshot.listeners.into_iter())?;
        for found in snapshot.processes {
            let mut event = Event { time, what: What::Found(Box::new(found)) };
            self.deploys.tell(&mut event, out);
            self.facts.tell(&event, out);
            out.push(event);
        }
        out.push(Event { time: identity::boot_time(), what: What::Seeded });
        if let Err(error) = privileges::drop_unneeded() {
            tracing::warn!(%error, "cannot give up capabilities that are no longer needed");
        }
        self.config_files.begin();
        Ok(())
    }

    /// Takes what is in the ring, up to a bound. True: there is more.
    pub(super) fn drain(&mut self, out: &mut Vec<Event>) -> bool {
        let Self { ring, decoder, decoded, stats, undecodable, last_error, .. } = self;
        let drained = ring.drain(DRAIN_MAX, |record| {
            stats.taken += 1;
            let before = decoded.len();
            match decoder.decode(record, decoded) {
                Ok(()) => stats.pieces += u64::from(decoded.len() == before),
                Err(error) => {
                    *undecodable += 1;
                    *last_error = Some(error);
                }
            }
        });
        for mut event in self.decoded.drain(..) {
            self.deploys.tell(&mut event, out);
            for deploying in self.deploys.started() {
                self.config_files.deploy_started(deploying);
            }
            self.facts.tell(&event, out);
            self.known_hosts.observe(&event);
            let readable = self.kernel.as_mut().and_then(|kernel| self.programs.observe(kernel, &event, out));
            self.channels.before(&event, out);
            out.push(event);
            out.extend(readable);
        }
        self.known_hosts.take(out);
        if let Some(kernel) = &mut self.kernel {
            self.programs.follow_upgrades(kernel, out);
        }
        // Who changed a file has executed before: its exec must be told first.
        if drained != Drained::More {
            self.config_files.poll(identity::boot_time(), out);
        }
        drained == Drained::More
    }

    /// After a burst: room for its events is not needed any more.
    pub(super) fn shrink(&mut self) {
        self.decoded.shrink_to(0);
    }

    /// Resolves when the ring fills.
    pub(super) async fn filling(&self) -> Result<(), kernel::Error> {
        self.ring.filling().await
    }

    /// Accounts, clock, timers.
    pub(super) fn tick(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        let time = identity::boot_time();
        let offset = identity::clock_offset();
        if (offset - self.offset).abs() >= CLOCK_STEP_NS {
            self.offset = offset;
            out.push(Event { time, what: What::Clock { offset } });
        }
        self.report_losses(time, out)?;
        if let Some(kernel) = &mut self.kernel {
            kernel.sweep()?;
        }
        self.next_sweep = self.next_sweep.saturating_sub(1);
        if self.next_sweep == 0 {
            self.next_sweep = SWEEP;
            if let Some(kernel) = &mut self.kernel {
                self.programs.sweep(kernel);
                let live = kernel.sweep_ssh(&self.channels.carried(), &self.proc)?;
                self.channels.sweep(&live);
            }
        }
        out.push(Event { time, what: What::Tick });
        Ok(())
    }

    pub(super) fn reloaded(
        &mut self,
        all: bool,
        limits: Limits,
        labels: Vec<Label>,
        tools: (Tools, Vec<ToolFile>),
        out: &mut Vec<Event>,
    ) {
        self.facts.forget();
        let time = identity::boot_time();
        out.push(Event { time, what: What::Labels(labels) });
        let what = self.deploys.set_tools(tools.0, tools.1);
        out.push(Event { time, what });
        out.push(Event { time, what: What::Reloaded { all, limits } });
    }

    pub(super) fn refused(why: String, out: &mut Vec<Event>) {
        let degraded = Degraded {
            what: "new configuration".into(),
            why,
            effect: "the configuration and output in use before stay in use".into(),
        };
        out.push(Event { time: identity::boot_time(), what: What::Degraded(degraded) });
    }

    pub(super) fn lost(&self, stage: &str, kind: &str, count: u64, out: &mut Vec<Event>) {
        let lost = Lost { stage: stage.into(), kind: kind.into(), count, since: self.reported_at };
        out.push(Event { time: identity::boot_time(), what: What::Lost(lost) });
    }

    /// Takes the probes away. What they sent stays in the ring.
    pub(super) fn detach(&mut self) {
        self.kernel = None;
    }

    pub(super) fn end(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        self.config_files.finish(CONFIG_PATIENCE, out);
        let time = identity::boot_time();
        self.report_losses(time, out)?;
        let counted = |program: &Program| Counted {
            name: program.name.into(),
            seen: program.counters.seen,
            sent: program.counters.sent,
            lost: program.lost(),
            rescued: program.counters.rescued,
            skipped: program.skipped,
        };
        out.push(Event { time, what: What::Stop(self.reported.iter().map(counted).collect()) });
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { undecodable: self.undecodable_total(), ..self.stats }
    }

    /// The kernel's accounts now.
    pub fn accounts(&self) -> Result<Vec<Program>, kernel::Error> {
        self.account.read()
    }

    fn undecodable_total(&self) -> u64 {
        self.stats.undecodable + self.undecodable
    }

    fn report_losses(&mut self, time: u64, out: &mut Vec<Event>) -> Result<(), Failure> {
        let mut accounts = self.account.read()?;
        // A second program may be about to take what the first was skipped for: while probes are attached, a skipped event counts when two looks
        // in a row have seen it.
        let seen: Vec<Option<u64>> = accounts.iter().map(|program| program.skipped).collect();
        if self.kernel.is_some() {
            for ((now, then), before) in accounts.iter_mut().zip(&self.reported).zip(&self.skipped) {
                now.skipped = now.skipped.min(*before).max(then.skipped);
            }
        }
        self.skipped = seen;
        let since = self.reported_at;
        let mut report = |stage: &str, kind: String, count: u64| {
            if count > 0 {
                out.push(Event { time, what: What::Lost(Lost { stage: stage.into(), kind, count, since }) });
            }
        };
        for (now, then) in accounts.iter().zip(&self.reported) {
            let name = now.name;
            let misses = |program: &Program| program.skipped.unwrap_or(0);
            report("kernel", format!("{name}: ring full"), now.counters.lost_full - then.counters.lost_full);
            report("kernel", format!("{name}: unreadable"), now.counters.lost_read - then.counters.lost_read);
            report("kernel", format!("{name}: socket not tracked"), now.counters.untracked - then.counters.untracked);
            report("kernel", format!("{name}: skipped by the kernel"), misses(now).saturating_sub(misses(then)));
        }
        if let Some(error) = self.last_error.take() {
            report("decode", error.to_string(), self.undecodable);
            self.stats.undecodable += std::mem::take(&mut self.undecodable);
        }
        self.reported = accounts;
        self.reported_at = time;
        Ok(())
    }
}

/// What is missing on this kernel and what it costs.
fn gaps(kernel: &Kernel) -> Vec<Degraded> {
    let fields = kernel::gaps(kernel.layout()).into_iter().map(|(field, effect)| Degraded {
        what: field,
        why: "this kernel's BTF does not have it".into(),
        effect: effect.into(),
    });
    let probes = kernel.probes().iter().filter_map(|probe| {
        let spec = kernel::PROBES.iter().find(|spec| spec.name == probe.name)?;
        let why = probe.why.clone()?;
        Some(Degraded { what: format!("{} ({})", spec.name, spec.target), why, effect: spec.effect.into() })
    });
    fields.chain(probes).collect()
}
