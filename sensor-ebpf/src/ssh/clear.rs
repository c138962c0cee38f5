//! The clear phase of every SSH connection on the host: `cgroup_skb` ingress and egress at the root of cgroup v2.
//!
//! Any program, any port: a socket whose first bytes are `SSH-` (RFC 4253, 4.2) is followed, and both directions are copied to user space until NEWKEYS, which is the last
//! packet before encryption. All of it is public by nature: identifications, KEXINITs, public values, the host key. Every other socket is left at its
//! first packet; one that has moved `LIMIT` bytes costs three loads.
//!
//! These hooks see packets, not a stream: what comes again is left out, what is missing is said (`GAP`) and user space gives up on that direction.
//! Both programs return 1 on every path: 0 would drop the packet.

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_sk_fullsock, bpf_skb_load_bytes, bpf_tcp_sock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use core::arch::asm;
use sensor_common::{
    program,
    ssh::{CLEAR_LARGE, CLEAR_SMALL, Clear, clear_flag, direction, kind, message},
};

use super::{
    context,
    maps::{CONNECTIONS, Connection, ContextKey, Side, phase},
    memory,
};
use crate::{
    field::Addr,
    maps::TRACKED,
    stats::{Lost, Sent, reserve, settle, submit, untracked, write_head},
    tcp,
    turn::Turn,
};

const ALLOW: i32 = 1;
/// Bytes of one direction that are copied at most. Measured: OpenSSH's clear phase is 2-4 KiB; post-quantum keys and certificates double it.
const LIMIT: u32 = 32 << 10;
/// Records per packet of the network (which is up to 64 KiB on the loopback).
const PIECES_MAX: u32 = LIMIT / CLEAR_LARGE as u32;
/// SSH packets that one packet of the network can hold before we lose count.
const SSH_PACKETS_MAX: u32 = 6;
/// packet_length, padding_length, message number.
const SSH_HEADER: u32 = 6;
/// The clear phase has no SSH packet that is longer (RFC 4253, 6.1: at least 35,000 must be accepted).
const SSH_PACKET_MAX: u32 = 35_000;
const SSH: u32 = u32::from_ne_bytes(*b"SSH-");
const IPPROTO_TCP: u8 = 6;
const ETH_P_IP: u32 = (0x0800u16).to_be() as u32;
const ETH_P_IPV6: u32 = (0x86ddu16).to_be() as u32;
const IPV6_HEADER: u32 = 40;
/// An identification with its line end (RFC 4253, 4.2).
const IDENTIFICATION_MAX: u32 = 255;
const NO_CONTEXT: ContextKey = ContextKey { address: 0, tgid: 0, pad: 0 };

#[cgroup_skb(ingress)]
pub fn clear_in(context: SkBuffContext) -> i32 {
    observe(&context, direction::IN);
    ALLOW
}

#[cgroup_skb(egress)]
pub fn clear_out(context: SkBuffContext) -> i32 {
    observe(&context, direction::OUT);
    ALLOW
}

/// A socket has closed.
#[inline(always)]
pub fn closed(sk: Addr) {
    // SAFETY: only looked at.
    if let Some(connection) = unsafe { CONNECTIONS.get(sk) } {
        context::closed(connection);
        let _ = CONNECTIONS.remove(sk);
    }
}

/// The TCP payload of a packet.
struct Segment {
    /// In the packet.
    at: u32,
    len: u32,
    sequence: u32,
}

#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination has the size of T, an integer or an array of them; the helper checks the source and fills it, with zeroes if it fails.
    unsafe {
        let failed = bpf_skb_load_bytes(skb.cast(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32);
        if failed == 0 { Some(value.assume_init()) } else { None }
    }
}

#[inline(always)]
fn observe(context: &SkBuffContext, direction: u8) {
    let skb = context.as_ptr().cast::<__sk_buff>();
    // SAFETY: the verifier checks each access to the context and to the sockets that the helpers return.
    let (sk, moved) = unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() || (*sk).protocol != IPPROTO_TCP as u32 {
            return;
        }
        let tcp = bpf_tcp_sock(sk);
        if tcp.is_null() {
            return;
        }
        (sk, if direction == direction::IN { (*tcp).bytes_received } else { (*tcp).bytes_acked })
    };
    if moved > LIMIT as u64 {
        return;
    }
    let address = memory::address(sk);
    // SAFETY: copied out at once.
    match unsafe { CONNECTIONS.get(address) } {
        Some(connection) => {
            let phase = if direction == direction::IN { connection.sides[0].phase } else { connection.sides[1].phase };
            if phase != phase::DONE
                && let Some(segment) = segment(skb)
            {
                follow(skb, address, &segment, direction);
            }
        }
        // The SYN counts as a byte that was acknowledged.
        None if moved <= 1 => begin(skb, address, direction),
        None => {}
    }
}

#[inline(always)]
fn segment(skb: *mut __sk_buff) -> Option<Segment> {
    // SAFETY: the verifier checks each access to the context.
    let (protocol, total) = unsafe { ((*skb).protocol, (*skb).len) };
    let (tcp, carries) = if protocol == ETH_P_IP {
        let first: [u8; 12] = load(skb, 0)?;
        ((first[0] & 15) as u32 * 4, first[9])
    } else if protocol == ETH_P_IPV6 {
        (IPV6_HEADER, load(skb, 6)?)
    } else {
        return None;
    };
    if carries != IPPROTO_TCP {
        return None;
    }
    let sequence = u32::from_be(load(skb, tcp + 4)?);
    let words: u8 = load(skb, tcp + 12)?;
    let at = tcp + (words >> 4) as u32 * 4;
    if at >= total { None } else { Some(Segment { at, len: total - at, sequence }) }
}

/// The first bytes of a connection: is it SSH?
#[inline(always)]
fn begin(skb: *mut __sk_buff, sk: Addr, direction: u8) {
    let Some(segment) = segment(skb) else { return };
    if load::<u32>(skb, segment.at) != Some(SSH) {
        return;
    }
    // SAFETY: no arguments.
    let fresh = unsafe { bpf_ktime_get_boot_ns() };
    let id = match tcp::tracked(sk) {
        Some((_, id)) => id,
        None => {
            if TRACKED.insert(sk, fresh, 0).is_err() {
                untracked(program::SSH_CLEAR);
            }
            fresh
        }
    };
    let side = Side { next: 0, offset: 0, skip: 0, phase: phase::NEW };
    if CONNECTIONS.insert(sk, Connection { id, sides: [side; 2], contexts: [NO_CONTEXT; 2] }, 0).is_err() {
        untracked(program::SSH_CLEAR);
        return;
    }
    follow(skb, sk, &segment, direction);
}

/// Copies what of a segment belongs to the clear phase.
#[inline(always)]
fn follow(skb: *mut __sk_buff, sk: Addr, segment: &Segment, direction: u8) {
    let place = (segment.sequence as u64) << 32 | direction as u64;
    let advanced = advance(skb, sk, segment.at, segment.len, place);
    let (wanted, flags) = (advanced as u32, (advanced >> 32) as u32);
    if wanted != 0 {
        copy(skb, sk, segment.at, wanted, flags << 8 | direction as u32);
    }
}

/// One direction of a connection.
#[inline(always)]
fn side(sk: Addr, direction: u32) -> Option<(u64, *mut Side)> {
    let connection = CONNECTIONS.get_ptr_mut(sk)?;
    // SAFETY: a live value of the map; only addresses of its fields are taken.
    unsafe {
        let side = if direction == direction::IN as u32 {
            &raw mut (*connection).sides[0]
        } else {
            &raw mut (*connection).sides[1]
        };
        Some(((*connection).id, side))
    }
}

/// Where a segment belongs and how much of it does: bytes to copy, with `clear_flag`s in the upper half. `place`: sequence number, direction in the lower half.
///
/// A global function: the verifier checks it once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn advance(skb: *mut __sk_buff, sk: Addr, at: u32, len: u32, place: u64) -> u64 {
    let Some((id, side)) = side(sk, place as u32) else { return 0 };
    // SAFETY: a live value of the map; the kernel handles one direction of a socket at a time.
    let side = unsafe { &mut *side };
    let sequence = (place >> 32) as u32;
    let mut flags = 0;
    if side.phase == phase::NEW {
        side.phase = phase::BANNER;
        side.next = sequence;
    }
    let ahead = sequence.wrapping_sub(side.next) as i32;
    if ahead < 0 {
        return 0; // again
    }
    if side.phase == phase::KEYED {
        side.phase = phase::DONE;
        if ahead == 0 {
            encrypted(skb, at, id, sk, place as u32);
        }
        return 0;
    }
    if ahead > 0 {
        flags = clear_flag::GAP;
        side.phase = phase::LOST;
        side.offset = side.offset.wrapping_add(ahead as u32);
    }
    side.next = sequence.wrapping_add(len);
    let mut wanted = walk(skb, side, at, len);
    if side.phase == phase::DONE {
        encrypted(skb, at + wanted, id, sk, place as u32);
    }
    if side.offset.wrapping_add(wanted) > LIMIT {
        wanted = LIMIT.saturating_sub(side.offset);
        flags |= clear_flag::LIMIT;
        side.phase = phase::DONE;
    }
    if side.phase >= phase::KEYED {
        flags |= clear_flag::LAST;
    }
    (flags as u64) << 32 | wanted as u64
}

/// How much of a segment belongs to the clear phase. Follows SSH packets by their lengths; with NEWKEYS the side is done.
#[inline(always)]
fn walk(skb: *mut __sk_buff, side: &mut Side, segment: u32, total: u32) -> u32 {
    let mut at = side.skip;
    if side.phase == phase::BANNER {
        at = identification(skb, segment, total);
        if at == 0 {
            return total; // its end is to come
        }
        side.phase = phase::PACKETS;
    }
    if side.phase != phase::PACKETS {
        return total;
    }
    for _ in 0..SSH_PACKETS_MAX {
        if at >= total {
            side.skip = at - total;
            return total;
        }
        let Some([a, b, c, d, _, number]) = load::<[u8; SSH_HEADER as usize]>(skb, segment + at) else { break };
        let len = u32::from_be_bytes([a, b, c, d]);
        if len > SSH_PACKET_MAX {
            break;
        }
        at += 4 + len;
        if number == message::NEWKEYS {
            side.phase = if at < total { phase::DONE } else { phase::KEYED };
            return if at < total { at } else { total };
        }
    }
    side.phase = phase::LOST;
    total
}

/// What follows NEWKEYS: the first encrypted bytes, by which a cipher context is told to be this connection's. A packet has more of them.
#[inline(always)]
fn encrypted(skb: *mut __sk_buff, at: u32, id: u64, sk: Addr, direction: u32) {
    if let Some(bytes) = load(skb, at) {
        context::first(id, sk, direction, bytes);
    }
}

/// Bytes of the identification line at the beginning of a segment; 0: it has no end there. A packet may follow it at once.
///
/// A global function: the verifier checks it once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn identification(skb: *mut __sk_buff, segment: u32, total: u32) -> u32 {
    for at in 0..IDENTIFICATION_MAX {
        if at >= total {
            break;
        }
        if load::<u8>(skb, segment + at) == Some(b'\n') {
            return at + 1;
        }
    }
    0
}

/// Sends `wanted` bytes of a packet from `at` on. `what`: flags, direction in the lowest byte.
///
/// A global function: the verifier checks it once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy(skb: *mut __sk_buff, sk: Addr, at: u32, wanted: u32, what: u32) -> u32 {
    let (flags, direction) = ((what >> 8) as u16, what as u8);
    let Some((id, side)) = side(sk, direction as u32) else { return 0 };
    // SAFETY: a live value of the map; the kernel handles one direction of a socket at a time.
    let side = unsafe { &mut *side };
    let mut piece = Piece { skb, sk, id, at, offset: side.offset, flags, direction };
    side.offset = side.offset.wrapping_add(wanted);
    if wanted <= CLEAR_SMALL as u32 {
        settle(program::SSH_CLEAR, Turn::First, piece.send::<CLEAR_SMALL>(wanted));
        return 0;
    }
    let mut left = wanted;
    for _ in 0..PIECES_MAX {
        let last = left <= CLEAR_LARGE as u32;
        let part = if last { left } else { CLEAR_LARGE as u32 };
        piece.flags = if last { flags } else { flags & !(clear_flag::LAST | clear_flag::LIMIT) };
        settle(program::SSH_CLEAR, Turn::First, piece.send::<CLEAR_LARGE>(part));
        if last {
            break;
        }
        left -= part;
        piece.at += part;
        piece.offset = piece.offset.wrapping_add(part);
    }
    0
}

/// Bytes of a packet, and where they belong.
struct Piece {
    skb: *mut __sk_buff,
    sk: Addr,
    id: u64,
    at: u32,
    offset: u32,
    flags: u16,
    direction: u8,
}

impl Piece {
    #[inline(always)]
    fn send<const ROOM: usize>(&self, len: u32) -> Result<Sent, Lost> {
        let mut entry = reserve::<Clear<ROOM>>()?;
        let mut len = len as u64;
        // SAFETY: `len` is 1 to ROOM afterwards, in a form that the verifiers of 5.10 and 6.1 follow and LLVM does not remove.
        unsafe {
            asm!("if {len} <= {room} goto +1", "{len} = {room}", "if {len} > 0 goto +1", "{len} = 1",
                len = inout(reg) len, room = const ROOM as i32);
        }
        let record = entry.as_mut_ptr();
        // SAFETY: a reserved record; every field is written but the unused end of `data`, whose length says what is valid. Nothing returns before
        // submit.
        unsafe {
            let data = (&raw mut (*record).data).cast();
            let failed = bpf_skb_load_bytes(self.skb.cast(), self.at, data, len as u32);
            write_head(&raw mut (*record).head, kind::CLEAR, size_of::<Clear<ROOM>>());
            tcp::endpoints(self.sk, self.id, &raw mut (*record).socket);
            (*record).offset = self.offset;
            (*record).len = if failed == 0 { len as u32 } else { 0 };
            (*record).flags = self.flags;
            (*record).direction = self.direction;
            (*record).pad = [0; 5];
        }
        submit(entry);
        Ok(Sent::Whole)
    }
}
