//! What a TCP socket is: whether it is connected, between which ends, and under which id it is tracked.
//!
//! Fields of `struct sock`, read at BTF offsets: nothing faults, what cannot be read is zero.

use sensor_common::{
    Socket,
    map::{SocketId, SocketKey},
};

use crate::{
    field::{Addr, at, value},
    maps::TRACKED,
    shared::get,
};

const IPPROTO_TCP: u16 = 6;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP_SYN_SENT: u8 = 2;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;

/// `struct sock_common::skc_cookie`, found through `sock`.
#[inline(always)]
fn cookie(sk: Addr) -> u64 {
    value(sk, at!(sock_cookie))
}

/// The key under which a socket is tracked, and its id.
#[inline(always)]
pub fn tracked(sk: Addr) -> Option<(SocketKey, u64)> {
    let find = |place| {
        let key = SocketKey { place };
        // SAFETY: a live value of the map, whose only word is written whole.
        TRACKED.get_ptr(key).map(|id| (key, unsafe { get!(id.id) }))
    };
    if let Some(known) = find(sk) {
        return Some(known);
    }
    let cookie = cookie(sk);
    if cookie == 0 { None } else { find(cookie) }
}

/// Tracks a socket from now on, by the address of its `struct sock` or by its cookie. False: no room.
#[inline(always)]
pub fn track(place: u64, id: u64) -> bool {
    TRACKED.insert(SocketKey { place }, SocketId { id }, 0).is_ok()
}

#[inline(always)]
pub fn is_connected(sk: Addr) -> bool {
    let family = value::<u16>(sk, at!(sock_family));
    let state = value::<u8>(sk, at!(sock_state));
    value::<u16>(sk, at!(sock_protocol)) == IPPROTO_TCP
        && (family == AF_INET || family == AF_INET6)
        // None of these, nor a state of 0.
        && (1u32 << (state & 31)) & (1 | 1 << TCP_CLOSE | 1 << TCP_LISTEN | 1 << TCP_SYN_SENT) == 0
}

/// Writes addresses and ports of a socket, in place.
///
/// # Safety
/// `out` points at room for a `Socket`.
#[inline(always)]
pub unsafe fn endpoints(sk: Addr, id: u64, out: *mut Socket) {
    // SAFETY: the caller's promise. Every field is written.
    unsafe {
        let family = value(sk, at!(sock_family));
        (*out).id = id;
        (*out).family = family;
        (*out).local_port = value(sk, at!(sock_local_port));
        (*out).remote_port = u16::from_be(value(sk, at!(sock_remote_port)));
        (*out).pad = 0;
        if family == AF_INET6 {
            (*out).local = value(sk, at!(sock_local_v6));
            (*out).remote = value(sk, at!(sock_remote_v6));
        } else {
            (*out).local = widen(value(sk, at!(sock_local_v4)));
            (*out).remote = widen(value(sk, at!(sock_remote_v4)));
        }
    }
}

#[inline(always)]
pub fn widen(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
