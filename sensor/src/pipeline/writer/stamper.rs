//! Which record of the run a finding becomes.

use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use uuid::Builder;

use crate::{finding::Time, schema::Stamp};

/// Numbers findings, from 1 on and without gaps.
#[derive(Default)]
pub(super) struct Stamper {
    sequence: u64,
    keys: RandomState,
}

impl Stamper {
    /// UUIDv7: sorts by the finding's own time. Its other bits are the sequence under random keys of this run: asking
    /// the kernel for random bytes for each record took a tenth of the time.
    pub(super) fn next(&mut self, time: Time) -> Stamp {
        self.sequence += 1;
        let mut bits = [0; 10];
        for (part, half) in bits.chunks_mut(8).zip([0u8, 1]) {
            part.copy_from_slice(
                self.keys.hash_one((self.sequence, half)).to_ne_bytes().get(..part.len()).unwrap_or_default(),
            );
        }
        let id = Builder::from_unix_timestamp_millis(time.0.div_euclid(1_000_000) as u64, &bits).into_uuid();
        Stamp { id, sequence: self.sequence }
    }

    /// The last number was not used.
    pub(super) fn take_back(&mut self) {
        self.sequence -= 1;
    }
}
