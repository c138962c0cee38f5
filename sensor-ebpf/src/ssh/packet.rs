//! One decrypted SSH packet (RFC 4253, 6): which message it is, and what of it leaves.
//!
//! `uint32 packet_length | byte padding_length | payload | padding`, with or without the length: told apart by the
//! first byte, since padding is at least 4 bytes and no packet reaches 2^24. Everything is the peer's choice: lengths
//! are checked against the packet before they are used, and bytes that are no packet are passed over. Channel data is
//! counted, never copied.

use aya_ebpf::helpers::generated::bpf_probe_read;
use core::arch::asm;
use sensor_common::{
    program,
    ssh::{LargePacket, PACKET_LARGE, PACKET_SMALL, Packet, SmallPacket, kind, message, packet_flag},
    ssh_map::{Channel, Data, Flow, process_flag},
};

use super::{
    allow, context,
    maps::FLOWS,
    memory::read,
    owner::{self, Owner},
    stream,
};
use crate::{
    log,
    program_slot::ProgramSlot,
    shared::{get, set},
    stats::{Lost, Sent, count_result, reserve, submit, untracked, write_head},
};

/// SSH_MSG payloads are at most 256 KiB in OpenSSH (PACKET_MAX_SIZE); padding and MAC come on top.
pub const PACKET_MAX: u32 = (256 << 10) + 1024;
const PADDING_MIN: u32 = 4;
/// First byte of a zlib stream with a window of 32 KiB: no SSH message has this number.
const ZLIB: u8 = 0x78;

/// Where a payload lies.
#[derive(Clone, Copy)]
struct Payload {
    message: u8,
    /// Address and length of what follows the message number.
    at: u64,
    len: u32,
    /// Of `len`, what is there to be copied.
    available: u32,
    /// Its first two numbers, read with the message number: channel data is most of what comes.
    numbers: [u32; 2],
    flags: u16,
}

/// `observe`: the packet belongs to the connection of the current process, and not to that of a cipher context.
pub const BY_PROCESS: u64 = 0;

/// Reads the packet at `base`, of which `available` bytes are there. `cipher`: the bound context that it went through,
/// or `BY_PROCESS`. Returns its message number, with `stream::PENDING`; 0 if it is no packet.
///
/// A global function: the verifier checks it once, by itself, and the ways through it do not multiply with the
/// caller's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn observe(base: u64, len: u32, direction: u32, cipher: u64, available: u32) -> u32 {
    let Some(payload) = payload(base, len, available) else { return 0 };
    let number = payload.message as u32;
    if payload.message != ZLIB && !allow::is_listed(payload.message) {
        return number;
    }
    let owner = if cipher == BY_PROCESS { owner::current() } else { context::owner(cipher) };
    let Some(owner) = owner else {
        log::owner_unknown(number);
        count_result(program::SSH_PACKET, ProgramSlot::First, Err(Lost::Unreadable));
        return number;
    };
    let compressed = process_flag::COMPRESSED << (direction & 1);
    if owner.flags & compressed != 0 {
        return 0;
    }
    if payload.message == message::CHANNEL_DATA || payload.message == message::CHANNEL_EXTENDED_DATA {
        return number | count_data(owner.connection, payload, direction, cipher);
    } else {
        if payload.message == ZLIB {
            if cipher == BY_PROCESS {
                owner::set_flag(owner.tgid, compressed);
            } else {
                context::set_flag(cipher, compressed);
            }
        }
        count_result(program::SSH_PACKET, ProgramSlot::First, tell(owner, payload, direction));
    }
    number
}

#[inline(always)]
fn payload(base: u64, len: u32, available: u32) -> Option<Payload> {
    // What is shorter may end where the memory ends; it has no two numbers.
    let (head, readable) = if len < 16 {
        let (head, readable) = read::<u64>(base);
        ([head, 0], readable)
    } else {
        read::<[u64; 2]>(base)
    };
    if !readable || len < 8 {
        return None;
    }
    let [a, b, c, d, e, f, ..] = head[0].to_le_bytes();
    // The numbers are 16 or 48 bits from the beginning.
    let (skip, padding, message, flags, shift) = if a == 0 {
        if u32::from_be_bytes([a, b, c, d]).wrapping_add(4) != len {
            return None;
        }
        (6, e as u32, f, packet_flag::LENGTH, 48)
    } else {
        (2, a as u32, b, 0, 16)
    };
    if padding < PADDING_MIN || padding + skip > len {
        return None;
    }
    let at = base.wrapping_add(skip as u64);
    let words = head[0] >> shift | head[1] << (64 - shift);
    let numbers = [words as u32, (words >> 32) as u32].map(u32::from_be);
    Some(Payload { message, at, len: len - skip - padding, available: available.saturating_sub(skip), numbers, flags })
}

/// CHANNEL_DATA: recipient, string; CHANNEL_EXTENDED_DATA: recipient, type, string.
#[inline(always)]
fn count_data(connection: u64, payload: Payload, direction: u32, cipher: u64) -> u32 {
    let [number, len_or_type] = payload.numbers;
    let (header, len) = if payload.message == message::CHANNEL_DATA {
        (8, len_or_type)
    } else {
        (12, u32::from_be(read(payload.at.wrapping_add(8)).0))
    };
    if len as u64 + header != payload.len as u64 {
        return 0;
    }
    let channel = Channel { connection, number, direction };
    match FLOWS.get_ptr_mut(channel) {
        Some(flow) => {
            // SAFETY: a live value of the map; one process works on a connection's direction at a time.
            let carries = unsafe {
                set!(flow.bytes = get!(flow.bytes).wrapping_add(len as u64));
                stream::is_wanted(get!(flow.stream))
            };
            if carries && payload.message == message::CHANNEL_DATA {
                return stream::remember(channel, data(payload, len, cipher));
            }
        }
        None => {
            if FLOWS.insert(channel, Flow { bytes: len as u64, stream: 0 }, 0).is_err() {
                untracked(program::SSH_PACKET);
            }
        }
    }
    0
}

/// Where the data of a CHANNEL_DATA lies.
#[inline(always)]
fn data(payload: Payload, len: u32, cipher: u64) -> Data {
    let first = payload.at.wrapping_add(8);
    // All of it is there, or what the first block has.
    let there = payload.available.saturating_sub(8);
    if there >= len {
        return Data { first, split: 0, len, rest: first };
    }
    match context::rest(cipher) {
        0 => Data { first, split: 0, len: 0, rest: 0 },
        rest => Data { first, split: there, len, rest },
    }
}

/// CHANNEL_OPEN_CONFIRMATION: recipient, sender.
#[inline(always)]
fn opened(connection: u64, payload: Payload, direction: u32) {
    let [recipient, sender] = read::<[u32; 2]>(payload.at).0.map(u32::from_be);
    stream::opened(connection, recipient, sender, direction);
}

/// Bytes of a channel that ends in this direction. CLOSE follows EOF: it forgets.
#[inline(always)]
fn channel_bytes(connection: u64, payload: Payload, direction: u32) -> u64 {
    let channel = Channel { connection, number: u32::from_be(read(payload.at).0), direction };
    stream::flowed(channel, payload.message == message::CHANNEL_CLOSE)
}

#[inline(always)]
fn tell(owner: Owner, mut payload: Payload, direction: u32) -> Result<Sent, Lost> {
    let mut len = 0;
    let mut bytes = 0;
    if payload.message == ZLIB {
        payload.message = 0;
        payload.flags |= packet_flag::COMPRESSED;
    } else {
        let allowed = allow::prefix(payload.at, payload.len, payload.message as u32);
        len = allow::len(allowed);
        payload.flags |= allow::flags(allowed);
        if len > payload.available {
            len = payload.available;
            payload.flags |= packet_flag::CUT;
        }
        if payload.message == message::CHANNEL_EOF || payload.message == message::CHANNEL_CLOSE {
            bytes = channel_bytes(owner.connection, payload, direction);
        } else if payload.message == message::CHANNEL_OPEN_CONFIRMATION {
            opened(owner.connection, payload, direction);
        }
    }
    if owner.flags & process_flag::NO_SOCKET != 0 {
        payload.flags |= packet_flag::NO_SOCKET;
    }
    if len <= PACKET_SMALL as u32 {
        send(reserve::<SmallPacket>()?, owner, payload, len, bytes, direction)
    } else {
        send(reserve::<LargePacket>()?, owner, payload, len, bytes, direction)
    }
}

#[inline(always)]
fn send<const ROOM: usize>(
    mut entry: aya_ebpf::maps::ring_buf::RingBufEntry<Packet<ROOM>>,
    owner: Owner,
    mut payload: Payload,
    len: u32,
    bytes: u64,
    direction: u32,
) -> Result<Sent, Lost> {
    let mut len = len as u64;
    // SAFETY: one instruction pair on a register: `len` is at most ROOM afterwards, in a form that the verifiers of
    // 5.10 and 6.1 follow and LLVM does not remove.
    unsafe { asm!("if {len} <= {room} goto +1", "{len} = {room}", len = inout(reg) len, room = const ROOM as i32) };
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved record; every field is written but the unused end of `data`, whose length says what is valid.
    // Nothing returns before submit.
    unsafe {
        if len != 0 {
            let data = (&raw mut (*record).data).cast();
            if bpf_probe_read(data, len as u32, payload.at as *const _) != 0 {
                payload.flags |= packet_flag::MALFORMED;
                len = 0;
            }
        }
        write_head(&raw mut (*record).head, kind::PACKET, size_of::<Packet<ROOM>>());
        (*record).connection = owner.connection;
        (*record).start = owner.start;
        (*record).bytes = bytes;
        (*record).tgid = owner.tgid;
        (*record).len = len as u32;
        (*record).flags = payload.flags;
        (*record).message = payload.message;
        (*record).direction = direction as u8;
        (*record).pad = 0;
    }
    submit(entry);
    Ok(if payload.flags & packet_flag::CUT != 0 { Sent::Truncated } else { Sent::Whole })
}
const _: () = assert!(PACKET_LARGE > PACKET_SMALL);
