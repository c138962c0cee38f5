//! `sensor trace`: watch live, with a summary at the end.

use super::{
    args::{ShowArgs, TraceArgs},
    error::Error,
    labels::labels,
    setup::{limits, runtime, start_processes},
    signals,
    stdout::{Output, terminal},
};
use crate::{
    config::Config,
    correlate::Scope,
    kernel::Program,
    pipeline::{self, Format, Middle, Settings, Source, Start, Writer},
    render::{json::Json, table::Table},
    sink::{Sink, stderr},
    stats::Stats,
};

pub(super) fn run(args: &TraceArgs) -> Result<(), Error> {
    // While this process is small and has one thread.
    let (holder, inspector) = start_processes(&args.proc);
    runtime()?.block_on(async {
        let tools = args.tools.as_deref().map_or_else(|| Ok(Vec::new()), crate::host::tools::read)?;
        let labels = labels(&Config::default())?;
        let mut writer = writer(&args.show, true)?;
        if let Some(path) = &args.record {
            let what = || format!("cannot record to {}", path.display());
            writer.record_to(path, args.force).map_err(|source| Error::Io { what: what(), source })?;
        }
        let (ring_bytes, proc, settings) = (args.ring_bytes, args.proc.as_path(), Settings::default());
        let source = Source::attach(Start { ring_bytes, proc, settings, labels, tools, inspector, holder })?;
        let io_error = |source| Error::Io { what: "cannot wait for signals".into(), source };
        let stop = signals::stop(args.duration).map_err(io_error)?;
        // A trace gets no requests to reload; a terminal that goes away ends it.
        let (_keep, requests) = tokio::sync::mpsc::channel(1);
        let (stats, source) = pipeline::live(source, middle(&args.show), writer, requests, stop).await?;
        summary(stats, &source.accounts()?);
        Ok(())
    })
}

/// The middle as the arguments want it.
pub(super) fn middle(show: &ShowArgs) -> Middle {
    Middle::new(limits(&Config::default()), Scope { all: show.all, pids: show.pid.clone() })
}

/// The writer as the arguments want it: colour and width only on a terminal. `live`: what its reader does not take in
/// time is lost, and counted.
pub(super) fn writer(show: &ShowArgs, live: bool) -> Result<Writer, Error> {
    let format = match show.format {
        Output::Json => Format::Json(Json::default()),
        Output::Table => {
            let (color, width) = terminal();
            Format::Table(Table::new(color, width, show.all))
        }
    };
    let sink = if live { Sink::open("-".as_ref(), Config::default().output.queue_bytes)? } else { Sink::direct()? };
    Ok(Writer::new(format, show.filter(), sink))
}

/// What happened between the kernel and the terminal, on standard error.
fn summary(stats: Stats, accounts: &[Program]) {
    let sum = |count: fn(&Program) -> u64| accounts.iter().map(count).sum::<u64>();
    let seen = sum(|program| program.counters.seen);
    let lost = sum(Program::lost);
    let misses = sum(|program| program.skipped.unwrap_or(0));
    stderr::say(&format!(
        "{} records shown ({} filtered out), from {seen} kernel events: {} taken, {lost} lost, {misses} skipped by the kernel, {} undecodable",
        stats.written, stats.filtered, stats.taken, stats.undecodable
    ));
    for program in accounts.iter().filter(|program| program.lost() > 0 || !program.reconciles()) {
        let c = program.counters;
        stderr::say(&format!(
            "{}: seen {}, sent {}, lost {} (ring full), {} (unreadable)",
            program.name, c.seen, c.sent, c.lost_full, c.lost_read
        ));
    }
}
