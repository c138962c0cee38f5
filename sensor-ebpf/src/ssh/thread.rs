//! What the current thread is in the middle of: a call of the cipher function that has not returned.
//!
//! Only the thread itself reads and writes its entry; it is gone when the thread exits (`teardown`).

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use sensor_common::ssh_map::{Thread, ThreadId, expects};

use super::maps::THREADS;
use crate::shared::{get, set};

#[inline(always)]
pub fn id() -> ThreadId {
    ThreadId { pid_tgid: bpf_get_current_pid_tgid() }
}

#[inline(always)]
pub fn known(id: ThreadId) -> Option<*mut Thread> {
    THREADS.get_ptr_mut(id)
}

/// None: no room.
#[inline(always)]
pub fn entry(id: ThreadId) -> Option<*mut Thread> {
    if let Some(thread) = known(id) {
        return Some(thread);
    }
    let fresh = Thread { context: 0, out: 0, input: 0, len: 0, expects: 0, rest: 0, block: 0, block_context: 0 };
    THREADS.insert(id, fresh, 0).ok()?;
    known(id)
}

/// What is expected after the call; nothing from here on.
///
/// # Safety
/// `thread` is a live value of the map.
#[inline(always)]
pub unsafe fn take_expected(thread: *mut Thread) -> u32 {
    // SAFETY: the caller's promise.
    unsafe {
        let expected = get!(thread.expects);
        set!(thread.expects = expects::NOTHING);
        expected
    }
}
