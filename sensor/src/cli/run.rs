//! `sensor run`: the daemon.
//!
//! SIGHUP reads the configuration again. A file that is not valid changes nothing; it is refused in a record, where
//! those look who watch the sensor. The ring's size, /proc and what is kept of configuration files are fixed at start.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    args::RunArgs,
    error::Error,
    labels::labels,
    setup::{limits, runtime, start_processes},
    signals,
};
use crate::{
    config::Config,
    correlate::Scope,
    event::deploy::ToolFile,
    host::tools,
    pipeline::{self, Format, Middle, Rates, Request, Settings, Source, Start, Writer},
    render::{filter::Filter, json::Json},
    sink::Sink,
};

pub(super) fn run(args: &RunArgs) -> Result<(), Error> {
    let config = Config::read(&args.config)?;
    // While this process is small and has one thread.
    let (holder, inspector) = start_processes(&config.host.proc);
    runtime()?.block_on(async {
        let sink = Sink::open(&config.output.path, config.output.queue_bytes)?;
        let (labels, tools) = (labels(&config)?, tools(&config)?);
        let (ring_bytes, proc) = (config.kernel.ring_bytes, config.host.proc.as_path());
        let source =
            Source::attach(Start { ring_bytes, proc, settings: settings(&config), labels, tools, inspector, holder })?;
        let middle = Middle::new(limits(&config), Scope { all: config.scope.all, pids: Vec::new() });
        let writer = Writer::new(Format::Json(Json::default()), Filter::default(), sink).limited(rates(&config));
        let io_error = |source| Error::Io { what: "cannot wait for signals".into(), source };
        let stop = signals::stop(None).map_err(io_error)?;
        let hangups = signals::hangups().map_err(io_error)?;
        let (sender, requests) = mpsc::channel(1);
        tokio::spawn(reload(args.config.clone(), Arc::new(config.clone()), hangups, sender));
        tracing::info!(output = %config.output.path.display(), "watching");
        let (stats, _source) = pipeline::live(source, middle, writer, requests, stop).await?;
        tracing::info!(records = stats.written, events = stats.taken, "stopped");
        Ok(())
    })
}

/// What happened before the signal is judged by what was in force then: it is out of the ring after so long
/// (`sensor.drain` says when it was not).
const EARLIER: Duration = Duration::from_millis(50);

/// What is kept of configuration files, and where.
fn settings(config: &Config) -> Settings {
    let folder = Some(config.deploy.state.clone()).filter(|folder| !folder.as_os_str().is_empty());
    Settings { folder, files: config.deploy.watch.clone(), key: config.deploy.hash_key.clone() }
}

fn rates(config: &Config) -> Rates {
    let limits = config.limits;
    Rates {
        records: limits.session_records_per_second,
        bytes: limits.session_bytes_per_second,
        file: config.output.max_bytes,
    }
}

/// The user's definitions of deploy tools. That they are sound is checked where they are used.
fn tools(config: &Config) -> Result<Vec<ToolFile>, tools::Error> {
    config.deploy.tools.as_deref().map_or_else(|| Ok(Vec::new()), tools::read)
}

/// Turns each SIGHUP into a request.
async fn reload(
    path: PathBuf,
    first: Arc<Config>,
    mut hangups: tokio::signal::unix::Signal,
    requests: mpsc::Sender<Request>,
) {
    while hangups.recv().await.is_some() {
        let read = Config::read(&path).map_err(Error::from);
        let request = match read.and_then(|config| Ok((labels(&config)?, config))) {
            Ok((labels, config)) => {
                let fixed = (config.kernel, &config.host, &config.deploy, rates(&config), config.output.queue_bytes);
                if fixed != (first.kernel, &first.host, &first.deploy, rates(&first), first.output.queue_bytes) {
                    tracing::warn!(
                        "changes of [kernel], [host], [deploy], of limits of sessions and of sizes in [output] take effect at the next start"
                    );
                }
                let limits = limits(&config);
                match tools(&config) {
                    Ok(tools) => {
                        Request::Reload { output: config.output.path, all: config.scope.all, limits, labels, tools }
                    }
                    Err(error) => Request::Refused { why: error.to_string() },
                }
            }
            Err(error) => Request::Refused { why: error.to_string() },
        };
        tokio::time::sleep(EARLIER).await;
        if requests.send(request).await.is_err() {
            return;
        }
    }
}
