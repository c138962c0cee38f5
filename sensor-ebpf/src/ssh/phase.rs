//! One direction of a connection in its clear phase: identification and packets, by their lengths, until NEWKEYS; and
//! the first bytes after it.
//!
//! The bytes come from the network (`clear`) or out of a channel of another connection (`stream`); both are read here,
//! and everything is the peer's choice: a length that is too long, or a packet whose header is not whole, ends it
//! (`LOST`: what comes is copied up to the limit, and user space sees what it can make of it).

use core::arch::asm;

use sensor_common::{
    program,
    ssh::{CLEAR_LARGE, CLEAR_SMALL, Clear, clear_flag, kind, message},
    ssh_map::{ConnectionKey, First, Side, phase},
};

use super::{connection::side, first};
use crate::{
    field::Addr,
    program_slot::ProgramSlot,
    shared::{get, set},
    socket,
    stats::{Lost, Sent, count_result, reserve, submit, submit_at_once, write_head},
};

/// Bytes of one direction that are copied at most. Measured: OpenSSH's clear phase is 2-4 KiB; post-quantum keys and
/// certificates double it.
pub const LIMIT: u32 = 32 << 10;
/// SSH packets that one piece can hold before we lose count.
const SSH_PACKETS_MAX: u32 = 6;
/// packet_length, padding_length, message number.
const SSH_HEADER: u32 = 6;
/// The clear phase has no SSH packet that is longer (RFC 4253, 6.1: at least 35,000 must be accepted).
const SSH_PACKET_MAX: u32 = 35_000;
/// An identification with its line end (RFC 4253, 4.2).
const IDENTIFICATION_MAX: u32 = 255;
/// What a connection begins with.
pub const SSH: [u8; 4] = *b"SSH-";

/// A piece of one direction of a connection.
pub trait Bytes {
    /// Records that one piece is sent in at most.
    const RECORDS: u32;
    /// Some bytes, at most eight. None, or anything, where they are not there.
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]>;
    /// `identification`, in a global function: it has 255 ends, and the verifier would go on from each.
    fn identification(&self, total: u32) -> u32;
    /// How many bytes at the beginning lie apart from the rest.
    fn head(&self) -> u32;
    /// Copies bytes; false if they are not there.
    ///
    /// # Safety
    /// There is room for them.
    unsafe fn copy(&self, at: u32, to: *mut u8, len: u32) -> bool;
}

/// Where a piece belongs and how much of it does: bytes to copy, with `clear_flag`s in the upper half. `place`: its
/// sequence number, direction in the lower half.
#[inline(always)]
pub fn advance(bytes: &impl Bytes, key: ConnectionKey, len: u32, place: u64) -> u64 {
    let Some((id, side)) = side(key, place as u32) else { return 0 };
    let sequence = (place >> 32) as u32;
    let mut flags = 0;
    // SAFETY: a live value of the map, here and below; one direction of a connection is handled at a time.
    let (mut phase, next) = unsafe { (get!(side.phase), get!(side.next)) };
    let mut ahead = sequence.wrapping_sub(next) as i32;
    if phase == phase::NEW {
        phase = phase::BANNER;
        ahead = 0;
    }
    if ahead < 0 {
        return 0; // again
    }
    if phase == phase::KEYED {
        // SAFETY: as above.
        unsafe { set!(side.phase = phase::DONE) };
        if ahead == 0 {
            encrypted(bytes, 0, id, key, place as u32);
        }
        count_result(program::SSH_CLEAR, ProgramSlot::First, emit_encrypted(id, place as u32));
        return 0;
    }
    if ahead > 0 {
        flags = clear_flag::GAP;
        phase = phase::LOST;
        // SAFETY: as above.
        unsafe { set!(side.offset = get!(side.offset).wrapping_add(ahead as u32)) };
    }
    // SAFETY: as above.
    unsafe { set!(side.next = sequence.wrapping_add(len)) };
    let (mut wanted, mut phase) = walk(bytes, side, phase, len);
    if phase == phase::DONE {
        encrypted(bytes, wanted, id, key, place as u32);
        count_result(program::SSH_CLEAR, ProgramSlot::First, emit_encrypted(id, place as u32));
    }
    // SAFETY: as above.
    let offset = unsafe { get!(side.offset) };
    if offset.wrapping_add(wanted) > LIMIT {
        wanted = LIMIT.saturating_sub(offset);
        flags |= clear_flag::LIMIT;
        phase = phase::DONE;
    }
    // SAFETY: as above.
    unsafe { set!(side.phase = phase) };
    if phase >= phase::KEYED {
        flags |= clear_flag::LAST;
    }
    (flags as u64) << 32 | wanted as u64
}

/// How much of a piece belongs to the clear phase, and the phase after it. Follows SSH packets by their lengths; with
/// NEWKEYS the side is done.
#[inline(always)]
fn walk(bytes: &impl Bytes, side: *mut Side, phase: u32, total: u32) -> (u32, u32) {
    // SAFETY: a live value of the map.
    let mut at = unsafe { get!(side.skip) };
    if phase == phase::BANNER {
        at = bytes.identification(total);
        if at == 0 {
            return (total, phase); // its end is to come
        }
    } else if phase != phase::PACKETS {
        return (total, phase);
    }
    for _ in 0..SSH_PACKETS_MAX {
        if at >= total {
            // SAFETY: as above.
            unsafe { set!(side.skip = at - total) };
            return (total, phase::PACKETS);
        }
        if at + SSH_HEADER > total {
            break;
        }
        let Some([a, b, c, d, _, number]) = bytes.load::<{ SSH_HEADER as usize }>(at) else { break };
        let len = u32::from_be_bytes([a, b, c, d]);
        if len > SSH_PACKET_MAX {
            break;
        }
        at += 4 + len;
        if number == message::NEWKEYS {
            return if at < total { (at, phase::DONE) } else { (total, phase::KEYED) };
        }
    }
    (total, phase::LOST)
}

/// Bytes of the identification line at the beginning of a piece; 0: it has no end there. A packet may follow it at
/// once.
#[inline(always)]
pub fn identification(bytes: &impl Bytes, total: u32) -> u32 {
    // A number of rounds that does not depend on the length: LLVM would count to that, and the verifier does not know
    // that it gets there.
    for at in 0..IDENTIFICATION_MAX {
        if bytes.load::<1>(at) == Some(*b"\n") {
            return if at < total { at + 1 } else { 0 };
        }
    }
    0
}

/// What follows NEWKEYS: the first encrypted bytes, by which a cipher context is known to be this connection's. A
/// packet has more of them.
#[inline(always)]
fn encrypted(bytes: &impl Bytes, at: u32, id: u64, key: ConnectionKey, direction: u32) {
    if let (Some(first), Some(second), Some(third)) =
        (bytes.load::<8>(at), bytes.load::<8>(at + 8), bytes.load::<4>(at + 16))
    {
        let [first, second] = [first, second].map(u64::from_le_bytes);
        let whose = First { connection: id, key };
        first::remember(whose, direction, [first, second], u32::from_le_bytes(third));
    }
}

/// Says that the connection went on under its keys: a client that does not accept the host key leaves without it.
#[inline(always)]
fn emit_encrypted(id: u64, direction: u32) -> Result<Sent, Lost> {
    let mut entry = reserve::<Clear<CLEAR_SMALL>>()?;
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved record; every field is written but `data`, of which nothing is valid. Nothing returns before
    // submit. Reading through 0 gives a socket of zeroes.
    unsafe {
        write_head(&raw mut (*record).head, kind::CLEAR, size_of::<Clear<CLEAR_SMALL>>());
        socket::endpoints(0, id, &raw mut (*record).socket);
        (*record).offset = 0;
        (*record).len = 0;
        (*record).flags = clear_flag::ENCRYPTED;
        (*record).direction = direction as u8;
        (*record).pad = [0; 5];
    }
    submit(entry);
    Ok(Sent::Whole)
}

/// Sends the first `wanted` bytes of a piece. `what`: flags, direction in the lowest byte. `sk`: 0 where the connection
/// has no socket.
#[inline(always)]
pub fn copy<B: Bytes>(bytes: &B, key: ConnectionKey, sk: Addr, wanted: u32, what: u32) {
    let (flags, direction) = ((what >> 8) as u16, what as u8);
    let Some((id, side)) = side(key, direction as u32) else { return };
    // SAFETY: a live value of the map; one direction of a connection is handled at a time.
    let offset = unsafe { get!(side.offset) };
    // SAFETY: as above.
    unsafe { set!(side.offset = offset.wrapping_add(wanted)) };
    let mut piece = Piece { sk, id, at: 0, offset, flags, direction };
    let mut left = wanted;
    let head = bytes.head();
    if head != 0 && head < wanted {
        piece.flags = flags & !(clear_flag::LAST | clear_flag::LIMIT);
        count_result(program::SSH_CLEAR, ProgramSlot::First, piece.send::<CLEAR_SMALL>(bytes, head));
        left -= head;
        piece.at = head;
        piece.offset = piece.offset.wrapping_add(head);
        piece.flags = flags;
    }
    if left <= CLEAR_SMALL as u32 {
        count_result(program::SSH_CLEAR, ProgramSlot::First, piece.send::<CLEAR_SMALL>(bytes, left));
        return;
    }
    for _ in 0..B::RECORDS {
        let last = left <= CLEAR_LARGE as u32;
        let part = if last { left } else { CLEAR_LARGE as u32 };
        piece.flags = if last { flags } else { flags & !(clear_flag::LAST | clear_flag::LIMIT) };
        count_result(program::SSH_CLEAR, ProgramSlot::First, piece.send::<CLEAR_LARGE>(bytes, part));
        if last {
            break;
        }
        left -= part;
        piece.at += part;
        piece.offset = piece.offset.wrapping_add(part);
    }
}

/// Bytes of a piece, and where they belong.
struct Piece {
    sk: Addr,
    id: u64,
    at: u32,
    offset: u32,
    flags: u16,
    direction: u8,
}

impl Piece {
    #[inline(always)]
    fn send<const ROOM: usize>(&self, bytes: &impl Bytes, len: u32) -> Result<Sent, Lost> {
        let mut entry = reserve::<Clear<ROOM>>()?;
        let mut len = len as u64;
        // SAFETY: `len` is 1 to ROOM afterwards, in a form that the verifiers of 5.10 and 6.1 follow and LLVM does not
        // remove.
        unsafe {
            asm!("if {len} <= {room} goto +1", "{len} = {room}", "if {len} > 0 goto +1", "{len} = 1",
                len = inout(reg) len, room = const ROOM as i32);
        }
        let record = entry.as_mut_ptr();
        // SAFETY: a reserved record; every field is written but the unused end of `data`, whose length says what is
        // valid. Nothing returns before submit.
        unsafe {
            let data = (&raw mut (*record).data).cast();
            let copied = bytes.copy(self.at, data, len as u32);
            write_head(&raw mut (*record).head, kind::CLEAR, size_of::<Clear<ROOM>>());
            socket::endpoints(self.sk, self.id, &raw mut (*record).socket);
            (*record).offset = self.offset;
            (*record).len = if copied { len as u32 } else { 0 };
            (*record).flags = self.flags;
            (*record).direction = self.direction;
            (*record).pad = [0; 5];
        }
        // The first of a connection: who speaks may have to be probed before the keys are there.
        submit_at_once(entry, self.offset == 0);
        Ok(Sent::Whole)
    }
}
