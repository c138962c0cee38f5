//! The clear phase of every SSH connection on the host: `cgroup_skb` ingress and egress at the root of cgroup v2.
//!
//! Any program, any port: a socket whose first bytes are `SSH-` (RFC 4253, 4.2) is followed, and both directions are
//! copied to user space until NEWKEYS, which is the last packet before encryption. All of it is public by nature:
//! identifications, KEXINITs, public values, the host key. Every other socket is left at its first packet; one that has
//! moved `LIMIT` bytes costs three loads.
//!
//! These hooks see packets, not a stream: what comes again is left out, what is missing is said (`GAP`) and user space
//! gives up on that direction. Both programs return 1 on every path: 0 would drop the packet.

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{bpf_sk_fullsock, bpf_skb_load_bytes, bpf_tcp_sock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use sensor_common::{
    program,
    ssh::{CLEAR_LARGE, direction},
    ssh_map::{ConnectionKey, phase},
};

use super::{
    connection::{begin, fresh, side},
    memory,
    phase::{Bytes, LIMIT, SSH, advance, copy, identification},
};
use crate::{control, field::Addr, log, shared::get, socket, stats::untracked};

const ALLOW: i32 = 1;
const IPPROTO_TCP: u8 = 6;
const ETH_P_IP: u32 = (0x0800u16).to_be() as u32;
const ETH_P_IPV6: u32 = (0x86ddu16).to_be() as u32;
const IPV6_HEADER: u32 = 40;

#[cgroup_skb(ingress)]
pub fn clear_in(context: SkBuffContext) -> i32 {
    if control::silenced() {
        return ALLOW;
    }
    observe(&context, direction::IN);
    ALLOW
}

#[cgroup_skb(egress)]
pub fn clear_out(context: SkBuffContext) -> i32 {
    if control::silenced() {
        return ALLOW;
    }
    observe(&context, direction::OUT);
    ALLOW
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
    // SAFETY: the destination has the size of T, an integer or an array of them; the helper checks the source and fills
    // it, with zeroes if it fails.
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
    match side(ConnectionKey { place: address }, direction as u32) {
        Some((_, side)) => {
            // SAFETY: a live value of the map; a number is copied out.
            let phase = unsafe { get!(side.phase) };
            if phase != phase::DONE
                && let Some(segment) = segment(skb)
            {
                follow(skb, address, &segment, direction);
            }
        }
        // The SYN counts as a byte that was acknowledged.
        None if moved <= 1 => first(skb, address, direction),
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
fn first(skb: *mut __sk_buff, sk: Addr, direction: u8) {
    let Some(segment) = segment(skb) else { return };
    if load(skb, segment.at) != Some(SSH) {
        return;
    }
    let id = match socket::tracked(sk) {
        Some((_, id)) => id,
        None => {
            let fresh = fresh();
            if !socket::track(sk, fresh) {
                untracked(program::SSH_CLEAR);
            }
            fresh
        }
    };
    if begin(ConnectionKey { place: sk }, id) {
        log::ssh_begins(id);
        follow(skb, sk, &segment, direction);
    }
}

/// Copies what of a segment belongs to the clear phase.
#[inline(always)]
fn follow(skb: *mut __sk_buff, sk: Addr, segment: &Segment, direction: u8) {
    let place = (segment.sequence as u64) << 32 | direction as u64;
    let advanced = advance_segment(skb, sk, segment.at, segment.len, place);
    let (wanted, flags) = (advanced as u32, (advanced >> 32) as u32);
    if wanted != 0 {
        copy_segment(skb, sk, segment.at, wanted, flags << 8 | direction as u32);
    }
}

/// `phase::advance`. A global function: the verifier checks it once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn advance_segment(skb: *mut __sk_buff, sk: Addr, at: u32, len: u32, place: u64) -> u64 {
    advance(&Packet { skb, at }, ConnectionKey { place: sk }, len, place)
}

/// `phase::copy`. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy_segment(skb: *mut __sk_buff, sk: Addr, at: u32, wanted: u32, what: u32) -> u32 {
    copy(&Packet { skb, at }, ConnectionKey { place: sk }, sk, wanted, what);
    0
}

/// `phase::identification`. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn identification_of_segment(skb: *mut __sk_buff, at: u32, total: u32) -> u32 {
    identification(&Packet { skb, at }, total)
}

/// The payload of a packet, by where it begins.
struct Packet {
    skb: *mut __sk_buff,
    at: u32,
}

impl Bytes for Packet {
    /// A packet of the loopback has up to 64 KiB.
    const RECORDS: u32 = LIMIT / CLEAR_LARGE as u32;

    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        load(self.skb, self.at + at)
    }

    #[inline(always)]
    fn identification(&self, total: u32) -> u32 {
        identification_of_segment(self.skb, self.at, total)
    }

    #[inline(always)]
    fn head(&self) -> u32 {
        0
    }

    #[inline(always)]
    unsafe fn copy(&self, at: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller's promise; the helper checks the source.
        unsafe { bpf_skb_load_bytes(self.skb.cast(), self.at + at, to.cast(), len) == 0 }
    }
}
