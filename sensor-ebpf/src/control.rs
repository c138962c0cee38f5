//! The switches that user space has mapped: is everything silent, does the ring's reader sleep.
//!
//! `silenced` is the first thing that every program looks at: a probe that cannot be detached soon (the kernel takes
//! its time, `sensor/src/kernel/holder.rs`) costs a load and a branch. `sleeping` is looked at for each record: waking
//! the reader is the ring's main cost, so only a record that finds it asleep does.
//!
//! The order matters for `sleeping` (Dekker's): the reader stores `sleeping`, passes a full barrier and then looks
//! whether the ring is empty; a program stores the ring's producer position (`bpf_ringbuf_reserve`), must pass a full
//! barrier, and then looks at `sleeping`. So at least one of the two sees the other. Clearing is safe without one: the
//! reader takes the ring as empty only after it has consumed the record of the program that cleared it, which is
//! committed after that.

use core::arch::asm;

use aya_ebpf::{macros::map, maps::Array};
use sensor_common::{Control, MAPPABLE};

#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, MAPPABLE);

/// Has user space ended this?
#[inline(always)]
pub fn silenced() -> bool {
    match CONTROL.get_ptr(0) {
        // SAFETY: a live value of the map; user space stores the word whole.
        Some(control) => unsafe { (&raw const (*control).silenced).read_volatile() != 0 },
        None => false,
    }
}

/// Does the reader sleep, and is this the record that wakes it? To be asked after the record was reserved.
#[inline(always)]
pub fn must_wake() -> bool {
    full_barrier();
    let Some(control) = CONTROL.get_ptr_mut(0) else { return false };
    // SAFETY: a live value of the map; either side stores the word whole.
    unsafe {
        let sleeping = &raw mut (*control).sleeping;
        if sleeping.read_volatile() == 0 {
            return false;
        }
        // Later records need not wake it too.
        sleeping.write_volatile(0);
        true
    }
}

/// Everything before it is visible to others before anything after it is read.
///
/// x86-64: an atomic add is a locked instruction, also on memory of our own. arm64: the plain atomic add is no barrier
/// there (and the fetching one, which is, does not exist on 5.10); there the order comes from what surrounds it: the
/// producer's position is stored by a store-release, `bpf_ringbuf_query`, which `submit` calls in between, reads it by
/// a load-acquire, and these two are not reordered (RCsc). By the architecture's manual, not measured; the reader's
/// sleep is bounded for the case that it is wrong.
#[inline(always)]
fn full_barrier() {
    let mut own = 0u64;
    // SAFETY: adds to a word on the stack. The plain atomic add (BPF_XADD): see `stats::increment`.
    unsafe { asm!("lock *(u64 *)({own} + 0) += {zero}", own = in(reg) &raw mut own, zero = in(reg) 0u64) };
}
