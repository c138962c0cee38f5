//! Signals as futures: SIGINT and SIGTERM stop, SIGHUP reloads.

use std::{future::Future, io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves when the process is asked to stop, or after `limit`.
pub(super) fn stop(limit: Option<Duration>) -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let timeout = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = timeout => {}
        }
    })
}

/// SIGHUP.
pub(super) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
