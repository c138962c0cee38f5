//! `sensor run`: the daemon.
//!
//! SIGHUP reads the configuration again. A file that is not valid changes nothing; it is refused in a record, where those look who watch the
//! sensor. The ring's size, /proc and what is kept of configuration files
//! are fixed at start.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::mpsc;

use super::{Error, args::RunArgs, holder, labels::labels, limits, runtime, signals};
use crate::{
    config::Config,
    correlate::Scope,
    event::deploy::ToolFile,
    host::tools,
    pipeline::{self, Format, Middle, Request, Settings, Source, Writer},
    render::{filter::Filter, json::Json},
    sink::Sink,
};

pub(super) fn run(args: &RunArgs) -> Result<(), Error> {
    // Before there is any thread.
    let holder = holder()?;
    let config = Config::read(&args.config)?;
    runtime()?.block_on(async {
        let sink = Sink::open(&config.output.path)?;
        let (labels, tools) = (labels(&config)?, tools(&config)?);
        let source = Source::attach(
            config.kernel.ring_bytes,
            &config.host.proc,
            settings(&config),
            labels,
            tools,
            Some(holder),
        )?;
        let middle = Middle::new(limits(&config), Scope { all: config.scope.all, pids: Vec::new() });
        let writer = Writer::new(Format::Json(Json::default()), Filter::default(), sink);
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

/// What is kept of configuration files, and where.
fn settings(config: &Config) -> Settings {
    let folder = Some(config.deploy.state.clone()).filter(|folder| !folder.as_os_str().is_empty());
    Settings { folder, files: config.deploy.watch.clone() }
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
                if (config.kernel, &config.host, &config.deploy) != (first.kernel, &first.host, &first.deploy) {
                    tracing::warn!("changes of [kernel], [host] and [deploy] take effect at the next start");
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
        if requests.send(request).await.is_err() {
            return;
        }
    }
}
