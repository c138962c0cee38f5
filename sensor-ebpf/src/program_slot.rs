//! Two programs per tracepoint, so that an event is not lost when one of them cannot run.
//!
//! The kernel skips a program that is already running on the same CPU. Up to 6.x a raw tracepoint's program could not
//! be preempted, so that never happened; from 7.0 on it can: *measured* on 7.3, one event in some hundreds under load,
//! when a task was preempted inside the program and the next one came to the same tracepoint. The second program runs
//! right after the first, for the same event and in the same task: it finds the mark that the first one left, or does
//! the work itself. An event is lost only if both are skipped; the loader bounds that by the kernel's counts of skipped
//! runs (`recursion_misses`) and by what the second program counted as `fallback_handled`.
//!
//! The second program costs a microsecond of an exec, so before 7.0 only the tracepoint of TCP states has one: there an
//! interrupt can bring about the same event in the middle of the first (`PREEMPTED`).

use sensor_common::map::{DedupKey, Mark};

use crate::{
    field::{Addr, patched},
    maps::{HANDLED, PREEMPTED},
};

/// Which of the two programs is running.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ProgramSlot {
    First,
    Second,
}

pub fn dedup_key(object: Addr, what: u64) -> DedupKey {
    DedupKey { object, what }
}

impl ProgramSlot {
    /// The same of a task's event, which no interrupt brings about: where programs are not preempted there is no second
    /// one, and nothing to agree on.
    #[inline(always)]
    pub fn takes_of_task(self, key: DedupKey) -> bool {
        patched(&PREEMPTED) == 0 || self.takes(key)
    }

    /// Is this event for this program to handle?
    #[inline(always)]
    pub fn takes(self, key: DedupKey) -> bool {
        match self {
            // No room for the key: leave it to the second program, which will find none.
            Self::First => HANDLED.insert(key, Mark::SET, 0).is_ok(),
            Self::Second => HANDLED.remove(key).is_err(),
        }
    }
}
