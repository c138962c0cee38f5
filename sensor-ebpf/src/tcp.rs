//! The life of TCP sockets: raw tracepoint `inet_sock_set_state(const struct sock *sk, int oldstate, int newstate)`.
//!
//! Only SYN_SENT and LISTEN run in the task that caused them; every other change may run in softirq with an unrelated
//! current task, so no task is read here: owners were recorded when the socket was tracked (connect, exec, fork).
//! Sockets that nobody tracks cost two failed lookups.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_common::{
    TcpState, kind,
    map::{Mark, Tgid},
    program,
};

use crate::{
    control,
    field::{Addr, at, value},
    maps::{LISTENERS, TRACKED},
    program_slot::{ProgramSlot, dedup_key},
    socket, ssh,
    stats::{Lost, Sent, count_result, reserve, submit, untracked, write_head},
};

const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;
/// Bit of `sk_flags` (enum sock_flags): the peer has sent its FIN.
const SOCK_DONE: u32 = 1;

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
        if LISTENERS.insert(Tgid { tgid }, Mark::SET, 0).is_err() {
            untracked(program::TCP_STATE);
        }
        return 0;
    }
    let event = dedup_key(sk, (old as u64) << 8 | new as u64);
    // The first program forgets a socket that closes, so the second asks for the event before it asks for the socket.
    if slot == ProgramSlot::Second && !slot.takes(event) {
        return 0;
    }
    if let Some((key, id)) = socket::tracked(sk)
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
        socket::endpoints(sk, id, &raw mut (*record).socket);
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
