//! uprobes at the calls of `EVP_Cipher(ctx, out, in, inl)` in a program's own text, and at the conditional jump that follows each call.
//!
//! Outgoing packets are clear at the call (`in`), incoming ones at the jump (`out`, remembered per thread). Both directions pass the same places, and the
//! input of a decryption is random bytes, which sometimes parse: so nothing is read as a packet before its direction is proven.
//! chacha20-poly1305 (its context claims to encrypt in both directions) is proven by its header call, whose four bytes are the next call's length either before
//! (outgoing) or after (incoming); every other cipher by `ctx->encrypt`. A body without proof is dropped and counted.
//!
//! A cipher with a plain MAC decrypts an incoming packet's first block, which has the length, and then the rest: the rest is parsed with the block before it.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::uprobe, programs::ProbeContext};
use sensor_common::{program, ssh::direction};

use super::{
    bind,
    maps::{THREADS, Thread, expects, header},
    memory::{is_user, read},
    packet, stream,
};
use crate::{
    stack,
    stats::{Lost, settle},
    turn::Turn,
};

/// SSH_MSG payloads are at most 256 KiB in OpenSSH (PACKET_MAX_SIZE); padding and MAC come on top.
pub const PACKET_MAX: u32 = (256 << 10) + 1024;
const HEADER_BYTES: u32 = 4;
/// What chacha20-poly1305 derives its key for the tag from: zeroes, in place.
const POLY_KEY_BYTES: u32 = 32;
/// The largest and smallest cipher block.
const BLOCK_BYTES: u32 = 16;
const BLOCK_BYTES_3DES: u32 = 8;
/// `evp_cipher_ctx_st::encrypt`, of OpenSSL 1.1 and 3.
const ENCRYPT: u64 = 0x10;
pub const NID_CHACHA20: u32 = 1019;

#[inline(always)]
fn arguments(context: &ProbeContext) -> Option<(u64, u64, u64, u32)> {
    let len: u64 = context.arg(3)?;
    Some((context.arg(0)?, context.arg(1)?, context.arg(2)?, len as u32))
}

/// At a call.
#[uprobe]
pub fn cipher_call(context: ProbeContext) -> u32 {
    let Some((cipher, out, input, len)) = arguments(&context) else { return 0 };
    if !is_user(out)
        || !is_user(input)
        || !(HEADER_BYTES..=PACKET_MAX).contains(&len)
        || (len == POLY_KEY_BYTES && out == input)
    {
        return 0;
    }
    let id = bpf_get_current_pid_tgid();
    let Some(thread) = thread(id) else {
        stack::keep_own(&context);
        settle(program::SSH_PACKET, Turn::First, Err(Lost::Full));
        return 0;
    };
    // SAFETY: a live value of the map that only this thread uses.
    let thread = unsafe { &mut *thread };
    if thread.expects != expects::NOTHING
        && (thread.context, thread.out, thread.input, thread.len) == (cipher, out, input, len)
    {
        // The same call, probed twice: two containers can share one inode under two names. Its jump has not come, so it is not another one.
        return 0;
    }
    thread.expects = expects::JUMP;
    thread.context = cipher;
    thread.out = out;
    thread.input = input;
    thread.len = len;
    if len == HEADER_BYTES {
        thread.header_in = u32::from_be(read(input).0);
        thread.header = header::BEFORE;
        thread.expects = expects::HEADER;
        return 0;
    }
    let known = core::mem::replace(&mut thread.header, 0);
    let side = if known & header::BEFORE != 0 && thread.header_in == len {
        Some(direction::OUT)
    } else if known & header::AFTER != 0 && thread.header_out == len {
        Some(direction::IN)
    } else {
        by_context(cipher)
    };
    match side {
        Some(direction::OUT) => {
            let told = packet::observe(input, len, direction::OUT as u32, packet::BY_PROCESS, len);
            stream::resume_if(told);
        }
        Some(_) => {
            if len >= BLOCK_BYTES {
                bind::by_first((id >> 32) as u32, input);
            }
            thread.expects = expects::BODY;
        }
        None => settle(program::SSH_PACKET, Turn::First, Err(Lost::Unreadable)),
    }
    0
}

/// The direction that a cipher's context claims; None for chacha20, which claims nothing of worth.
#[inline(always)]
fn by_context(context: u64) -> Option<u8> {
    let (cipher, _) = read::<u64>(context);
    let (nid, known) = read::<u32>(cipher);
    let (encrypt, readable) = read::<u32>(context.wrapping_add(ENCRYPT));
    if !known || !readable || nid == NID_CHACHA20 || encrypt > 1 {
        return None;
    }
    Some(encrypt as u8)
}

#[inline(always)]
pub fn thread(id: u64) -> Option<*mut Thread> {
    if let Some(thread) = THREADS.get_ptr_mut(id) {
        return Some(thread);
    }
    let fresh = Thread {
        context: 0,
        out: 0,
        input: 0,
        len: 0,
        expects: 0,
        header_in: 0,
        header_out: 0,
        header: 0,
        rest: 0,
        block: 0,
        pad: 0,
        block_context: 0,
    };
    THREADS.insert(id, fresh, 0).ok()?;
    THREADS.get_ptr_mut(id)
}

/// At the conditional jump after a call.
#[uprobe]
pub fn cipher_jump(context: ProbeContext) -> u32 {
    let Some(thread) = THREADS.get_ptr_mut(bpf_get_current_pid_tgid()) else {
        stack::keep_own(&context);
        return 0;
    };
    // SAFETY: a live value of the map that only this thread uses.
    let thread = unsafe { &mut *thread };
    match core::mem::replace(&mut thread.expects, expects::NOTHING) {
        expects::HEADER => {
            thread.header_out = u32::from_be(read(thread.out).0);
            thread.header |= header::AFTER;
        }
        expects::BODY => {
            let (base, len) = incoming(thread);
            if len != 0 {
                let told = packet::observe(base, len, direction::IN as u32, packet::BY_PROCESS, len);
                stream::resume_if(told);
            }
        }
        _ => {}
    }
    0
}

/// Where an incoming packet that is complete now begins, and its length; a length of 0: nothing to read yet.
#[inline(always)]
fn incoming(thread: &mut Thread) -> (u64, u32) {
    let rest = core::mem::replace(&mut thread.rest, 0);
    if rest != 0 && thread.block_context == thread.context {
        // The buffer may have moved since, with the block in it.
        return if rest == thread.len {
            (thread.out.wrapping_sub(thread.block as u64), rest + thread.block)
        } else {
            (0, 0)
        };
    }
    thread.rest = if thread.block_context == thread.context { 0 } else { rest };
    let first: u32 = u32::from_be(read(thread.out).0);
    let is_block = thread.len == BLOCK_BYTES || thread.len == BLOCK_BYTES_3DES;
    // A packet without its length begins with the length of its padding, at least 4: the first byte of a length is 0.
    if first >> 24 == 0 && is_block && first + HEADER_BYTES != thread.len {
        if first > thread.len - HEADER_BYTES && first < PACKET_MAX {
            thread.rest = first + HEADER_BYTES - thread.len;
            thread.block = thread.len;
            thread.block_context = thread.context;
        }
        return (0, 0);
    }
    (thread.out, thread.len)
}
