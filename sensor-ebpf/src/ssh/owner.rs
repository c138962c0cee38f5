//! Whose connection a packet belongs to: the socket among the first descriptors of the process that encrypts or
//! decrypts it.
//!
//! Known by the first bytes that it decrypts, as `first` has it, if they came while the sensor was there. Else looked
//! for once per process: OpenSSH's serving processes and its client hold one connection. A socket that was seen to
//! begin with `SSH-` goes before any other (a standard input may be a socket too). A process without one (ProxyCommand:
//! it speaks over pipes) is remembered as such, so that a socket that it opens later for a forwarding is not taken for
//! it; its id is then its own.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns};
use sensor_common::{
    SERVED_FDS,
    map::Tgid,
    program,
    ssh::{ConnectionOwner, direction, kind},
    ssh_map::{ConnectionKey, Process, process_flag},
};

use super::{connection, first, maps::PROCESSES, memory::read};
use crate::{
    field::{Addr, at, pointer, value},
    log,
    program_slot::ProgramSlot,
    served::connected_socket,
    shared::{get, set},
    socket,
    stats::{Lost, Sent, count_result, reserve, submit, untracked, write_head},
    task,
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
pub fn current() -> Option<Owner> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(known) = PROCESSES.get_ptr(Tgid { tgid }) {
        return Some(of(tgid, known));
    }
    if bind(tgid) == 0 {
        return None;
    }
    PROCESSES.get_ptr(Tgid { tgid }).map(|known| of(tgid, known))
}

#[inline(always)]
fn of(tgid: u32, known: *const Process) -> Owner {
    // SAFETY: callers pass a live value of the map; numbers are copied out at once.
    unsafe { Owner { tgid, start: get!(known.start), connection: get!(known.connection), flags: get!(known.flags) } }
}

/// Has this process spoken over one connection only, through a library? Then what cannot be told apart is that one's.
#[inline(always)]
pub fn is_sole() -> bool {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let (both, library) = (process_flag::LIBRARY | process_flag::MANY, process_flag::LIBRARY);
    // SAFETY: a live value of the map; a number is copied out at once.
    PROCESSES.get_ptr(Tgid { tgid }).is_some_and(|process| unsafe { get!(process.flags) & both == library })
}

/// Remembers something about a process's connection.
#[inline(always)]
pub fn set_flag(tgid: u32, flag: u32) {
    if let Some(process) = PROCESSES.get_ptr_mut(Tgid { tgid }) {
        // SAFETY: a live value of the map. Two threads that set a flag at once may lose one.
        unsafe { set!(process.flags = get!(process.flags) | flag) };
    }
}

/// The current process decrypts these bytes: if it is its first packet, the connection that carried them is its own,
/// also where it speaks over pipes.
#[inline(always)]
pub fn bind_by_first_ciphertext(tgid: u32, input: u64) {
    if PROCESSES.get_ptr(Tgid { tgid }).is_some() {
        return;
    }
    let Some(first) = first::take(first::hash16(read(input).0), direction::IN as u32) else { return };
    let (_, start) = task::key(task::current());
    if start != 0 {
        log::bound_by_ciphertext(tgid, first.connection);
        remember(tgid, start, connection::socket(first.key), first.connection, 0);
    }
}

#[inline(always)]
fn remember(tgid: u32, start: u64, sk: Addr, connection: u64, flags: u32) -> u32 {
    if PROCESSES.insert(Tgid { tgid }, Process { start, connection, flags, pad: 0 }, 0).is_err() {
        untracked(program::SSH_PACKET);
        return 0;
    }
    count_result(program::SSH_PACKET, ProgramSlot::First, emit(tgid, start, sk, connection, 0));
    1
}

/// Finds the connection of the current process and emits it. 0: who it is could not be read, or there was no room.
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
        match socket::tracked(sk) {
            Some((_, id)) => connection = id,
            None => {
                if !socket::track(sk, fresh) {
                    untracked(program::SSH_PACKET);
                }
            }
        }
    }
    if sk != 0 {
        log::bound_by_descriptor(tgid, connection);
    } else {
        log::bound_without_socket(tgid, connection);
    }
    remember(tgid, start, sk, connection, flags)
}

/// Says who speaks over which connection.
#[inline(always)]
pub fn emit(tgid: u32, start: u64, sk: Addr, connection: u64, flags: u32) -> Result<Sent, Lost> {
    let mut entry = reserve::<ConnectionOwner>()?;
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved record; every field is written, nothing fails before submit. Reading through 0 gives a socket
    // of zeroes.
    unsafe {
        write_head(&raw mut (*record).head, kind::BOUND, size_of::<ConnectionOwner>());
        (*record).start = start;
        (*record).tgid = tgid;
        (*record).flags = flags;
        socket::endpoints(sk, connection, &raw mut (*record).socket);
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
            if connection::is_followed(ConnectionKey { place: sk }) {
                return sk;
            }
            if first == 0 {
                first = sk;
            }
        }
    }
    first
}
