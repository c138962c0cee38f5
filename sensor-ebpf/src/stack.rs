//! The stack of a uprobe's program is its task's, not one that all tasks on a CPU share.
//!
//! Since 6.13 the kernel gives programs of this type (kprobe) one stack per CPU, because it never lets the program of a
//! kprobe interrupt itself. That of a uprobe it does: where the kernel can be preempted (from 7.0 on everywhere)
//! another task comes to the same place on the same CPU, and the first goes on with what the second left on the stack.
//! *Measured* on 7.3, under load: one packet in some hundreds lost the proof of its direction; it could have been told
//! of another connection. A program with a tail call in it keeps to the task's stack. So every uprobe's program has
//! one, and `tests/tests/layers.rs` looks whether it has. Nothing is there to be called: the call fails and returns. On
//! 5.10 to 5.17 the verifier takes it beside functions on x86-64 only.

use aya_ebpf::{macros::map, maps::ProgramArray, programs::ProbeContext};

/// Empty for ever.
#[map]
static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Must be somewhere in the program, best where it seldom passes; inlined, so that it is in the program itself.
#[inline(always)]
pub fn keep_own(context: &ProbeContext) {
    // SAFETY: there is no program to go to.
    unsafe { NOWHERE.tail_call(context, 0) };
}
