//! A descriptor to wait for in the event loop: its own copy, so that whoever reads it needs no part in this.
//!
//! Readiness is edge-triggered: what is there is to be read until nothing is left, each time.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

pub struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Within the event loop.
    pub fn new(descriptor: BorrowedFd) -> io::Result<Self> {
        let own = descriptor.try_clone_to_owned()?;
        // SAFETY: an OwnedFd owns its descriptor for as long as it lives and always returns the same one.
        #[allow(unsafe_code, reason = "tokio asks for this promise about the descriptor")]
        let registered = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// Resolves when there is something to read.
    pub async fn readable(&self) {
        match self.0.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            // The event loop is ending.
            Err(_) => std::future::pending().await,
        }
    }
}
