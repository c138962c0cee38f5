//! The first encrypted bytes of a connection: they say which connection a cipher context is of.
//!
//! What a context encrypts first is what its connection carries first after NEWKEYS, and what it decrypts first was
//! carried there. `phase` remembers 16 of those bytes of each direction, with and without the 4 bytes before them (a
//! length that is not encrypted). Two connections never carry the same 16 encrypted bytes. What is remembered and not
//! asked for is forgotten in time (an LRU).

use sensor_common::ssh_map::{CiphertextHash, First};

use super::maps::FIRSTS;

const OUT: u32 = sensor_common::ssh::direction::OUT as u32;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// A number for 16 encrypted bytes. Half as long as they are: should they be something else, they cannot be had back.
#[inline(always)]
pub fn hash16([first, second]: [u64; 2]) -> CiphertextHash {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    CiphertextHash { hash: first.wrapping_mul(ODD).rotate_left(29) ^ second.wrapping_mul(ODD) }
}

/// Both ends may be on this host: what leaves the one is what comes to the other.
#[inline(always)]
fn by_direction(CiphertextHash { hash }: CiphertextHash, direction: u32) -> CiphertextHash {
    CiphertextHash { hash: hash ^ direction as u64 }
}

/// Remembers what comes first after the keys: 20 bytes of a connection.
#[inline(always)]
pub fn remember(first: First, direction: u32, [a, b]: [u64; 2], c: u32) {
    // Where this host relays a connection, the same bytes are carried twice: what a process here encrypts is carried
    // first by its own, what it decrypts last.
    let flags = if direction == OUT { BPF_NOEXIST } else { BPF_ANY };
    let later = [a >> 32 | b << 32, b >> 32 | (c as u64) << 32];
    // An LRU takes everything.
    let _ = FIRSTS.insert(by_direction(hash16([a, b]), direction), first, flags);
    let _ = FIRSTS.insert(by_direction(hash16(later), direction), first, flags);
}

/// The connection that carried these bytes first in this direction. Only once.
#[inline(always)]
pub fn take(bytes: CiphertextHash, direction: u32) -> Option<First> {
    let key = by_direction(bytes, direction);
    // SAFETY: a live value of the map, copied out at once.
    let first = unsafe { FIRSTS.get_ptr(key)?.read_volatile() };
    let _ = FIRSTS.remove(key);
    Some(first)
}
