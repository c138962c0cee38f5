//! uprobes at the calls of the cipher functions in libraries that many programs use: `EVP_CipherUpdate`,
//! `EVP_EncryptUpdate`, `EVP_DecryptUpdate` (ctx, out, outl, in, inl) in Python's cryptography, Ruby's openssl and
//! libssh, `EVP_Cipher` (ctx, out, in, inl) in libssh2; and at the branch after each call.
//!
//! These libraries serve more than SSH, so a packet is only looked for in a context that is bound to a connection
//! (`context`). How a packet comes:
//!
//! - outgoing: whole, at the call. libssh2 goes block by block, but the whole packet lies before it at the first one.
//! - incoming: whole (encrypt-then-MAC and AEAD in Paramiko and libssh), or its first block, and then the rest (plain
//!   MACs; Net::SSH always), or block by block (libssh2), each into some buffer of its own. Pieces are put together in
//!   the context's entry: as far as they are needed, and of channel data only the header.
//!
//! Where the length is not among the bytes (encrypt-then-MAC), a packet that is cut after its first block is told from
//! one that ends there by its message: everything that fits into one block has a length of its own (RFC 4253, 4254).

use aya_ebpf::{helpers::generated::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};
use core::arch::asm;
use sensor_common::{
    ssh::{direction, message},
    ssh_map::{CipherContext, CiphertextHash, ROOM, expects, process_flag},
};

use super::{
    context, first,
    maps::{CONTEXTS, UNBOUND},
    memory::{address, is_user, read},
    openssl::{self, is},
    owner,
    packet::{self, PACKET_MAX},
    stream, thread,
};
use crate::{
    control,
    shared::{get, set},
    stack,
};

const IN: u32 = direction::IN as u32;
const OUT: u32 = direction::OUT as u32;
/// The cipher block of every cipher that these libraries have; the least that a packet has with one.
const BLOCK: u32 = 16;
/// The least that one has with chacha20-poly1305.
const LEAST: u32 = 8;
const PADDING_MIN: u8 = 4;
const NEWKEYS: u32 = message::NEWKEYS as u32;

/// `EVP_CipherUpdate` and its halves: context, out, in, inl.
const UPDATE: [usize; 4] = [0, 1, 3, 4];
/// `EVP_Cipher`
const CIPHER: [usize; 4] = [0, 1, 2, 3];

/// Of a library for everybody.
#[uprobe]
pub fn update_call(context: ProbeContext) -> u32 {
    if control::silenced() {
        return 0;
    }
    if !call(&context, UPDATE, 0) {
        stack::keep_own(&context);
    }
    0
}

/// Of a library that speaks SSH itself.
#[uprobe]
pub fn speaker_call(context: ProbeContext) -> u32 {
    if control::silenced() {
        return 0;
    }
    if !call(&context, UPDATE, 1) {
        stack::keep_own(&context);
    }
    0
}

#[uprobe]
pub fn library_call(context: ProbeContext) -> u32 {
    if control::silenced() {
        return 0;
    }
    if !call(&context, CIPHER, 1) {
        stack::keep_own(&context);
    }
    0
}

/// False: it has no output, and is none of ours (additional data).
#[inline(always)]
fn call(context: &ProbeContext, [cipher, out, input, len]: [usize; 4], keeps: u32) -> bool {
    let (Some(cipher), Some(out), Some(input), Some(len)) =
        (context.arg(cipher), context.arg::<u64>(out), context.arg(input), context.arg::<u64>(len))
    else {
        return false;
    };
    if out == 0 {
        return false;
    }
    stream::resume_if(called(cipher, out, input, len as u32, keeps));
    true
}

/// At a call. Returns what was told of an outgoing packet. `keeps`: its contexts live as long as their keys, whatever
/// the cipher.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn called(cipher: u64, out: u64, input: u64, len: u32, keeps: u32) -> u32 {
    if !is_user(out) || !is_user(input) || !(LEAST..=PACKET_MAX).contains(&len) {
        return 0; // additional data, or a length
    }
    let (bytes, readable) = read::<[u64; 2]>(input);
    if !readable || bytes[0] | bytes[1] == 0 {
        return 0; // chacha20's key for the tag is made of zeroes, with the packet's own context
    }
    let (mut expected, mut told) = (expects::NOTHING, 0);
    if let Some(known) = CONTEXTS.get_ptr_mut(context::key(cipher)) {
        // SAFETY: a live value of the map that only this thread uses.
        if unsafe { get!(known.direction) } == OUT {
            told = outgoing(cipher, input, len);
        } else {
            expected = expects::PIECE;
        }
    } else if len >= BLOCK {
        expected = unbound(cipher, input, len, first::hash16(bytes), keeps);
    }
    if expected != expects::NOTHING
        && let Some(thread) = thread::entry(thread::id())
    {
        // SAFETY: a live value of the map that only this thread uses.
        unsafe {
            set!(thread.expects = expected);
            set!(thread.context = cipher);
            set!(thread.out = out);
            set!(thread.len = len);
        }
    }
    told
}

/// A call of a context that is not bound: what is expected after it.
#[inline(always)]
fn unbound(cipher: u64, input: u64, len: u32, first: CiphertextHash, keeps: u32) -> u32 {
    let cipher_kind = openssl::cipher_kind(cipher);
    let keeps = keeps != 0 || cipher_kind & is::AEAD == 0;
    let how = if keeps {
        context::KEEPS | context::READABLE
    } else if cipher_kind & (is::ENCRYPTS | is::DECRYPTS) != 0 {
        context::READABLE
    } else {
        0
    };
    if context::bind_first(cipher, first, IN, how) && keeps {
        return expects::PIECE;
    }
    if !keeps {
        let sole = owner::is_sole();
        if sole && cipher_kind & is::ENCRYPTS != 0 {
            packet::observe(input, len, OUT, packet::BY_PROCESS, len);
        }
        return if sole && cipher_kind & is::DECRYPTS != 0 { expects::SOLE } else { expects::NOTHING };
    }
    if cipher_kind & is::DECRYPTS != 0 {
        return if context::bind_rekeyed(cipher, IN) { expects::PIECE } else { expects::NOTHING };
    }
    // What it encrypted first has been sent meanwhile, if it is for a connection.
    // SAFETY: a live value of the map, copied out at once.
    let before = UNBOUND.get_ptr(context::key(cipher)).map(|hash| unsafe { hash.read_volatile() });
    let bound = before.is_some_and(|before| context::bind_first(cipher, before, OUT, how))
        || cipher_kind & is::ENCRYPTS != 0 && context::bind_rekeyed(cipher, OUT);
    if bound {
        outgoing(cipher, input, len);
        return expects::NOTHING;
    }
    if before.is_none() { expects::UNBOUND } else { expects::NOTHING }
}

/// A packet, or one of its blocks, before it is encrypted. A global function: the verifier checks it once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn outgoing(cipher: u64, input: u64, len: u32) -> u32 {
    let Some(known) = CONTEXTS.get_ptr_mut(context::key(cipher)) else { return 0 };
    // SAFETY: a live value of the map that only this thread uses.
    let to_come = unsafe { get!(known.total) };
    if to_come != 0 {
        // SAFETY: as above.
        unsafe { set!(known.total = to_come.saturating_sub(len)) };
        return 0;
    }
    let length = u32::from_be(read(input).0);
    // A length that is not encrypted is not there: then the first byte is that of the padding's, which is not 0.
    let total = if length >> 24 == 0 { length.wrapping_add(4) } else { len };
    if total < len || total > PACKET_MAX {
        return 0;
    }
    // SAFETY: as above.
    unsafe { set!(known.total = total - len) };
    let told = packet::observe(input, total, OUT, cipher, total);
    if told == NEWKEYS {
        // SAFETY: as above. Read late: this is on the deepest way, and 5.10 has 512 bytes for all of it.
        context::rekeyed(cipher, unsafe { get!(known.connection) }, OUT);
    }
    told
}

/// At the branch after a call.
#[uprobe]
pub fn library_jump(context: ProbeContext) -> u32 {
    if control::silenced() {
        return 0;
    }
    let Some(thread) = thread::known(thread::id()) else {
        stack::keep_own(&context);
        return 0;
    };
    // SAFETY: a live value of the map that only this thread uses.
    let (expected, cipher, out, len) =
        unsafe { (thread::take_expected(thread), get!(thread.context), get!(thread.out), get!(thread.len)) };
    match expected {
        expects::PIECE => {
            stream::resume_if(piece(cipher, out, len));
        }
        expects::SOLE => {
            packet::observe(out, len, IN, packet::BY_PROCESS, len);
        }
        expects::UNBOUND => {
            // An LRU takes everything.
            let _ = UNBOUND.insert(context::key(cipher), first::hash16(read(out).0), 0);
        }
        _ => {}
    }
    0
}

/// A piece of an incoming packet: tells the packet if this completes it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn piece(cipher: u64, out: u64, len: u32) -> u32 {
    let Some(known) = CONTEXTS.get_ptr_mut(context::key(cipher)) else { return 0 };
    // SAFETY: a live value of the map that only this thread uses, here and below.
    let (connection, have, flags) = unsafe { (get!(known.connection), get!(known.have), get!(known.flags)) };
    if have == 0 {
        let whole = flags & process_flag::WHOLE != 0;
        let (number, total) = begins(read(out).0, len, whole);
        if total == len {
            let told = packet::observe(out, len, IN, cipher, len);
            if told == NEWKEYS {
                context::rekeyed(cipher, connection, IN);
            }
            return told;
        }
        if total != UNKNOWN && (total < len || total > PACKET_MAX) {
            return 0; // no packet begins here
        }
        // SAFETY: as above.
        unsafe {
            set!(known.total = total);
            set!(known.message = number as u32);
        }
    }
    // SAFETY: as above.
    let (have, mut total) = unsafe {
        // Whole after one block and one piece, or not to be had in one piece.
        set!(known.rest = if have == BLOCK { out } else { 0 });
        (append(known, have, out, len), get!(known.total))
    };
    if total == UNKNOWN {
        if have == len {
            return 0; // the first block; the next call has all the rest
        }
        total = have;
    }
    if have < total {
        return 0;
    }
    // SAFETY: as above; of the data only the address is taken.
    let (number, data) = unsafe {
        set!(known.total = 0);
        set!(known.have = 0);
        (get!(known.message), &raw const (*known).data)
    };
    let available = kept(number as u8);
    let available = if total < available { total } else { available };
    let told = packet::observe(address(data), total, IN, cipher, available);
    if told == NEWKEYS {
        context::rekeyed(cipher, connection, IN);
    }
    told
}

/// The length of a packet of which only the first block is there, and which does not say it.
const UNKNOWN: u32 = 0;

/// The message number of a packet and its length, from its first block.
#[inline(always)]
fn begins(block: [u8; BLOCK as usize], len: u32, whole: bool) -> (u8, u32) {
    let [a, b, c, d, e, f, ..] = block;
    if whole {
        return (b, len);
    }
    if a == 0 {
        if e < PADDING_MIN {
            return (f, u32::MAX);
        }
        return (f, u32::from_be_bytes([a, b, c, d]).wrapping_add(4));
    }
    if a < PADDING_MIN {
        return (b, u32::MAX);
    }
    if len != BLOCK || (a as u32) < BLOCK - 1 && payload_bytes(block) == BLOCK - 1 - a as u32 {
        return (b, len);
    }
    (b, UNKNOWN)
}

/// Bytes of a payload that fits into one block, by its number and, where that does not say it, by the string in it; 0:
/// it does not fit.
#[inline(always)]
fn payload_bytes([padding, number, block @ ..]: [u8; BLOCK as usize]) -> u32 {
    let [a, b, c, d, e, f, g, h, ..] = block;
    let string = |length: [u8; 4]| {
        let len = u32::from_be_bytes(length);
        if len < BLOCK { len } else { BLOCK }
    };
    match number {
        message::USERAUTH_SUCCESS | message::REQUEST_FAILURE | message::NEWKEYS => 1,
        // With a port or without: as the padding has it.
        message::REQUEST_SUCCESS => {
            if padding as u32 == BLOCK - 2 {
                1
            } else {
                5
            }
        }
        message::CHANNEL_EOF | message::CHANNEL_CLOSE | message::CHANNEL_SUCCESS | message::CHANNEL_FAILURE => 5,
        message::CHANNEL_WINDOW_ADJUST => 9,
        message::CHANNEL_DATA => 9 + string([e, f, g, h]),
        message::IGNORE => 5 + string([a, b, c, d]),
        message::USERAUTH_FAILURE => 6 + string([a, b, c, d]),
        _ => 0,
    }
}

/// How much of a packet is put together.
#[inline(always)]
fn kept(number: u8) -> u32 {
    match number {
        // Their first block says how much data there is; the data stays where it is.
        message::CHANNEL_DATA => BLOCK,
        message::CHANNEL_EXTENDED_DATA => BLOCK + 4,
        _ => ROOM as u32,
    }
}

/// Copies what is needed of a piece behind what is there. Returns how much has come with it.
///
/// # Safety
/// `known` is a live value of the map.
#[inline(always)]
unsafe fn append(known: *mut CipherContext, have: u32, out: u64, len: u32) -> u32 {
    let sum = have.wrapping_add(len);
    // SAFETY: the caller's promise.
    let room = unsafe {
        set!(known.have = sum);
        kept(get!(known.message) as u8)
    };
    if have >= room {
        return sum;
    }
    let mut at = have as u64;
    let mut wanted = if len < room - have { len as u64 } else { (room - have) as u64 };
    // SAFETY: the caller's promise; `at` is below ROOM and `wanted` at most that afterwards, in a form that every
    // verifier follows and LLVM does not remove.
    unsafe {
        asm!("{at} &= {mask}", "if {wanted} <= {room} goto +1", "{wanted} = {room}",
            at = inout(reg) at, wanted = inout(reg) wanted, mask = const ROOM as i32 - 1, room = const ROOM as i32);
        let to = (&raw mut (*known).data).cast::<u8>().add(at as usize);
        if bpf_probe_read_user(to.cast(), wanted as u32, out as *const _) != 0 {
            set!(known.message = 0);
        }
    }
    sum
}
