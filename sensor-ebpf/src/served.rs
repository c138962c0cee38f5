//! The TCP connection that a process serves: accept(2) has no stable hook that is free for everybody else, so the first
//! descriptors are searched when a process begins (exec; fork of a listening process).
//!
//! Each candidate proves itself by back pointers (socket.file == file, sk.sk_socket == socket), so no function table
//! has to be known. The connection found is tracked from then on: its end will be reported.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use sensor_common::{SERVED_FDS, Socket};

use crate::{
    field::{Addr, at, pointer, value},
    socket,
    stats::untracked,
};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// The TCP socket behind a file, if it is a connected one.
#[inline(always)]
pub fn connected_socket(file: Addr) -> Option<Addr> {
    if value::<u16>(pointer(file, at!(file_inode)), at!(inode_mode)) & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket = pointer(file, at!(file_private_data));
    let sk = pointer(socket, at!(socket_sk));
    // Differences are 0 where the pointers lead back; one branch for all.
    let strange = (pointer(socket, at!(socket_file)) ^ file) | (pointer(sk, at!(sock_socket)) ^ socket);
    if strange == 0 && socket::is_connected(sk) { Some(sk) } else { None }
}

/// The first connected TCP socket among the task's descriptors, tracked from now on; 0 if there is none.
///
/// A global function: the verifier checks it once, by itself, and the ways through it do not multiply with the
/// caller's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_served(task: Addr, row: u32) -> Addr {
    let fdt = pointer(pointer(task, at!(task_files)), at!(files_fdt));
    let fds = pointer(fdt, at!(fdtable_fd));
    let limit = value::<u32>(fdt, at!(fdtable_max_fds));
    for fd in 0..SERVED_FDS {
        if fd >= limit {
            break;
        }
        let file = pointer(fds, fd * 8);
        if file != 0
            && let Some(sk) = connected_socket(file)
        {
            if socket::tracked(sk).is_none() {
                // SAFETY: no arguments.
                let id = unsafe { bpf_ktime_get_boot_ns() };
                if !socket::track(sk, id) {
                    untracked(row);
                }
            }
            return sk;
        }
    }
    0
}

/// Writes the connection, or that there is none (family 0), in place.
///
/// # Safety
/// `out` points at room for a `Socket`.
#[inline(always)]
pub unsafe fn write(sk: Addr, out: *mut Socket) {
    // An untracked one (the map is full) has no id, but it is served all the same.
    let id = if sk == 0 { 0 } else { socket::tracked(sk).map_or(0, |(_, id)| id) };
    // SAFETY: the caller's promise. Reading through 0 gives a socket of zeroes.
    unsafe { socket::endpoints(sk, id, out) };
}
