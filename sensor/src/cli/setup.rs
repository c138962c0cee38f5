//! What every verb that watches sets up: the processes beside it, the event loop, the limits.

use std::path::Path;

use super::error::Error;
use crate::{
    config::{self, Config},
    event::stream,
    inspect::{self, Inspector},
    kernel::holder::{self, Holder},
};

/// Starts the processes beside this one: the holder of the probes, and those that read users' files. Without them the
/// sensor runs, and says what it does not know.
pub(super) fn start_processes(proc: &Path) -> (Option<Holder>, Option<Inspector>) {
    if !rustix::process::geteuid().is_root() {
        return (None, None); // said by the kernel's half
    }
    let holder =
        holder::start().inspect_err(|error| tracing::warn!(%error, "the end of the sensor waits for its probes"));
    let options = inspect::Options { proc: proc.into(), ..inspect::Options::default() };
    let inspector =
        Inspector::start(&options).inspect_err(|error| tracing::error!(%error, "users' files are not read"));
    (holder.ok(), inspector.ok())
}

/// The configuration's limits as the middle takes them.
pub(super) fn limits(config: &Config) -> stream::Limits {
    let config::Limits { processes, sessions, connections, .. } = config.limits;
    stream::Limits { processes, sessions, connections }
}

/// One thread is enough: the work is a few microseconds per event, and one owner per state needs no locks.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "cannot start the event loop".into(), source })
}
