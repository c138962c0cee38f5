//! What the service manager is notified of (sd_notify(3)): that the probes are attached, that the sensor lives, that it
//! stops. Without one, nothing.
//!
//! `READY=1` comes when the probes are attached and the processes that were there are known: sshd may start then.
//! `WATCHDOG=1` comes with each tick while the thread that drains the ring takes its turns, so that one that hangs is
//! ended and started again.

use sd_notify::NotifyState;

pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

pub(super) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be notified");
    }
}
