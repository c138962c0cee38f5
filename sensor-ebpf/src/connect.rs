//! connect(2) on TCP sockets: `cgroup/connect4` and `connect6` at the root of the cgroup v2 tree.
//!
//! They run in the task that connects, before the kernel acts, so attempts that fail at once are seen and the owner is
//! right. Both return 1 on every path: 0 would refuse the connection. The socket is tracked by its cookie, which this
//! hook creates if need be.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use sensor_common::{Connect, Socket, kind, program};

use crate::{
    control,
    program_slot::ProgramSlot,
    socket,
    stats::{Lost, Sent, count_result, reserve, submit, untracked, write_head},
    task,
};

const ALLOW: i32 = 1;
const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    if control::silenced() {
        return ALLOW;
    }
    if is_tcp(&ctx) {
        // SAFETY: the verifier checks this access to the context.
        let address = unsafe { (*ctx.sock_addr).user_ip4 }.to_ne_bytes();
        count_result(
            program::CONNECT4,
            ProgramSlot::First,
            attempt(&ctx, AF_INET, socket::widen(address), program::CONNECT4),
        );
    }
    ALLOW
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    if control::silenced() {
        return ALLOW;
    }
    if is_tcp(&ctx) {
        let mut address = [0u8; 16];
        // SAFETY: the verifier checks these accesses: aligned words of the context.
        let words = unsafe {
            let ip = &raw const (*ctx.sock_addr).user_ip6;
            let ip = ip.cast::<u32>();
            [
                core::ptr::read_volatile(ip),
                core::ptr::read_volatile(ip.add(1)),
                core::ptr::read_volatile(ip.add(2)),
                core::ptr::read_volatile(ip.add(3)),
            ]
        };
        for (to, word) in address.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        count_result(program::CONNECT6, ProgramSlot::First, attempt(&ctx, AF_INET6, address, program::CONNECT6));
    }
    ALLOW
}

#[inline(always)]
fn is_tcp(ctx: &SockAddrContext) -> bool {
    // SAFETY: the verifier checks these accesses to the context.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    kind == SOCK_STREAM && protocol == IPPROTO_TCP
}

#[inline(always)]
fn attempt(ctx: &SockAddrContext, family: u16, remote: [u8; 16], row: u32) -> Result<Sent, Lost> {
    let task = task::current();
    let key = task::known_key(task)?;
    // SAFETY: the verifier checks the access; the port is in network order in the low half. The helpers take this
    // context or nothing.
    let (port, cookie, id) = unsafe {
        (u16::from_be((*ctx.sock_addr).user_port as u16), bpf_get_socket_cookie(ctx.as_ptr()), bpf_ktime_get_boot_ns())
    };
    if !socket::track(cookie, id) {
        untracked(row);
    }
    let mut entry = reserve::<Connect>()?;
    let record = entry.as_mut_ptr();
    // SAFETY: a reserved record; every field is written, nothing fails before submit.
    unsafe {
        write_head(&raw mut (*record).head, kind::CONNECT, size_of::<Connect>());
        task::describe(task, key, &raw mut (*record).task);
        (&raw mut (*record).socket).write(Socket {
            id,
            family,
            local_port: 0,
            remote_port: port,
            pad: 0,
            local: [0; 16],
            remote,
        });
    }
    submit(entry);
    Ok(Sent::Whole)
}
