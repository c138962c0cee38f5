//! The life of TCP sockets: raw tracepoint `inet_sock_set_state(const struct sock *sk, int oldstate, int newstate)`.
//!
//! Only SYN_SENT and LISTEN run in the task that caused them; every other change may run in softirq with an unrelated
//! current task, so no task is read here: owners were recorded when the socket was tracked (connect, exec, fork).
//! Sockets that nobody tracks cost two failed lookups.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_common::{Socket, TcpState, kind, program};

use crate::{
    control,
    field::{Addr, at, value},
    maps::{LISTENERS, TRACKED},
    program_slot::{ProgramSlot, dedup_key},
    ssh,
    stats::{Lost, Sent, count_result, reserve, submit, untracked, write_head},
};

const IPPROTO_TCP: u16 = 6;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP_SYN_SENT: u8 = 2;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;
/// Bit of `sk_flags` (enum sock_flags): the peer has sent its FIN.
const SOCK_DONE: u32 = 1;

/// `struct sock_common::skc_cookie`, found through `sock`.
#[inline(always)]
fn cookie(sk: Addr) -> u64 {
    value(sk, at!(sock_cookie))
}

/// The key under which a socket is tracked, and its id.
#[inline(always)]
pub fn tracked(sk: Addr) -> Option<(u64, u64)> {
    // SAFETY: values are copied out at once.
    if let Some(id) = unsafe { TRACKED.get(sk) } {
        return Some((sk, *id));
    }
    let cookie = cookie(sk);
    if cookie == 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { TRACKED.get(cookie) }.map(|id| (cookie, *id))
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

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn tcp_state(ctx: RawTracePointContext) -> i32 {
    if control::silenced() {
        return 0;
    }
    on_change(&ctx, ProgramSlot::First)
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn tcp_state_again(ctx: RawTracePointContext) -> i32 {
    if control::silenced() {
        return 0;
    }
    on_change(&ctx, ProgramSlot::Second)
}

#[inline(always)]
fn on_change(ctx: &RawTracePointContext, slot: ProgramSlot) -> i32 {
    let (sk, old, new) = (ctx.arg::<u64>(0), ctx.arg::<u32>(1) as u8, ctx.arg::<u32>(2) as u8);
    if new == TCP_LISTEN {
        // Twice is as good as once.
        let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        if LISTENERS.insert(tgid, 1, 0).is_err() {
            untracked(program::TCP_STATE);
        }
        return 0;
    }
    let event = dedup_key(sk, (old as u64) << 8 | new as u64);
    // The first program forgets a socket that closes, so the second asks for the event before it asks for the socket.
    if slot == ProgramSlot::Second && !slot.takes(event) {
        return 0;
    }
    if let Some((key, id)) = tracked(sk)
        && (slot == ProgramSlot::Second || slot.takes(event))
    {
        count_result(program::TCP_STATE, slot, changed(sk, id, old, new));
        if new == TCP_CLOSE {
            let _ = TRACKED.remove(key);
            ssh::ends(sk);
        }
    }
    0
}

#[inline(always)]
fn changed(sk: Addr, id: u64, old: u8, new: u8) -> Result<Sent, Lost> {
    let mut entry = reserve::<TcpState>()?;
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved record; every field is written, nothing fails before submit.
    unsafe {
        write_head(&raw mut (*record).head, kind::TCP_STATE, size_of::<TcpState>());
        endpoints(sk, id, &raw mut (*record).socket);
        // A FIN that came (SOCK_DONE) counts as a byte received, since it takes a sequence number; what the peer
        // acknowledged would count ours and the SYN.
        let fin = value::<u64>(sk, at!(sock_flags)) >> SOCK_DONE & 1;
        (*record).bytes_received = value::<u64>(sk, at!(tcp_bytes_received)).saturating_sub(fin);
        let (sent, again) = (value::<u64>(sk, at!(tcp_bytes_sent)), value::<u64>(sk, at!(tcp_bytes_retrans)));
        (*record).bytes_sent = sent.saturating_sub(again);
        (*record).old = old;
        (*record).new = new;
        (*record).error = value::<u32>(sk, at!(sock_err)) as u16;
        (*record).pad = 0;
    }
    submit(entry);
    Ok(Sent::Whole)
}
