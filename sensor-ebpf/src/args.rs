//! The argument vector of a new process image.
//!
//! At sched_process_exec it lies contiguous, NUL-separated, between `mm->arg_start` and `arg_end`, written by the
//! kernel a moment ago: one copy, no race with the program. `bpf_probe_read_user` does not fault pages in and fails as
//! a whole, so long vectors are read page by page; a page that is not there is counted in the missing length, never
//! guessed.

use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_user};
use sensor_common::{ARGS_CHUNK, ARGS_CHUNKS_MAX, ARGS_INLINE, ARGS_MAX, Args, Head, VERSION, kind, program};

use crate::{
    field::{Addr, at, pointer, value},
    program_slot::ProgramSlot,
    stats::{Lost, Sent, count_result, reserve, submit},
};

const PAGE: u64 = ARGS_CHUNK as u64;

/// Where argv lies.
#[derive(Clone, Copy)]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

impl Span {
    #[inline(always)]
    pub fn of(task: Addr) -> Self {
        let mm = pointer(task, at!(task_mm));
        Self { start: value(mm, at!(mm_arg_start)), end: value(mm, at!(mm_arg_end)) }
    }

    #[inline(always)]
    pub fn total(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    #[inline(always)]
    pub fn is_short(self) -> bool {
        self.total() <= ARGS_INLINE as u64
    }
}

/// Copies a short vector to `to` (`ARGS_INLINE` bytes). Returns the bytes copied: all or none.
#[inline(always)]
pub fn copy_short(span: Span, to: *mut u8) -> u32 {
    let total = span.total();
    if total == 0 || total > ARGS_INLINE as u64 {
        return 0;
    }
    // 0 < len <= ARGS_INLINE once more, on the register that the helper gets.
    let len = (total as u32).min(ARGS_INLINE as u32);
    // SAFETY: `to` has room for len bytes; the helper checks the source.
    if unsafe { bpf_probe_read_user(to.cast(), len, span.start as *const _) } == 0 { len } else { 0 }
}

/// Sends a long vector in pieces, ahead of the `Exec` record that names the same time. Returns the bytes sent.
///
/// A global function: the verifier checks it once, by itself, and the ways through it do not multiply with the
/// caller's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn send_long(start: u64, end: u64, tgid: u32, exec_time: u64) -> u32 {
    let span = Span { start, end };
    let end = span.end.min(span.start + ARGS_MAX as u64);
    let first_page = span.start & !(PAGE - 1);
    let mut sent = 0;
    for i in 0..ARGS_CHUNKS_MAX {
        let page = first_page + i as u64 * PAGE;
        let from = page.max(span.start);
        let to = (page + PAGE).min(end);
        if from >= to {
            break;
        }
        let offset = (from - span.start) as u32;
        match send_piece(from, to - from, offset, tgid, exec_time) {
            Ok(len) => {
                count_result(program::ARGS, ProgramSlot::First, Ok(Sent::Whole));
                sent += len;
            }
            Err(lost) => count_result(program::ARGS, ProgramSlot::First, Err(lost)),
        }
    }
    sent
}

#[inline(always)]
fn send_piece(from: u64, len: u64, offset: u32, tgid: u32, exec_time: u64) -> Result<u32, Lost> {
    let mut entry = reserve::<Args>()?;
    let piece = entry.as_mut_ptr();
    // 1..=PAGE, in a form that every verifier follows.
    let len = ((len - 1) & (PAGE - 1)) as u32 + 1;
    // SAFETY: the entry is ours until submitted or discarded and has room for PAGE bytes of data; the helper checks the
    // source.
    let copied = unsafe { bpf_probe_read_user((&raw mut (*piece).data).cast(), len, from as *const _) };
    if copied != 0 {
        entry.discard(0);
        return Err(Lost::Unreadable);
    }
    // SAFETY: every field of the reserved record but the unused end of `data` is written, through raw pointers into it.
    unsafe {
        (&raw mut (*piece).head).write(Head {
            kind: kind::ARGS,
            version: VERSION,
            size: size_of::<Args>() as u32,
            time: bpf_ktime_get_boot_ns(),
        });
        (*piece).exec_time = exec_time;
        (*piece).tgid = tgid;
        (*piece).offset = offset;
        (*piece).len = len;
        (*piece).pad = 0;
    }
    submit(entry);
    Ok(len)
}
