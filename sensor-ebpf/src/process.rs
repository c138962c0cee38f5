//! fork and exit of processes, not of threads.
//!
//! Raw tracepoints `sched_process_fork(parent, child)` and `sched_process_exit(task)`; both fire for threads too. A
//! child is a process if it leads its own group; fork is reported before the child is woken, so it precedes all that
//! the child does. A process ends when its last thread does: `signal->live` is 0 then. Two last threads can both see 0:
//! the loader takes the first.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_common::{Exit, Fork, kind, map::Tgid, program};

use crate::{
    control,
    field::{Addr, at, pointer, read, value},
    maps::LISTENERS,
    program_slot::{ProgramSlot, dedup_key},
    served, ssh,
    stats::{Lost, Sent, count_ignored, count_result, reserve, submit, write_head},
    task,
};

const SIGNAL_GROUP_EXIT: u32 = 4;

/// Marks of one task: each of these happens to it once.
const FORKED: u64 = 1;
const EXITED: u64 = 2;

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork(ctx: RawTracePointContext) -> i32 {
    if control::silenced() {
        return 0;
    }
    on_fork(&ctx, ProgramSlot::First)
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork_again(ctx: RawTracePointContext) -> i32 {
    if control::silenced() {
        return 0;
    }
    on_fork(&ctx, ProgramSlot::Second)
}

#[inline(always)]
fn on_fork(ctx: &RawTracePointContext, slot: ProgramSlot) -> i32 {
    let (parent, child) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    if slot.takes_of_task(dedup_key(child, FORKED)) {
        if value::<u32>(child, at!(task_tgid)) == value::<u32>(child, at!(task_pid)) {
            count_result(program::FORK, slot, forked(parent, child));
        } else {
            count_ignored(program::FORK, slot); // a thread
        }
    }
    0
}

#[inline(always)]
fn forked(parent: Addr, child: Addr) -> Result<Sent, Lost> {
    let key = task::known_key(child)?;
    let (creator_tgid, creator_start) = task::known_key(parent)?;
    let listens = LISTENERS.get_ptr(Tgid { tgid: creator_tgid }).is_some();
    let served = if listens { served::find_served(child, program::FORK) } else { 0 };
    let mut entry = reserve::<Fork>()?;
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved record; every field is written, nothing fails before submit.
    unsafe {
        write_head(&raw mut (*record).head, kind::FORK, size_of::<Fork>());
        task::describe(child, key, &raw mut (*record).task);
        (*record).creator_start = creator_start;
        (*record).creator_tgid = creator_tgid;
        (*record).pad = 0;
        served::write(served, &raw mut (*record).served);
    }
    submit(entry);
    Ok(Sent::Whole)
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit(ctx: RawTracePointContext) -> i32 {
    if control::silenced() {
        return 0;
    }
    on_exit(&ctx, ProgramSlot::First)
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit_again(ctx: RawTracePointContext) -> i32 {
    if control::silenced() {
        return 0;
    }
    on_exit(&ctx, ProgramSlot::Second)
}

#[inline(always)]
fn on_exit(ctx: &RawTracePointContext, slot: ProgramSlot) -> i32 {
    let task = ctx.arg::<u64>(0);
    let signal = pointer(task, at!(task_signal));
    if slot.takes_of_task(dedup_key(task, EXITED)) {
        ssh::thread_ends(bpf_get_current_pid_tgid());
        if value::<u32>(signal, at!(signal_live)) == 0 {
            count_result(program::EXIT, slot, exited(task, signal));
        } else {
            count_ignored(program::EXIT, slot); // other threads go on
        }
    }
    0
}

/// The status as wait(2) would report it: the group's if one was set, else the leader's own.
#[inline(always)]
fn status(task: Addr, signal: Addr) -> (u32, u32) {
    if value::<u32>(signal, at!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
        read(signal, at!(signal_group_exit_code))
    } else {
        read(pointer(task, at!(task_group_leader)), at!(task_exit_code))
    }
}

#[inline(always)]
fn exited(task: Addr, signal: Addr) -> Result<Sent, Lost> {
    let key = task::known_key(task)?;
    let _ = LISTENERS.remove(Tgid { tgid: key.0 });
    ssh::process_ends(key.0);
    let (status, readable) = status(task, signal);
    if readable == 0 {
        return Err(Lost::Unreadable);
    }
    let mut entry = reserve::<Exit>()?;
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved record; every field is written, nothing fails before submit.
    unsafe {
        write_head(&raw mut (*record).head, kind::EXIT, size_of::<Exit>());
        task::describe(task, key, &raw mut (*record).task);
        (*record).status = status;
        (*record).pad = 0;
    }
    submit(entry);
    Ok(Sent::Whole)
}
