//! Counting: what each program saw, sent and lost, so that losses are numbers and not gaps.
//!
//! Per CPU, and yet atomic: on some kernels a program can be preempted by another run of itself on the same CPU.

use core::arch::asm;

use aya_ebpf::{helpers::generated::bpf_ktime_get_boot_ns, maps::ring_buf::RingBufEntry};
use sensor_common::{Head, VERSION};

use crate::{
    control,
    field::patched,
    log,
    maps::{COUNTERS, EVENTS, WAKE_BYTES},
    program_slot::ProgramSlot,
};

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;

/// Why an event could not be sent.
pub enum Lost {
    /// The ring had no room.
    Full,
    /// What identifies the event could not be read.
    Unreadable,
}

/// What was sent.
pub enum Sent {
    Whole,
    Truncated,
}

#[inline(always)]
fn increment(counter: *mut u64) {
    // SAFETY: callers pass a field of a live, aligned per-CPU value of the map. The plain atomic add (BPF_XADD): rustc
    // offers none for this target, and the fetching ones do not exist on 5.10.
    unsafe { asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1u64) };
}

/// Accounts for one event of a program. Every event passes here exactly once.
#[inline(always)]
pub fn count_result(row: u32, slot: ProgramSlot, result: Result<Sent, Lost>) {
    let Some(counters) = COUNTERS.get_ptr_mut(row) else { return };
    // SAFETY: a live value of the map; only addresses of its fields are taken.
    unsafe {
        increment(&raw mut (*counters).seen);
        if slot == ProgramSlot::Second {
            increment(&raw mut (*counters).fallback_handled);
        }
        increment(match result {
            Ok(Sent::Whole) => &raw mut (*counters).sent,
            Ok(Sent::Truncated) => {
                increment(&raw mut (*counters).truncated);
                &raw mut (*counters).sent
            }
            Err(Lost::Full) => {
                log::lost_full(row);
                &raw mut (*counters).lost_full
            }
            Err(Lost::Unreadable) => {
                log::lost_unreadable(row);
                &raw mut (*counters).lost_read
            }
        });
    }
}

/// An event that is none of ours: counted only if the second program took it, so that the account of skipped runs is
/// exact.
#[inline(always)]
pub fn count_ignored(row: u32, slot: ProgramSlot) {
    if slot == ProgramSlot::Second
        && let Some(counters) = COUNTERS.get_ptr_mut(row)
    {
        // SAFETY: as above.
        increment(unsafe { &raw mut (*counters).fallback_handled });
    }
}

/// Counts a socket that found no room in the map of tracked sockets.
#[inline(always)]
pub fn untracked(row: u32) {
    log::untracked(row);
    if let Some(counters) = COUNTERS.get_ptr_mut(row) {
        // SAFETY: as above.
        increment(unsafe { &raw mut (*counters).untracked });
    }
}

/// Writes the first bytes of a record.
///
/// # Safety
/// `out` points at room for a `Head`.
#[inline(always)]
pub unsafe fn write_head(out: *mut Head, kind: u16, size: usize) {
    // SAFETY: the caller's promise; the helper takes nothing.
    unsafe { out.write(Head { kind, version: VERSION, size: size as u32, time: bpf_ktime_get_boot_ns() }) };
}

/// Room for one record.
#[inline(always)]
pub fn reserve<T: 'static>() -> Result<RingBufEntry<T>, Lost> {
    EVENTS.reserve::<T>(0).ok_or(Lost::Full)
}

/// Hands a filled record to the loader. Waking it is the ring's main cost: it is woken where it sleeps or the ring
/// fills; while it is awake it comes by itself every few milliseconds.
#[inline(always)]
pub fn submit<T: 'static>(entry: RingBufEntry<T>) {
    submit_at_once(entry, false);
}

/// The same; `now`: it cannot wait for the next turn.
#[inline(always)]
pub fn submit_at_once<T: 'static>(entry: RingBufEntry<T>, now: bool) {
    // In this order: the query is part of the barrier (`control::must_wake`).
    let full = EVENTS.query(BPF_RB_AVAIL_DATA) >= patched(&WAKE_BYTES);
    let sleeps = control::must_wake();
    entry.submit(if full | sleeps | now { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP });
}
