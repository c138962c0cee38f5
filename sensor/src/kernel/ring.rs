//! The ring buffer's reading end.
//!
//! Records are handed on as bytes. A drain is bounded, so a flood cannot keep the rest of the process from running. Nothing is copied here.

use std::io;

use aya::maps::{Map, MapData, RingBuf};
use tokio::io::{Interest, unix::AsyncFd};

use super::Error;

pub struct Ring {
    inner: AsyncFd<RingBuf<MapData>>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    Empty,
    /// The bound was reached; there is more.
    More,
}

impl Ring {
    pub(super) fn new(map: Map) -> Result<Self, Error> {
        let ring = RingBuf::try_from(map).map_err(|error| Error::MapUse { map: "EVENTS", why: error.to_string() })?;
        // SAFETY: a RingBuf owns its map's descriptor for as long as it lives and always returns the same one.
        #[allow(unsafe_code, reason = "tokio asks for this promise about the descriptor")]
        let inner = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        Ok(Self { inner: inner.map_err(io::Error::from)? })
    }

    /// Hands at most `limit` records to `take`.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> Drained {
        let ring = self.inner.get_mut();
        for _ in 0..limit {
            match ring.next() {
                Some(record) => take(&record),
                None => return Drained::Empty,
            }
        }
        Drained::More
    }

    /// Resolves when the kernel says that the ring fills.
    pub async fn filling(&self) -> Result<(), Error> {
        let mut guard = self.inner.readable().await?;
        guard.clear_ready();
        Ok(())
    }
}
