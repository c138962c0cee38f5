//! Who a task is: identity, credentials, audit identity, namespaces.
//!
//! Everything comes from the task itself at BTF offsets, so it is right for any task and not only for the current one.
//! tgid and start time are the identity and must be readable; each other field is left out, with its validity bit,
//! where it is not.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_task, bpf_probe_read_kernel};
use sensor_common::{Task, valid};

use crate::{
    field::{Addr, address, at, pointer, read, value},
    stats::Lost,
};

/// Index of the POSIX session in `signal_struct::pids` (enum pid_type: PID, TGID, PGID, SID; since 4.19).
const PIDTYPE_SID: u64 = 3;
/// Size of `struct upid`: int and pointer.
const UPID_BYTES: u64 = 16;

#[inline(always)]
pub fn current() -> Addr {
    // SAFETY: no arguments; returns the current task's address.
    unsafe { bpf_get_current_task() }
}

/// The thread group and the start of its leader; start 0 if unreadable.
#[inline(always)]
pub fn key(task: Addr) -> (u32, u64) {
    (value(task, at!(task_tgid)), value(pointer(task, at!(task_group_leader)), at!(task_start_boottime)))
}

/// The identity without which an event is worth nothing.
#[inline(always)]
pub fn known_key(task: Addr) -> Result<(u32, u64), Lost> {
    let key = key(task);
    if key.1 == 0 { Err(Lost::Unreadable) } else { Ok(key) }
}

#[inline(always)]
fn session_leader(task: Addr) -> (u32, u32) {
    let pids = address(pointer(task, at!(task_signal)), at!(signal_pids));
    let pid = pointer(pids, (PIDTYPE_SID * 8) as u32);
    // numbers[0] is the number in the initial namespace.
    read(address(pid, at!(pid_numbers)), at!(upid_nr))
}

#[inline(always)]
fn mount_namespace(task: Addr) -> (u32, u32) {
    read(pointer(pointer(task, at!(task_nsproxy)), at!(nsproxy_mnt_ns)), at!(mnt_namespace_ns_inum))
}

#[inline(always)]
fn pid_namespace(task: Addr) -> (u32, u32) {
    let pid = pointer(task, at!(task_thread_pid));
    let level = value::<u32>(pid, at!(pid_level)) & 31;
    let upid = address(pid, at!(pid_numbers)) + level as u64 * UPID_BYTES;
    read(pointer(upid, at!(upid_ns)), at!(pid_namespace_ns_inum))
}

/// Describes a task whose key is known, in place. Infallible: what cannot be read is 0 with its validity bit clear.
///
/// # Safety
/// `out` points at room for a `Task`.
#[inline(always)]
pub unsafe fn describe(task: Addr, (tgid, start): (u32, u64), out: *mut Task) {
    let mut valid = valid::START | valid::CGROUP;
    /// Writes a value and, if it could be read, its validity bit.
    macro_rules! store {
        ($bit:ident, $field:ident, $value:expr) => {
            let (value, readable) = $value;
            (*out).$field = value;
            valid |= valid::$bit & readable;
        };
    }
    // SAFETY: the caller's promise. Every field is written.
    unsafe {
        (*out).tgid = tgid;
        (*out).start = start;
        (*out).tid = value(task, at!(task_pid));
        // The current task's: a child of fork starts in its parent's, but for CLONE_INTO_CGROUP.
        (*out).cgroup = bpf_get_current_cgroup_id();
        (*out).pad = 0;
        let parent = pointer(task, at!(task_real_parent));
        store!(PARENT, parent_tgid, read(parent, at!(task_tgid)));
        (*out).parent_start = value(pointer(parent, at!(task_group_leader)), at!(task_start_boottime));
        let cred = pointer(task, at!(task_cred));
        store!(CRED, uid, read(cred, at!(cred_uid)));
        (*out).gid = value(cred, at!(cred_gid));
        (*out).euid = value(cred, at!(cred_euid));
        (*out).egid = value(cred, at!(cred_egid));
        store!(LOGINUID, loginuid, read(task, at!(task_loginuid)));
        store!(AUDIT_SESSION, audit_session, read(task, at!(task_sessionid)));
        store!(SID, sid, session_leader(task));
        store!(MNT_NS, mnt_ns, mount_namespace(task));
        store!(PID_NS, pid_ns, pid_namespace(task));
        // Not through a variable: 16 bytes of stack less.
        let comm = address(task, at!(task_comm));
        let result = bpf_probe_read_kernel((&raw mut (*out).comm).cast(), 16, comm as *const _);
        valid |= valid::COMM & !((result >> 63) as u32);
        (*out).valid = valid;
    }
}
