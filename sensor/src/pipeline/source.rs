//! The live source: kernel records, decoded; facts about the host before the events that need them; the account of what
//! was lost.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    asking::Asking,
    attacher::Attacher,
    channels::Channels,
    configuration::serve,
    deploys::Deploys,
    drain::{Batch, Drain},
    facts::Facts,
    gate::{Gate, Released},
    present::Present,
    programs::{Hands, Programs},
    purpose::Purpose,
};
use crate::{
    deploy::{Error as ToolError, Tools},
    event::{
        deploy::ToolFile,
        labels::Label,
        stream::{Counted, Degraded, Event, EventKind, Limits, Path as EventPath},
    },
    host::{
        config_files::{ConfigFiles, Settings},
        identity,
        known_hosts::KnownHosts,
        mounts,
    },
    inspect::{Inspector, Question},
    kernel::{self, Control, Holder, Kernel, Options, Program, ProgramCounters, Readable},
    privileges,
    stats::Stats,
};

/// Ticks between two searches for what is left behind: probed programs that are gone, counts of channels. A minute.
pub(super) const SWEEP: u32 = 120;
/// So many events, or ticks (ten seconds), after which the kernel's accounts are compared.
const ACCOUNT_EVENTS: usize = 64;
const ACCOUNT_TICKS: u32 = 20;
/// At the end, for configuration files that are being read.
const CONFIG_PATIENCE: Duration = Duration::from_millis(500);
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
    #[error("cannot start the thread {name}: {source}")]
    Thread { name: &'static str, source: io::Error },
    #[error("cannot write the recording: {0}")]
    Recording(#[from] io::Error),
}

pub struct Source {
    pub(super) drain: Drain,
    pub(super) attacher: Attacher,
    pub(super) asking: Asking,
    pub(super) config_files: ConfigFiles,
    pub(super) programs: Programs,
    pub(super) gate: Gate,
    pub(super) facts: Facts,
    pub(super) deploys: Deploys,
    pub(super) proc: PathBuf,
    pub(super) offset: i64,
    pub(super) labels: Vec<Label>,
    /// What of the kernel's is missing, for the start.
    pub(super) probes: Vec<crate::event::stream::Probe>,
    pub(super) gaps: Vec<Degraded>,
    pub(super) control: Control,
    pub(super) account: ProgramCounters,
    pub(super) channels: Channels,
    pub(super) known_hosts: KnownHosts,
    /// Ticks until the next such search.
    pub(super) next_sweep: u32,
    /// The accounts when losses were last reported, and when that was.
    pub(super) reported: Vec<Program>,
    /// Skipped events by the last look.
    pub(super) skipped: Vec<Option<u64>>,
    pub(super) reported_at: u64,
    /// Events that passed the gate without their facts by the last report, and ticks until the next.
    pub(super) impatient: (u64, u32),
    pub(super) stopped: bool,
    /// Events since the kernel's accounts were compared, and ticks.
    unaccounted: (usize, u32),
    pub(super) undecodable: u64,
    pub(super) present: Present,
    /// The inspector's, in the event loop.
    pub(super) readable: Option<Readable>,
}

/// What the sensor is started with.
pub struct Start<'a> {
    pub ring_bytes: u32,
    pub proc: &'a Path,
    pub settings: Settings,
    pub labels: Vec<Label>,
    pub tools: Vec<ToolFile>,
    /// Started while the process was small; None: what users' files say is unknown.
    pub inspector: Option<Inspector>,
    /// Likewise; None: the sensor's end waits for its probes to go.
    pub holder: Option<Holder>,
}

impl Source {
    /// Loads and attaches. From here on events are in the ring, and drained.
    pub fn attach(start: Start) -> Result<Self, Failure> {
        let Start { ring_bytes, proc, settings, labels, tools, inspector, holder } = start;
        let host = mounts::host_root(proc);
        let host_ns = host.mnt_ns;
        let deploys = Deploys::new(Tools::new(&tools)?, tools, host_ns);
        let options = Options { ring_bytes, cgroup2: mounts::cgroup2(), holder };
        let reported_at = identity::boot_time();
        let mut kernel = Kernel::load(&options)?;
        // Not the helpers: what users make them do comes after the events.
        if let Err(error) = privileges::take_precedence() {
            tracing::warn!(%error, "cannot raise the scheduling priority: under load more events may be lost");
        }
        let thread = |name| move |source| Failure::Thread { name, source };
        let control = kernel.control();
        let drain = Drain::start(kernel.ring()?).map_err(thread("ring"))?;
        let account = kernel.account()?;
        let channels = Channels::new(kernel.channel_bytes()?);
        // From nothing: what is lost between attaching and the first look counts too.
        let reported: Vec<Program> = account.read()?.into_iter().map(Program::begun).collect();
        let probes = kernel.probes().to_vec();
        let gaps = gaps(&kernel);
        let attacher = Attacher::start(kernel).map_err(thread("attach"))?;
        Ok(Self {
            drain,
            attacher,
            asking: Asking::new(inspector, host),
            config_files: ConfigFiles::new(proc, settings),
            programs: Programs::new(),
            gate: Gate::default(),
            facts: Facts::new(proc, host_ns),
            deploys,
            proc: proc.into(),
            offset: 0,
            labels,
            probes,
            gaps,
            control,
            account,
            skipped: reported.iter().map(|program| program.skipped).collect(),
            channels,
            known_hosts: KnownHosts::default(),
            next_sweep: SWEEP,
            reported,
            reported_at,
            impatient: (0, 0),
            stopped: false,
            unaccounted: (0, 0),
            undecodable: 0,
            present: Present::default(),
            readable: None,
        })
    }

    /// Takes events in: asks for what they need, and lets pass what waits for nothing.
    pub(super) fn take(&mut self, batch: Batch, out: &mut Vec<Event>) {
        self.unaccounted.0 += batch.events.len();
        for event in batch.events {
            self.enter(event, None, out);
        }
        self.release(out);
    }

    pub(super) fn enter(&mut self, mut event: Event, found_in: Option<&EventPath>, out: &mut Vec<Event>) {
        let Self { deploys, facts, gate, asking, programs, attacher, .. } = self;
        let mut waits = Vec::new();
        deploys.want(&mut event, found_in, gate, asking, &mut waits);
        facts.want(&event, gate, asking, &mut waits);
        programs.observe(&event, &mut waits, &mut Hands { gate, asking, attacher, out });
        if let Some((task, shown)) = self.known_hosts.observe(&event, |file| self.programs.role(file)) {
            let subject = self.asking.subject(&task);
            let purpose = Purpose::KnownHosts(shown.connection);
            self.asking.ask_for_record(&subject, Question::KnownHosts(Box::new(shown)), purpose);
        }
        // As a rule: it passes at once, and is not moved in and out.
        if waits.is_empty() && self.gate.is_empty() {
            self.channels.before(&event, out);
            out.push(event);
        } else {
            self.gate.push(event, &waits, Instant::now());
        }
    }

    /// Events that wait for nothing any more.
    pub(super) fn release(&mut self, out: &mut Vec<Event>) {
        let now = Instant::now();
        while let Some(Released { before, event, after }) = self.gate.release(now) {
            out.extend(before);
            self.channels.before(&event, out);
            out.push(event);
            out.extend(after);
        }
        // Who changed a file has executed before: its exec must come first.
        if self.gate.is_empty() {
            self.config_files.poll(identity::boot_time(), out);
        }
    }

    /// Files in watched folders were replaced.
    pub(super) fn follow_upgrades(&mut self, out: &mut Vec<Event>) {
        let Self { gate, asking, attacher, programs, .. } = self;
        programs.follow_upgrades(&mut Hands { gate, asking, attacher, out });
    }

    /// Accounts, clock, timers.
    pub(super) fn tick(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        let time = identity::boot_time();
        let offset = identity::clock_offset();
        if (offset - self.offset).abs() >= CLOCK_STEP_NS {
            self.offset = offset;
            out.push(Event { time, what: EventKind::Clock { offset } });
        }
        self.unaccounted.1 += 1;
        // Reading the kernel's accounts takes a tenth of a millisecond: on an idle host there is nothing new in them.
        if self.unaccounted.0 >= ACCOUNT_EVENTS || self.unaccounted.1 >= ACCOUNT_TICKS {
            self.unaccounted = (0, 0);
            self.report_losses(time, out)?;
            self.report_impatience(time, out);
            self.attacher.sweep_marks();
        }
        self.next_sweep = self.next_sweep.saturating_sub(1);
        if self.next_sweep == 0 {
            self.next_sweep = SWEEP;
            self.programs.sweep(&mut self.asking);
            self.attacher.sweep_ssh(self.channels.carried(), self.proc.clone());
        }
        out.push(Event { time, what: EventKind::Tick });
        self.release(out);
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
        let tools = self.deploys.set_tools(tools.0, tools.1);
        // In turn: what came before is judged by what was in force then, though it may still wait for facts.
        for what in [EventKind::Labels(labels), tools, EventKind::Reloaded { all, limits }] {
            self.gate.push(Event { time: identity::boot_time(), what }, &[], Instant::now());
        }
        self.release(out);
    }

    pub(super) fn refused(why: String, out: &mut Vec<Event>) {
        let degraded = Degraded {
            what: "new configuration".into(),
            why,
            effect: "the configuration and output in use before stay in use".into(),
        };
        out.push(Event { time: identity::boot_time(), what: EventKind::Degraded(degraded) });
    }

    /// For the event loop: readable when a watched folder changes.
    pub(super) fn upgrades(&self) -> Option<Readable> {
        let readable = self.programs.notify().map(Readable::new)?;
        readable.inspect_err(|error| tracing::error!(%error, "upgrades are seen when they run, not before")).ok()
    }

    /// When something has to be done although nothing came.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.gate.next_deadline().into_iter().chain(self.asking.next_deadline()).min()
    }

    /// Silences the probes. What they sent is still drained.
    pub(super) fn silence(&mut self) {
        self.stopped = true;
        self.control.silence();
        self.drain.stop();
    }

    pub(super) fn end(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        self.drain.join();
        let Self { config_files, asking, .. } = self;
        let mut found = Vec::new();
        let mut wanted = Vec::new();
        config_files.finish(CONFIG_PATIENCE, &mut found, |look| {
            wanted.extend(look);
            let answered = asking.take();
            serve(asking, &mut wanted, answered);
        });
        out.extend(found);
        let time = identity::boot_time();
        self.report_losses(time, out)?;
        out.push(Event { time, what: EventKind::Drains(self.drain.account().drains) });
        let counted = |program: &Program| Counted {
            name: program.name.into(),
            seen: program.counters.seen,
            sent: program.counters.sent,
            lost: program.lost(),
            fallback_handled: program.counters.fallback_handled,
            skipped: program.skipped,
        };
        out.push(Event { time, what: EventKind::Stop(self.reported.iter().map(counted).collect()) });
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        let drains = self.drain.account();
        Stats { taken: drains.taken, pieces: drains.pieces, undecodable: self.undecodable, ..Stats::default() }
    }

    /// The kernel's accounts now.
    pub fn accounts(&self) -> Result<Vec<Program>, kernel::Error> {
        self.account.read()
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
