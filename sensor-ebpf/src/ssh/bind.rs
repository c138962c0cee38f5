//! Whose connection a packet belongs to: the socket among the first descriptors of the process that encrypts or
//! decrypts it.
//!
//! Told by the first bytes that it decrypts, as `context` has it, if they came while the sensor was there. Else looked
//! for once per process: OpenSSH's serving processes and its client hold one connection. A socket that was seen to
//! begin with `SSH-` goes before any other (a standard input may be a socket too). A process without one (ProxyCommand:
//! it speaks over pipes) is remembered as such, so that a socket that it opens later for a forwarding is not taken for
//! it; its id is then its own.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns};
use sensor_common::{
    SERVED_FDS, Socket, program,
    ssh::{ConnectionOwner, direction, kind},
};

use super::{
    context,
    maps::{CONNECTIONS, PROCESSES, Process, THREADS, process_flag},
    memory::read,
};
use crate::{
    field::{Addr, at, pointer, value},
    maps::TRACKED,
    program_slot::ProgramSlot,
    served::connected_socket,
    stats::{Lost, Sent, count_result, reserve, submit, untracked, write_head},
    task, tcp,
};

/// A process and its connection.
#[derive(Clone, Copy)]
pub struct Owner {
    pub tgid: u32,
    pub start: u64,
    pub connection: u64,
    pub flags: u32,
}

/// The current process.
#[inline(always)]
pub fn owner() -> Option<Owner> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: copied out at once.
    if let Some(known) = unsafe { PROCESSES.get(tgid) } {
        return Some(Owner { tgid, start: known.start, connection: known.connection, flags: known.flags });
    }
    if bind(tgid) == 0 {
        return None;
    }
    // SAFETY: as above.
    let known = unsafe { PROCESSES.get(tgid) }?;
    Some(Owner { tgid, start: known.start, connection: known.connection, flags: known.flags })
}

/// Remembers something about a process's connection.
#[inline(always)]
pub fn set_flag(tgid: u32, flag: u32) {
    if let Some(process) = PROCESSES.get_ptr_mut(tgid) {
        // SAFETY: a live value of the map.
        unsafe { (*process).flags |= flag };
    }
}

/// The current process decrypts these bytes: if it is its first packet, the connection that carried them is its own,
/// also where it speaks over pipes.
#[inline(always)]
pub fn bind_by_first_ciphertext(tgid: u32, input: u64) {
    // SAFETY: only asked for.
    if unsafe { PROCESSES.get(tgid) }.is_some() {
        return;
    }
    let Some(first) = context::take_first(context::hash16(read(input).0), direction::IN as u32) else { return };
    let (_, start) = task::key(task::current());
    if start != 0 {
        remember(tgid, start, socket(first.key), first.connection, 0);
    }
}

/// The socket of a key of `CONNECTIONS`: that of a connection which another one carries is no address.
#[inline(always)]
pub fn socket(key: Addr) -> Addr {
    if (key as i64) < 0 { key } else { 0 }
}

#[inline(always)]
fn remember(tgid: u32, start: u64, sk: Addr, connection: u64, flags: u32) -> u32 {
    if PROCESSES.insert(tgid, Process { start, connection, flags, pad: 0 }, 0).is_err() {
        untracked(program::SSH_PACKET);
        return 0;
    }
    count_result(program::SSH_PACKET, ProgramSlot::First, tell(tgid, start, sk, connection, 0));
    1
}

/// Finds the connection of the current process and tells it. 0: who it is could not be read, or there was no room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn bind(tgid: u32) -> u32 {
    let current = task::current();
    let (_, start) = task::key(current);
    if start == 0 {
        return 0;
    }
    let sk = find_ssh_socket(current);
    // SAFETY: no arguments.
    let fresh = unsafe { bpf_ktime_get_boot_ns() };
    let mut connection = fresh;
    let mut flags = process_flag::NO_SOCKET;
    if sk != 0 {
        flags = 0;
        match tcp::tracked(sk) {
            Some((_, id)) => connection = id,
            None => {
                if TRACKED.insert(sk, fresh, 0).is_err() {
                    untracked(program::SSH_PACKET);
                }
            }
        }
    }
    remember(tgid, start, sk, connection, flags)
}

/// Says who speaks over which connection.
#[inline(always)]
pub fn tell(tgid: u32, start: u64, sk: Addr, connection: u64, flags: u32) -> Result<Sent, Lost> {
    let mut entry = reserve::<ConnectionOwner>()?;
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved record; every field is written, nothing fails before submit. Reading through 0 gives a socket
    // of zeroes.
    unsafe {
        write_head(&raw mut (*record).head, kind::BOUND, size_of::<ConnectionOwner>());
        (*record).start = start;
        (*record).tgid = tgid;
        (*record).flags = flags;
        let socket: *mut Socket = &raw mut (*record).socket;
        tcp::endpoints(sk, connection, socket);
    }
    submit(entry);
    Ok(Sent::Whole)
}

/// The socket of the task's SSH connection among its first descriptors; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_ssh_socket(task: Addr) -> Addr {
    let fdt = pointer(pointer(task, at!(task_files)), at!(files_fdt));
    let fds = pointer(fdt, at!(fdtable_fd));
    let limit = value::<u32>(fdt, at!(fdtable_max_fds));
    let mut first = 0;
    for fd in 0..SERVED_FDS {
        if fd >= limit {
            break;
        }
        let file = pointer(fds, fd * 8);
        if file != 0
            && let Some(sk) = connected_socket(file)
        {
            // SAFETY: the result is only tested.
            if unsafe { CONNECTIONS.get(sk) }.is_some() {
                return sk;
            }
            if first == 0 {
                first = sk;
            }
        }
    }
    first
}

/// A thread is gone.
#[inline(always)]
pub fn thread_ends(id: u64) {
    let _ = THREADS.remove(id);
}

/// A process is gone.
#[inline(always)]
pub fn process_ends(tgid: u32) {
    let _ = PROCESSES.remove(tgid);
}
