//! The kernel half of `sensor`.
//!
//! What enters: scheduler tracepoints, TCP state changes and connect(2) of every task; the clear phase of SSH
//! connections and, from the programs that speak SSH, their packets. What leaves: the records of `sensor-common`,
//! through one ring buffer, and counters that account for each of them. Only hooks that keep their shape from 5.8 to
//! today and cost nothing to tasks that do not use them: raw tracepoints and cgroup socket-address programs. No syscall
//! tracepoint, kprobe, fentry or return probe. Failure: a record that finds no room is counted and gone; nothing waits,
//! nothing faults.
#![no_std]
#![no_main]
// Inline assembly for BPF is not stable yet: one instruction in stats.rs.
#![feature(asm_experimental_arch)]

mod args;
mod connect;
mod control;
mod exec;
mod field;
mod log;
mod maps;
mod path;
mod process;
mod program_slot;
mod served;
mod shared;
mod socket;
mod ssh;
mod stack;
mod stats;
mod task;
mod tcp;

// The ring buffer's readers ask for a licence that is compatible with the GPL.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier rejects an object in which this can be reached.
    loop {}
}
