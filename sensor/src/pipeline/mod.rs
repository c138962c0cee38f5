//! Layer 5: the only place that knows the order of the stages.
//!
//! ```text
//! kernel -> decode -> facts -> [recording] -> enrich -> correlate -> filter -> render -> sink
//! ```
//!
//! `Source` is everything before the recording, `Middle` the pure part, `Writer` the rest. `live` runs all of it,
//! `replay` starts at the recording.
//!
//! | thread | does | waits for |
//! |---|---|---|
//! | ring (`drain`) | takes records out of the ring and decodes them | the ring alone |
//! | main (`live`) | holds events until their facts are there (`gate`), correlates, renders | nothing: whatever comes first |
//! | attach (`attacher`) | attaches and releases probes | the kernel's lock |
//! | config-files | watches folders of configuration | file systems, but reads no file |
//!
//! Files of users are read by other processes (`inspect`). Shutdown: the future given to `live` ends, the probes are
//! silenced, what they sent is drained, `Stop` goes through, and the function returns.

mod asking;
mod attacher;
mod channels;
mod configuration;
mod deploys;
mod drain;
mod facts;
mod gate;
mod losses;
mod present;
mod programs;
mod purpose;
mod replies;
mod service;
mod source;
mod start;
mod writer;

use std::{
    future::Future,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

pub use crate::host::config_files::Settings;
pub use source::{Failure, Source, Start};
pub use writer::{Format, Rates, Writer};

use start::ready;

use crate::{
    correlate::{Correlate, Scope},
    decode::recording,
    deploy::Tools,
    enrich::Enrich,
    event::{
        deploy::ToolFile,
        labels::Label,
        stream::{Event, EventKind, Limits, Lost},
    },
    finding::Finding,
    kernel,
    stats::Stats,
};

/// Without events for so long, what the last ones took is given back, if they were so many: taking it again costs more
/// than a few of them do.
const QUIET: Duration = Duration::from_secs(1);
const MANY: usize = 4096;
/// Accounts are compared and timers run this often.
const TICK_EVERY: Duration = Duration::from_millis(500);

/// Batches that a reload lets pass before it.
const EARLIER_MAX: usize = 1024;

/// The pure part: events in, findings out.
pub struct Middle {
    enrich: Enrich,
    correlate: Correlate,
}

impl Middle {
    pub fn new(limits: Limits, scope: Scope) -> Self {
        Self { enrich: Enrich::default(), correlate: Correlate::new(limits, scope) }
    }

    pub fn observe(&mut self, mut event: Event, out: &mut Vec<Finding>) {
        self.enrich.apply(&mut event);
        self.correlate.observe(&event, out);
    }
}

/// What can be asked of a running pipeline.
pub enum Request {
    /// Open this output anew, forget names, take these settings (SIGHUP).
    Reload { output: PathBuf, all: bool, limits: Limits, labels: Vec<Label>, tools: Vec<ToolFile> },
    /// The new configuration cannot be used: say so and go on.
    Refused { why: String },
}

/// Runs until `shutdown` resolves or the output is closed.
pub async fn live(
    mut source: Source,
    mut middle: Middle,
    mut writer: Writer,
    mut requests: tokio::sync::mpsc::Receiver<Request>,
    shutdown: impl Future<Output = ()>,
) -> Result<(Stats, Source), Failure> {
    tokio::pin!(shutdown);
    let mut events = Vec::new();
    source.begin(&mut events).await?;
    pass(&mut events, &mut middle, &mut writer)?;
    events.shrink_to(0);
    kernel::give_back();
    service::ready();
    let upgrades = source.upgrades();
    let mut tick = tokio::time::interval(TICK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last, mut taken) = (None, 0);
    loop {
        let wake = source.next_deadline();
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(request) = requests.recv() => requested(request, &mut source, &mut writer, &mut events),
            _ = tick.tick() => {
                source.tick(&mut events)?;
                if source.drain.is_alive() {
                    service::alive();
                }
            }
            Some(done) = source.attacher.next() => source.done(done, &mut events)?,
            () = ready(source.readable.as_ref()) => source.answered(&mut events),
            Some(look) = source.config_files.look() => source.look(look),
            () = ready(upgrades.as_ref()) => source.follow_upgrades(&mut events),
            Some(batch) = source.drain.next() => {
                last = Some(Instant::now());
                taken += batch.events.len();
                source.take(batch, &mut events);
            }
            () = sleep_until(wake) => source.answered(&mut events),
        }
        if taken >= MANY && last.is_some_and(|last: Instant| last.elapsed() > QUIET) {
            taken = 0;
            events.shrink_to(0);
            kernel::give_back();
        }
        pass(&mut events, &mut middle, &mut writer)?;
        if writer.is_closed() {
            break;
        }
    }
    service::stopping();
    source.silence();
    while let Some(batch) = source.drain.next().await {
        source.take(batch, &mut events);
        source.answered(&mut events);
        pass(&mut events, &mut middle, &mut writer)?;
    }
    source.last_facts(&mut events).await?;
    pass(&mut events, &mut middle, &mut writer)?;
    source.end(&mut events)?;
    pass(&mut events, &mut middle, &mut writer)?;
    writer.finish()?;
    Ok((Stats { written: writer.written(), filtered: writer.filtered(), ..source.stats() }, source))
}

fn requested(request: Request, source: &mut Source, writer: &mut Writer, events: &mut Vec<Event>) {
    for _ in 0..EARLIER_MAX {
        let Some(batch) = source.drain.queued() else { break };
        source.take(batch, events);
    }
    match request {
        Request::Reload { output, all, limits, labels, tools } => {
            let known = Tools::new(&tools).map_err(|error| error.to_string());
            match known.and_then(|known| writer.reopen(&output).map_err(|error| error.to_string()).map(|()| known)) {
                Ok(known) => source.reloaded(all, limits, labels, (known, tools), events),
                Err(why) => Source::refused(why, events),
            }
        }
        Request::Refused { why } => Source::refused(why, events),
    }
}

/// Resolves then; never without a time.
async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

fn pass(events: &mut Vec<Event>, middle: &mut Middle, writer: &mut Writer) -> io::Result<()> {
    for event in events.drain(..) {
        writer.record(&event)?;
        writer.host(&event);
        middle.observe(event, writer.findings());
        writer.render();
    }
    writer.flush();
    Ok(())
}

/// Runs a recording through the same stages. A damaged recording gives what came before the damage, and an error.
pub fn replay<R: io::Read>(
    reader: recording::Reader<R>,
    mut middle: Middle,
    mut writer: Writer,
) -> Result<Stats, recording::Error> {
    let mut stats = Stats::default();
    let mut result = Ok(());
    let mut last = 0;
    for event in reader {
        match event {
            Ok(event) => {
                stats.taken += 1;
                last = event.time;
                writer.host(&event);
                middle.observe(event, writer.findings());
                writer.render();
            }
            Err(error) => {
                let lost = Lost { stage: "recording".into(), kind: error.to_string(), count: 1, since: last };
                middle.observe(Event { time: last, what: EventKind::Lost(lost) }, writer.findings());
                writer.render();
                result = Err(error);
                break;
            }
        }
        writer.flush_if_large();
        if writer.is_closed() {
            break;
        }
    }
    writer.flush();
    writer.finish()?;
    stats.written = writer.written();
    stats.filtered = writer.filtered();
    result.map(|()| stats)
}
