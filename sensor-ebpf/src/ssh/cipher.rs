//! uprobes at the calls of `EVP_Cipher(ctx, out, in, inl)` in a program's own text.
//!
//! Outgoing packets are clear in `in`, before and after the call; incoming ones in `out`, after it. A trap costs more
//! than what a program does with it, so where the text shows that the arguments outlive the call (`kept`), one probe
//! after it reads both. Elsewhere there are two: at the call, and at the conditional jump that follows it, with the
//! arguments remembered per thread.
//!
//! Both directions pass the same places, and the input of a decryption is random bytes, which sometimes parse: so
//! nothing is read as a packet before its direction is proven: by `ctx->encrypt`, or, for chacha20-poly1305 (its
//! context claims to encrypt in both directions), by the four bytes before the packet, which its own call has passed
//! already: they are the packet's length before `in` (outgoing) or before `out` (incoming). A body without proof is
//! dropped and counted.
//!
//! A cipher with a plain MAC decrypts an incoming packet's first block, which has the length, and then the rest: the
//! rest is parsed with the block before it.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::uprobe, programs::ProbeContext};
use sensor_common::{program, ssh::direction, ssh_map::expects};

use super::{
    kept,
    memory::{is_user, read},
    openssl, owner,
    packet::{self, PACKET_MAX},
    stream, thread,
};
use crate::{
    control, log,
    program_slot::ProgramSlot,
    shared::{get, set},
    stack,
    stats::{Lost, count_result},
};

const HEADER_BYTES: u32 = 4;
/// What chacha20-poly1305 derives its key for the tag from: zeroes, in place.
const POLY_KEY_BYTES: u32 = 32;
/// The largest and smallest cipher block.
const BLOCK_BYTES: u32 = 16;
const BLOCK_BYTES_3DES: u32 = 8;

#[inline(always)]
fn arguments(context: &ProbeContext) -> Option<(u64, u64, u64, u32)> {
    let len: u64 = context.arg(3)?;
    Some((context.arg(0)?, context.arg(1)?, context.arg(2)?, len as u32))
}

/// At a call.
#[uprobe]
pub fn cipher_call(context: ProbeContext) -> u32 {
    if control::silenced() {
        return 0;
    }
    let Some((cipher, out, input, len)) = arguments(&context) else { return 0 };
    if !is_user(out)
        || !is_user(input)
        || !(HEADER_BYTES..=PACKET_MAX).contains(&len)
        || (len == POLY_KEY_BYTES && out == input)
    {
        return 0;
    }
    let Some(thread) = thread::entry(thread::id()) else {
        stack::keep_own(&context);
        count_result(program::SSH_PACKET, ProgramSlot::First, Err(Lost::Full));
        return 0;
    };
    // SAFETY: a live value of the map that only this thread uses.
    unsafe {
        if get!(thread.expects) != expects::NOTHING
            && (get!(thread.context), get!(thread.out), get!(thread.input), get!(thread.len))
                == (cipher, out, input, len)
        {
            // The same call, probed twice: two containers can share one inode under two names. Its jump has not come,
            // so it is not another one.
            return 0;
        }
        set!(thread.expects = expects::JUMP);
        set!(thread.context = cipher);
        set!(thread.out = out);
        set!(thread.input = input);
        set!(thread.len = len);
    }
    if len == HEADER_BYTES {
        return 0;
    }
    if let Some(splits) = passes(cipher, out, input, len) {
        // SAFETY: as above.
        unsafe { set!(thread.expects = if splits { expects::BODY } else { expects::WHOLE }) };
    }
    0
}

/// Bytes pass a call. What goes out is told; what comes in is some process's: then whether it may come in pieces.
/// `cipher`: 0 where it is not known.
#[inline(always)]
fn passes(cipher: u64, out: u64, input: u64, len: u32) -> Option<bool> {
    let claimed = openssl::claimed(cipher);
    match claimed.map(|claimed| claimed.direction).or_else(|| by_length(out, input, len)) {
        Some(direction::OUT) => {
            let told = packet::observe(input, len, direction::OUT as u32, packet::BY_PROCESS, len);
            stream::resume_if(told);
            None
        }
        Some(_) => {
            if len >= BLOCK_BYTES {
                owner::bind_by_first_ciphertext((bpf_get_current_pid_tgid() >> 32) as u32, input);
            }
            Some(claimed.is_some_and(|claimed| claimed.splits))
        }
        None => {
            log::direction_unproven(cipher, len);
            count_result(program::SSH_PACKET, ProgramSlot::First, Err(Lost::Unreadable));
            None
        }
    }
}

/// The direction of a chacha20-poly1305 packet. (Of other ciphers a length before it would be clear on both sides.)
#[inline(always)]
fn by_length(out: u64, input: u64, len: u32) -> Option<u8> {
    let at = |address: u64| u32::from_be(read(address.wrapping_sub(HEADER_BYTES as u64)).0);
    match (at(input) == len, at(out) == len) {
        (true, false) => Some(direction::OUT),
        (false, true) => Some(direction::IN),
        _ => None,
    }
}

/// At the conditional jump after a call.
#[uprobe]
pub fn cipher_jump(context: ProbeContext) -> u32 {
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
        expects::BODY => received(Some(cipher), out, len),
        expects::WHOLE => received(None, out, len),
        _ => {}
    }
    0
}

/// After a call whose arguments outlive it: both directions at once.
#[uprobe]
pub fn cipher_done(context: ProbeContext) -> u32 {
    if control::silenced() {
        return 0;
    }
    let Some(kept::Call { cipher, out, input, len }) = kept::call(&context) else {
        stack::keep_own(&context);
        return 0;
    };
    if !is_user(out) || !is_user(input) || !(HEADER_BYTES + 1..=PACKET_MAX).contains(&len) {
        return 0;
    }
    if let Some(splits) = passes(cipher, out, input, len) {
        received(if splits { Some(cipher) } else { None }, out, len);
    }
    0
}

/// Bytes of an incoming packet, decrypted. `pieces`: the context, if they may be a part of it.
#[inline(always)]
fn received(pieces: Option<u64>, out: u64, len: u32) {
    let (base, len) = match pieces {
        Some(cipher) => incoming(cipher, out, len),
        None => (out, len),
    };
    if len != 0 {
        let told = packet::observe(base, len, direction::IN as u32, packet::BY_PROCESS, len);
        stream::resume_if(told);
    }
}

/// Where an incoming packet that is complete now begins, and its length; a length of 0: nothing to read yet.
#[inline(always)]
fn incoming(cipher: u64, out: u64, len: u32) -> (u64, u32) {
    let id = thread::id();
    let known = thread::known(id);
    if let Some(thread) = known {
        // SAFETY: a live value of the map that only this thread uses.
        let (rest, block, context) = unsafe { (get!(thread.rest), get!(thread.block), get!(thread.block_context)) };
        if rest != 0 && context == cipher {
            // SAFETY: as above.
            unsafe { set!(thread.rest = 0) };
            // The buffer may have moved since, with the block in it.
            return if rest == len { (out.wrapping_sub(block as u64), rest + block) } else { (0, 0) };
        }
    }
    let first: u32 = u32::from_be(read(out).0);
    let is_block = len == BLOCK_BYTES || len == BLOCK_BYTES_3DES;
    // A packet without its length begins with the length of its padding, at least 4: the first byte of a length is 0.
    if first >> 24 == 0 && is_block && first + HEADER_BYTES != len {
        if first > len - HEADER_BYTES && first < PACKET_MAX {
            match known.or_else(|| thread::entry(id)) {
                // SAFETY: as above.
                Some(thread) => unsafe {
                    set!(thread.rest = first + HEADER_BYTES - len);
                    set!(thread.block = len);
                    set!(thread.block_context = cipher);
                },
                None => count_result(program::SSH_PACKET, ProgramSlot::First, Err(Lost::Full)),
            }
        }
        return (0, 0);
    }
    (out, len)
}
