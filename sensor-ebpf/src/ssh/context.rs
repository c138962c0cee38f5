//! Which connection a cipher context of a library belongs to: told by the bytes themselves.
//!
//! A program may have many connections, in any number of threads, over sockets, pipes or another connection's channel,
//! so neither the process nor the thread says which. A context whose first bytes are the first of a connection
//! (`first`) is bound to that connection and direction until its socket closes or its keys are replaced.
//!
//! Python's cryptography makes a new context for every packet of AES-GCM (and asyncssh for chacha20): such a packet
//! belongs to the process's only connection, or is not told.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use sensor_common::{
    map::Tgid,
    program,
    ssh::bound_flag,
    ssh_map::{CiphertextHash, ConnectionKey, ContextKey, Process, Rekey, Rekeyed, process_flag},
};

use super::{
    connection, first,
    maps::{BLANK, CONTEXTS, PROCESSES, REKEYED},
    openssl,
    owner::{self, Owner},
};
use crate::{
    field::Addr,
    log,
    program_slot::ProgramSlot,
    shared::{get, set},
    stats::{count_result, untracked},
    task,
};

pub fn key(address: u64) -> ContextKey {
    ContextKey { address, tgid: (bpf_get_current_pid_tgid() >> 32) as u32, pad: 0 }
}

/// The connection of a bound context of the current process.
#[inline(always)]
pub fn owner(address: u64) -> Option<Owner> {
    let key = key(address);
    let context = CONTEXTS.get_ptr(key)?;
    // SAFETY: a live value of the map; numbers are copied out at once.
    unsafe {
        Some(Owner {
            tgid: key.tgid,
            start: get!(context.start),
            connection: get!(context.connection),
            flags: get!(context.flags),
        })
    }
}

/// Where the rest of the packet at hand lies whose first block the context has; 0: it does not know.
#[inline(always)]
pub fn rest(address: u64) -> u64 {
    // SAFETY: a live value of the map; a number is copied out at once.
    CONTEXTS.get_ptr(key(address)).map_or(0, |context| unsafe { get!(context.rest) })
}

#[inline(always)]
pub fn set_flag(address: u64, flag: u32) {
    if let Some(context) = CONTEXTS.get_ptr_mut(key(address)) {
        // SAFETY: a live value of the map that only one thread uses.
        unsafe { set!(context.flags = get!(context.flags) | flag) };
    }
}

/// Binds a context to the connection whose first bytes these are, if they are in this direction. True: there is one.
/// `how`: `KEEPS`, or the context is for this packet, and only its process is told to speak over that connection;
/// `READABLE`.
#[inline(always)]
pub fn bind_first(address: u64, bytes: CiphertextHash, direction: u32, how: u32) -> bool {
    let Some(first) = first::take(bytes, direction) else { return false };
    bind_context(address, first.connection, first.key.place, direction | how) != 0
}

/// Binds a context to the connection of this process whose keys were replaced in this direction.
#[inline(always)]
pub fn bind_rekeyed(address: u64, direction: u32) -> bool {
    let key = rekey_key(direction);
    let Some(rekeyed) = REKEYED.get_ptr(key) else { return false };
    // SAFETY: a live value of the map, copied out at once.
    let connection = unsafe { get!(rekeyed.connection) };
    let _ = REKEYED.remove(key);
    connection != 0 && bind_context(address, connection, 0, direction | KEEPS) != 0
}

#[inline(always)]
fn rekey_key(direction: u32) -> Rekey {
    Rekey { tgid: (bpf_get_current_pid_tgid() >> 32) as u32, direction }
}

/// The keys of a context's direction are replaced: it has done its work.
#[inline(always)]
pub fn rekeyed(address: u64, connection: u64, direction: u32) {
    let key = rekey_key(direction);
    let other = REKEYED.get_ptr(key).is_some();
    if REKEYED.insert(key, Rekeyed { connection: if other { 0 } else { connection } }, 0).is_err() {
        untracked(program::SSH_PACKET);
    }
    let _ = CONTEXTS.remove(self::key(address));
}

/// `how` of `bind_context`, beside the direction: the context lives as long as its keys; packets of such contexts can
/// be read.
pub const KEEPS: u32 = 2;
pub const READABLE: u32 = 4;

/// `known_as`: the place of the connection's key; 0 where that knows the context's predecessor. Returns 0 where there
/// was no room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn bind_context(address: u64, connection: u64, known_as: Addr, how: u32) -> u32 {
    let key = key(address);
    let direction = how & 1;
    let (_, start) = task::key(task::current());
    // A context that lives for one packet: its address is another's with the next one. What it was is known of the
    // process alone.
    let entered = how & KEEPS == 0 || enter(key, connection, start, direction);
    if !entered {
        untracked(program::SSH_PACKET);
        return 0;
    }
    log::context_bound(address, connection, how);
    let mut flags = 0;
    let owner = Tgid { tgid: key.tgid };
    match PROCESSES.get_ptr_mut(owner) {
        // SAFETY: a live value of the map. Two threads that set a flag at once may lose one: the other is set again
        // by the next context, or was set by the packet before.
        Some(process) => unsafe {
            if get!(process.connection) != connection {
                set!(process.flags = get!(process.flags) | process_flag::MANY);
                if how & KEEPS == 0 {
                    flags = bound_flag::MIXED;
                }
            }
        },
        None => {
            let _ = PROCESSES.insert(owner, Process { start, connection, flags: process_flag::LIBRARY, pad: 0 }, 0);
        }
    }
    let known_as = ConnectionKey { place: known_as };
    // Before its first packet: it is one that can be read.
    if connection::set_context(known_as, direction, key) && how & READABLE != 0 {
        let emitted = owner::emit(key.tgid, start, connection::socket(known_as), connection, flags);
        count_result(program::SSH_PACKET, ProgramSlot::First, emitted);
    }
    1
}

#[inline(always)]
fn enter(key: ContextKey, connection: u64, start: u64, direction: u32) -> bool {
    // No program writes it.
    let Some(blank) = BLANK.get(0) else { return false };
    if CONTEXTS.insert(key, blank, 0).is_err() {
        return false;
    }
    let Some(context) = CONTEXTS.get_ptr_mut(key) else { return false };
    // SAFETY: a live value of the map that only this thread uses.
    unsafe {
        set!(context.connection = connection);
        set!(context.start = start);
        set!(context.direction = direction);
        let whole = openssl::nid(key.address) == openssl::NID_CHACHA20;
        set!(context.flags = if whole { process_flag::WHOLE } else { 0 });
    }
    true
}
