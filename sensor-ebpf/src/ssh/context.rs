//! Which connection a cipher context of a library belongs to: told by the bytes themselves.
//!
//! A program may have many connections, in any number of threads, over sockets, pipes or another connection's channel,
//! so neither the process nor the thread says which. But what a context encrypts first is what the connection carries
//! first after NEWKEYS, and what it decrypts first was carried there: `clear` remembers 16 of those bytes of each
//! direction, with and without the 4 bytes before them (a length that is not encrypted), and a context whose first
//! bytes are these is bound to that connection and direction until its socket closes or its keys are replaced. Two
//! connections never carry the same 16 encrypted bytes.
//!
//! Python's cryptography makes a new context for every packet of AES-GCM (and asyncssh for chacha20): such a packet
//! belongs to the process's only connection, or is not told.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use sensor_common::{program, ssh::bound_flag};

use super::{
    bind::{self, Owner},
    cipher::NID_CHACHA20,
    maps::{
        BLANK, CONNECTIONS, CONTEXTS, Connection, ContextKey, FIRSTS, First, PROCESSES, Process, REKEYED, process_flag,
    },
    memory::read,
};
use crate::{
    field::Addr,
    program_slot::ProgramSlot,
    stats::{count_result, untracked},
    task,
};

const OUT: u32 = sensor_common::ssh::direction::OUT as u32;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// NIDs of AES-GCM with 128, 192 and 256 bits, of every OpenSSL.
const NID_GCM: [u32; 3] = [895, 898, 901];
/// `evp_cipher_ctx_st::encrypt` lies behind `cipher`, in OpenSSL 4, or behind that and `engine`, which nobody uses,
/// before it. Where the other one has it, there is 0.
const ENCRYPT: [u64; 2] = [0x8, 0x10];

pub fn key(address: u64) -> ContextKey {
    ContextKey { address, tgid: (bpf_get_current_pid_tgid() >> 32) as u32, pad: 0 }
}

/// A number for 16 encrypted bytes. Half as long as they are: should they be something else, they cannot be had back.
#[inline(always)]
pub fn hash16([first, second]: [u64; 2]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    first.wrapping_mul(ODD).rotate_left(29) ^ second.wrapping_mul(ODD)
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
            start: (*context).start,
            connection: (*context).connection,
            flags: (*context).flags,
        })
    }
}

/// Where the rest of the packet at hand lies whose first block the context has; 0: it does not know.
#[inline(always)]
pub fn rest(address: u64) -> u64 {
    // SAFETY: a live value of the map; a number is copied out at once.
    CONTEXTS.get_ptr(key(address)).map_or(0, |context| unsafe { (*context).rest })
}

#[inline(always)]
pub fn set_flag(address: u64, flag: u32) {
    if let Some(context) = CONTEXTS.get_ptr_mut(key(address)) {
        // SAFETY: a live value of the map that only one thread uses.
        unsafe { (*context).flags |= flag };
    }
}

/// Both ends may be on this host: what leaves the one is what comes to the other.
#[inline(always)]
fn by_direction(number: u64, direction: u32) -> u64 {
    number ^ direction as u64
}

/// Remembers what comes first after the keys: 20 bytes of a connection. `key`: as in `CONNECTIONS`.
#[inline(always)]
pub fn first(connection: u64, key: Addr, direction: u32, [a, b]: [u64; 2], c: u32) {
    let value = First { connection, key };
    // Where this host relays a connection, the same bytes are carried twice: what a process here encrypts is carried
    // first by its own, what it decrypts last.
    let flags = if direction == OUT { BPF_NOEXIST } else { BPF_ANY };
    let later = [a >> 32 | b << 32, b >> 32 | (c as u64) << 32];
    // An LRU takes everything.
    let _ = FIRSTS.insert(by_direction(hash16([a, b]), direction), value, flags);
    let _ = FIRSTS.insert(by_direction(hash16(later), direction), value, flags);
}

/// The connection that carried these bytes first in this direction. Only once.
#[inline(always)]
pub fn take_first(bytes: u64, direction: u32) -> Option<First> {
    let key = by_direction(bytes, direction);
    // SAFETY: copied out at once.
    let first = unsafe { FIRSTS.get(key) }.copied()?;
    let _ = FIRSTS.remove(key);
    Some(first)
}

/// What a context says of itself. Neither ENCRYPTS nor DECRYPTS: it does not (chacha20), or cannot be read.
pub mod is {
    pub const ENCRYPTS: u32 = 1;
    pub const DECRYPTS: u32 = 2;
    /// The cipher may have a context for each packet.
    pub const AEAD: u32 = 4;
}

/// `is`. A global function: the verifier checks it once, and the ways through it do not multiply with the caller's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cipher_kind(address: u64) -> u32 {
    let (older, newer) = (read::<u32>(address.wrapping_add(ENCRYPT[1])), read::<u32>(address.wrapping_add(ENCRYPT[0])));
    let nid = nid(address);
    if nid == NID_CHACHA20 {
        return is::AEAD;
    }
    if !older.1 || !newer.1 || nid == 0 || older.0 | newer.0 > 1 {
        return 0;
    }
    let direction = if older.0 | newer.0 == 1 { is::ENCRYPTS } else { is::DECRYPTS };
    if nid == NID_GCM[0] || nid == NID_GCM[1] || nid == NID_GCM[2] { direction | is::AEAD } else { direction }
}

#[inline(always)]
fn nid(address: u64) -> u32 {
    read::<u32>(read::<u64>(address).0).0
}

/// Binds a context to the connection whose first bytes these are, if they are in this direction. True: there is one.
/// `how`: `KEEPS`, or the context is for this packet, and only its process is told to speak over that connection;
/// `READABLE`.
#[inline(always)]
pub fn bind_first(address: u64, bytes: u64, direction: u32, how: u32) -> bool {
    let Some(first) = take_first(bytes, direction) else { return false };
    bind_context(address, first.connection, first.key, direction | how) != 0
}

/// Binds a context to the connection of this process whose keys were replaced in this direction.
#[inline(always)]
pub fn bind_rekeyed(address: u64, direction: u32) -> bool {
    let key = rekey_key(direction);
    // SAFETY: copied out at once.
    let Some(connection) = (unsafe { REKEYED.get(key) }).copied() else { return false };
    let _ = REKEYED.remove(key);
    connection != 0 && bind_context(address, connection, 0, direction | KEEPS) != 0
}

#[inline(always)]
fn rekey_key(direction: u32) -> u64 {
    (bpf_get_current_pid_tgid() >> 32) << 1 | direction as u64
}

/// The keys of a context's direction are replaced: it has done its work.
#[inline(always)]
pub fn rekeyed(address: u64, connection: u64, direction: u32) {
    let key = rekey_key(direction);
    // SAFETY: only asked for.
    let other = unsafe { REKEYED.get(key) }.is_some();
    if REKEYED.insert(key, if other { 0 } else { connection }, 0).is_err() {
        untracked(program::SSH_PACKET);
    }
    let _ = CONTEXTS.remove(self::key(address));
}

/// `how` of `bind_context`, beside the direction: the context lives as long as its keys; packets of such contexts can
/// be read.
pub const KEEPS: u32 = 2;
pub const READABLE: u32 = 4;

/// `known_as`: the connection in `CONNECTIONS`; 0 where that knows the context's predecessor. Returns 0 where there was
/// no room.
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
    let mut flags = 0;
    match PROCESSES.get_ptr_mut(key.tgid) {
        // SAFETY: a live value of the map.
        Some(process) => unsafe {
            if (*process).connection != connection {
                (*process).flags |= process_flag::MANY;
                if how & KEEPS == 0 {
                    flags = bound_flag::MIXED;
                }
            }
        },
        None => {
            let _ = PROCESSES.insert(key.tgid, Process { start, connection, flags: process_flag::LIBRARY, pad: 0 }, 0);
        }
    }
    if let Some(known) = CONNECTIONS.get_ptr_mut(known_as) {
        // SAFETY: a live value of the map; an entry of 16 bytes that one thread writes.
        unsafe { (*known).contexts[direction as usize] = key };
        // Before its first packet: it is one that can be read.
        if how & READABLE != 0 {
            let told = bind::tell(key.tgid, start, bind::socket(known_as), connection, flags);
            count_result(program::SSH_PACKET, ProgramSlot::First, told);
        }
    }
    1
}

#[inline(always)]
fn enter(key: ContextKey, connection: u64, start: u64, direction: u32) -> bool {
    let Some(blank) = BLANK.get(0) else { return false };
    if CONTEXTS.insert(key, blank, 0).is_err() {
        return false;
    }
    let Some(context) = CONTEXTS.get_ptr_mut(key) else { return false };
    // SAFETY: a live value of the map that only this thread uses.
    unsafe {
        (*context).connection = connection;
        (*context).start = start;
        (*context).direction = direction;
        (*context).flags = if nid(key.address) == NID_CHACHA20 { process_flag::WHOLE } else { 0 };
    }
    true
}

/// Has this process spoken over one connection only, through a library? Then what cannot be told apart is that one's.
#[inline(always)]
pub fn is_sole() -> bool {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: only looked at.
    unsafe { PROCESSES.get(tgid) }
        .is_some_and(|process| process.flags & (process_flag::LIBRARY | process_flag::MANY) == process_flag::LIBRARY)
}

/// A connection is over.
#[inline(always)]
pub fn closed(connection: &Connection) {
    for key in connection.contexts {
        if key.address != 0 {
            let _ = CONTEXTS.remove(key);
            // SAFETY: only looked at.
            let its = unsafe { PROCESSES.get(key.tgid) }
                .is_some_and(|p| p.connection == connection.id && p.flags & process_flag::MANY == 0);
            if its {
                let _ = PROCESSES.remove(key.tgid);
            }
        }
    }
}
