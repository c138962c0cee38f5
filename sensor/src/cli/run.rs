//! `sensor run`: the daemon.

use super::{Error, args::RunArgs, runtime, signals};
use crate::{
    config::Config,
    correlate::{Limits, Scope},
    pipeline::{self, Format, Middle, Source, Writer},
    render::{filter::Filter, json::Json},
    sink::Sink,
};

pub(super) fn run(args: &RunArgs) -> Result<(), Error> {
    let config = Config::read(&args.config)?;
    runtime()?.block_on(async {
        let sink = Sink::open(&config.output.path)?;
        let source = Source::attach(config.kernel.ring_bytes, &config.host.proc)?;
        let limits = Limits {
            processes: config.limits.processes,
            sessions: config.limits.sessions,
            connections: config.limits.connections,
        };
        let middle = Middle::new(limits, Scope { all: config.scope.all, pids: Vec::new() });
        let writer = Writer::new(Format::Json(Json::default()), Filter::default(), sink);
        let io_error = |source| Error::Io { what: "cannot wait for signals".into(), source };
        let stop = signals::stop(None).map_err(io_error)?;
        let reload = signals::reload().map_err(io_error)?;
        tracing::info!(output = %config.output.path.display(), "watching");
        let (stats, _source) = pipeline::live(source, middle, writer, reload, stop).await?;
        tracing::info!(records = stats.written, events = stats.taken, "stopped");
        Ok(())
    })
}
