//! Signals as futures: SIGINT and SIGTERM stop, SIGHUP reloads.

use std::{future::Future, io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::pipeline::Request;

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

/// SIGHUP as requests.
pub(super) fn reload() -> io::Result<mpsc::Receiver<Request>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if sender.send(Request::Reload).await.is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}
