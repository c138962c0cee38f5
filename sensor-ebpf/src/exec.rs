//! exec: raw tracepoint `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
//!
//! Runs in the task, after the new image is in place: `mm` holds the final argv, `mm->exe_file` the program (the
//! interpreter, for a script). A thread that is not the leader takes over its group's tgid before this point, so the
//! identity stays; `old_pid` is the tid it had.

use aya_ebpf::{helpers::generated::bpf_ktime_get_boot_ns, macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_common::{ARGS_MAX, Exec, Head, VERSION, exec_flag, kind, program};

use crate::{
    args::{self, Span},
    control,
    field::{Addr, address, at, pointer, read, value},
    path::{self, Place},
    program_slot::{ProgramSlot, dedup_key},
    served,
    stats::{Lost, Sent, count_result, reserve, submit},
    task,
};

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec(ctx: RawTracePointContext) -> i32 {
    if control::silenced() {
        return 0;
    }
    executed(&ctx, ProgramSlot::First)
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec_again(ctx: RawTracePointContext) -> i32 {
    if control::silenced() {
        return 0;
    }
    executed(&ctx, ProgramSlot::Second)
}

#[inline(always)]
fn executed(ctx: &RawTracePointContext, slot: ProgramSlot) -> i32 {
    let task = ctx.arg::<u64>(0);
    // Each exec has an address space of its own.
    if slot.takes_of_task(dedup_key(task, pointer(task, at!(task_mm)))) {
        count_result(program::EXEC, slot, observe(task, ctx.arg::<u32>(1), ctx.arg::<u64>(2)));
    }
    0
}

/// All that a number below 10^9 needs.
const NANOSECONDS: u32 = (1 << 30) - 1;
/// `s_magic` of overlayfs.
const OVERLAYFS: u64 = 0x794c_7630;

/// Writes what says which content the inode has, and whose it is: read here, so that user space need not ask a file
/// system that may not answer. Returns its flags.
///
/// # Safety
/// `record` points at room for an `Exec`.
#[inline(always)]
unsafe fn write_stamp(inode: Addr, record: *mut Exec) -> u32 {
    // SAFETY: the caller's promise. Every field is written.
    unsafe {
        let (size, sized) = read(inode, at!(inode_size));
        let (sec, changed) = read(inode, at!(inode_ctime_sec));
        let (generation, known) = read(inode, at!(inode_generation));
        (*record).size = size;
        (*record).ctime_sec = sec;
        // A long where it is part of a timespec64; its lower half comes first. Since 6.13 the highest bit says whether
        // somebody asked for it (I_CTIME_QUERIED).
        (*record).ctime_nsec = value::<u32>(inode, at!(inode_ctime_nsec)) & NANOSECONDS;
        (*record).generation = generation;
        (*record).nlink = value(inode, at!(inode_nlink));
        (*record).owner = value(inode, at!(inode_uid));
        (*record).mode = value::<u16>(inode, at!(inode_mode)) as u32;
        (*record).pad = 0;
        let magic = value::<u64>(pointer(inode, at!(inode_sb)), at!(super_magic));
        (exec_flag::STAMP & sized & changed & known) | if magic == OVERLAYFS { exec_flag::OVERLAY } else { 0 }
    }
}

#[inline(always)]
fn observe(current: Addr, old_tid: u32, bprm: Addr) -> Result<Sent, Lost> {
    let key = task::known_key(current)?;
    // SAFETY: no arguments.
    let time = unsafe { bpf_ktime_get_boot_ns() };
    let span = Span::of(current);
    let copied = if span.is_short() { 0 } else { args::send_long(span.start, span.end, key.0, time) };
    let served = served::find_served(current, program::EXEC);
    let fs = pointer(current, at!(task_fs));
    let root = Place::read(address(fs, at!(fs_root)));
    let cwd = Place::read(address(fs, at!(fs_pwd)));
    let exe_file = pointer(pointer(current, at!(task_mm)), at!(mm_exe_file));
    let exe = Place::read(address(exe_file, at!(file_path)));

    let mut entry = reserve::<Exec>()?;
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is a reserved record of this size. From here to submit nothing can fail, and every field is
    // written but the unused ends of `paths` and `args`, whose lengths say what is valid.
    unsafe {
        (&raw mut (*record).head).write(Head {
            kind: kind::EXEC,
            version: VERSION,
            size: size_of::<Exec>() as u32,
            time,
        });
        task::describe(current, key, &raw mut (*record).task);
        served::write(served, &raw mut (*record).served);
        let inode = pointer(exe_file, at!(file_inode));
        let (ino, readable) = read(inode, at!(inode_ino));
        (*record).inode = ino;
        (*record).dev = value(pointer(inode, at!(inode_sb)), at!(super_dev));
        let stamp = write_stamp(inode, record);
        (*record).flags = exec_flag::ARGS
            | stamp
            | (exec_flag::INODE & readable)
            | if exe_file == 0 { 0 } else { exec_flag::EXE }
            | if fs == 0 { 0 } else { exec_flag::CWD }
            | if old_tid == key.0 { 0 } else { exec_flag::OTHER_THREAD };
        (*record).argc = value(bprm, at!(bprm_argc));
        (*record).old_tid = old_tid;
        (*record).args_total = span.total() as u32;
        (*record).args_copied = copied;
        if span.is_short() {
            (*record).args_copied = args::copy_short(span, (&raw mut (*record).args).cast());
        }
        let paths = (&raw mut (*record).paths).cast::<u8>();
        let (exe_bytes, cwd_bytes) = (&raw mut (*record).exe_bytes, &raw mut (*record).cwd_bytes);
        let flags = &raw mut (*record).flags;
        if !path::write(paths, core::ptr::null(), exe_bytes, exe, root) {
            flags.write_volatile(flags.read_volatile() | exec_flag::EXE_CUT);
        }
        if !path::write(paths, exe_bytes, cwd_bytes, cwd, root) {
            flags.write_volatile(flags.read_volatile() | exec_flag::CWD_CUT);
        }
        let cut = flags.read_volatile() & (exec_flag::EXE_CUT | exec_flag::CWD_CUT) != 0;
        submit(entry);
        Ok(if cut || span.total() > ARGS_MAX as u64 { Sent::Truncated } else { Sent::Whole })
    }
}
