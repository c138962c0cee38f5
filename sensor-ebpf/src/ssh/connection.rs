//! SSH connections that the probes follow: sockets, or channels of another connection, whose first bytes were `SSH-`.
//!
//! Their end is `teardown`.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use sensor_common::{
    program,
    ssh::direction,
    ssh_map::{Connection, ConnectionKey, ContextKey, Side, phase},
};

use super::maps::CONNECTIONS;
use crate::{field::Addr, shared::get, stats::untracked};

/// An id for a connection that has none yet.
#[inline(always)]
pub fn fresh() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Begins to follow a connection. False: no room.
#[inline(always)]
pub fn begin(key: ConnectionKey, id: u64) -> bool {
    let side = Side { next: 0, offset: 0, skip: 0, phase: phase::NEW };
    let new = Connection { id, sides: [side; 2], contexts: [ContextKey::NONE; 2] };
    let room = CONNECTIONS.insert(key, new, 0).is_ok();
    if !room {
        untracked(program::SSH_CLEAR);
    }
    room
}

#[inline(always)]
pub fn is_followed(key: ConnectionKey) -> bool {
    CONNECTIONS.get_ptr(key).is_some()
}

/// The socket of a connection; 0: another connection carries it.
#[inline(always)]
pub fn socket(key: ConnectionKey) -> Addr {
    if key.has_socket() { key.place } else { 0 }
}

/// Id and one direction of a connection.
#[inline(always)]
pub fn side(key: ConnectionKey, direction: u32) -> Option<(u64, *mut Side)> {
    let connection = CONNECTIONS.get_ptr_mut(key)?;
    // SAFETY: a live value of the map; of its sides only addresses are taken.
    unsafe {
        let side = if direction == direction::IN as u32 {
            &raw mut (*connection).sides[0]
        } else {
            &raw mut (*connection).sides[1]
        };
        Some((get!(connection.id), side))
    }
}

/// Remembers that a cipher context is bound to a connection. False: the connection is not followed.
#[inline(always)]
pub fn set_context(key: ConnectionKey, direction: u32, context: ContextKey) -> bool {
    let Some(connection) = CONNECTIONS.get_ptr_mut(key) else { return false };
    // SAFETY: a live value of the map; one thread binds a direction's context, word by word.
    unsafe { (&raw mut (*connection).contexts[(direction & 1) as usize]).write_volatile(context) };
    true
}
