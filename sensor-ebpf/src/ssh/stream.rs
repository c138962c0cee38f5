//! An SSH connection that runs through a channel of another one: `ssh -J`, Paramiko with `sock=channel`, a ProxyCommand
//! that is `ssh ... nc`.
//!
//! It has no socket of its own, and its ends speak over pipes or inside of one process. But the process that carries it
//! has its bytes as channel data, in clear once: so the carrier's packets are read here as segments are elsewhere, from
//! `SSH-` to NEWKEYS and the first encrypted bytes, and these tell which cipher context is its (`context`). Nothing
//! after that, and no other channel's data, is read; each channel's first four bytes are.
//!
//! Both directions of a channel have numbers of their own; the confirmation of its opening names both (RFC 4254, 5.1),
//! and there the stream gets its id. A channel that was opened before the sensor came is not looked into.

use aya_ebpf::helpers::generated::bpf_probe_read;
use sensor_common::{
    program,
    ssh::{Tunnelled, kind},
    ssh_map::{Carrying, Channel, ConnectionKey, Data, FLOW_READ, Flow, phase},
};

use super::{
    connection::{begin, fresh, is_followed, side},
    maps::{CARRYING, FLOWS},
    memory::read,
    phase::{Bytes, SSH, advance, copy, identification},
    teardown::ends,
    thread,
};
use crate::{
    program_slot::ProgramSlot,
    shared::{get, set},
    stats::{Sent, count_result, reserve, submit, untracked, write_head},
};

/// A channel was confirmed: the message goes in `direction`, to `recipient` at its receiver, from `sender` at its
/// sender.
#[inline(always)]
pub fn opened(connection: u64, recipient: u32, sender: u32, direction: u32) {
    let flow = Flow { bytes: 0, stream: fresh() };
    for (number, direction) in [(recipient, direction), (sender, direction ^ 1)] {
        if FLOWS.insert(Channel { connection, number, direction }, flow, 0).is_err() {
            untracked(program::SSH_PACKET);
        }
    }
}

/// In what `observe` returns: there is channel data to be read.
pub const PENDING: u32 = 1 << 31;

/// Remembers data of a channel, which has been counted. It is read from the probe's program itself (`resume_if`): the
/// stacks of all functions on the way to it would not fit into one.
#[inline(always)]
pub fn remember(channel: Channel, data: Data) -> u32 {
    if CARRYING.insert(thread::id(), Carrying { channel, data }, 0).is_ok() { PENDING } else { 0 }
}

/// Reads what was remembered.
#[inline(always)]
pub fn resume_if(told: u32) {
    if told & PENDING != 0 {
        resume();
    }
}

/// A global function: the verifier checks it once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resume() -> u32 {
    let Some(carrying) = CARRYING.get_ptr(thread::id()) else { return 0 };
    // SAFETY: a live value of the map that only this thread uses, copied out at once.
    let (channel, data) = unsafe { (get!(carrying.channel), get!(carrying.data)) };
    let Some(flow) = FLOWS.get_ptr_mut(channel) else { return 0 };
    // SAFETY: a live value of the map; one process works on a connection's direction at a time.
    let (stream, before) = unsafe { (get!(flow.stream), get!(flow.bytes).wrapping_sub(data.len as u64)) };
    if !is_wanted(stream) {
        return 0;
    }
    if before == 0 && !begins(channel, stream, data) {
        // SAFETY: as above.
        unsafe { set!(flow.stream = 0) };
    } else if follow(stream, data, before, channel.direction) == OVER {
        // SAFETY: as above.
        unsafe { set!(flow.stream = stream | FLOW_READ) };
    }
    0
}

/// Is more of a channel wanted?
#[inline(always)]
pub fn is_wanted(stream: u64) -> bool {
    stream != 0 && stream & FLOW_READ == 0
}

/// Bits of what came before that fit beside the direction.
const SEQUENCE: u32 = !(1 << 31);
const OVER: u32 = 1;

/// Is it SSH? The first direction that says so makes a connection of it and tells who carries it.
#[inline(always)]
fn begins(channel: Channel, stream: u64, data: Data) -> bool {
    if data.len < 4 || Memory(data).load::<4>(0) != Some(SSH) {
        return false;
    }
    let key = ConnectionKey { place: stream };
    if is_followed(key) {
        return true;
    }
    if !begin(key, stream) {
        return false;
    }
    let told = match reserve::<Tunnelled>() {
        Ok(mut entry) => {
            let record = entry.as_mut_ptr();
            // SAFETY: a reserved record; every field is written, nothing fails before submit.
            unsafe {
                write_head(&raw mut (*record).head, kind::CARRIED, size_of::<Tunnelled>());
                (*record).connection = stream;
                (*record).carrier = channel.connection;
                (*record).recipient = channel.number;
                (*record).direction = channel.direction;
            }
            submit(entry);
            Ok(Sent::Whole)
        }
        Err(lost) => Err(lost),
    };
    count_result(program::SSH_CLEAR, ProgramSlot::First, told);
    true
}

/// Reads one piece. `OVER`: nothing more is wanted of this direction.
#[inline(always)]
fn follow(stream: u64, data: Data, before: u64, direction: u32) -> u32 {
    let Data { first, rest, split, len } = data;
    let key = ConnectionKey { place: stream };
    let place = (len as u64) << 32 | (before as u32 & SEQUENCE) as u64 | (direction as u64) << 31;
    let advanced = advance_data(stream, first, rest, split, place);
    let (wanted, flags) = (advanced as u32, (advanced >> 32) as u32);
    if wanted != 0 {
        copy_data(stream, first, rest, split, (wanted as u64) << 32 | (flags << 8 | direction) as u64);
    }
    // SAFETY: a live value of the map.
    let done = side(key, direction).is_none_or(|(_, side)| unsafe { get!(side.phase) } == phase::DONE);
    if done { OVER } else { 0 }
}

/// `phase::advance`. `place`: length in the upper half; where it begins, with the direction in the highest bit. A
/// global function: the verifier checks it once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn advance_data(stream: u64, first: u64, rest: u64, split: u32, place: u64) -> u64 {
    let (len, direction) = ((place >> 32) as u32, (place as u32) >> 31);
    let sequence = (place as u32 & SEQUENCE) as u64;
    advance(
        &Memory(Data { first, split, len, rest }),
        ConnectionKey { place: stream },
        len,
        sequence << 32 | direction as u64,
    )
}

/// `phase::copy`. `what`: how much in the upper half. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy_data(stream: u64, first: u64, rest: u64, split: u32, what: u64) -> u32 {
    let wanted = (what >> 32) as u32;
    let bytes = Memory(Data { first, split, len: wanted, rest });
    copy(&bytes, ConnectionKey { place: stream }, 0, wanted, what as u32);
    0
}

/// Bytes of a channel that ends in this direction. `close`: it is gone.
#[inline(always)]
pub fn flowed(channel: Channel, close: bool) -> u64 {
    let Some(flow) = FLOWS.get_ptr(channel) else { return 0 };
    // SAFETY: a live value of the map; numbers are copied out at once.
    let (bytes, stream) = unsafe { (get!(flow.bytes), get!(flow.stream)) };
    if close {
        // What the connection has carried may still have to be decrypted by whoever reads it from a pipe: once it has
        // its keys, the loader takes it away.
        let _ = FLOWS.remove(channel);
        ends(stream);
    }
    bytes
}

/// `phase::identification`. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn identification_of_data(first: u64, rest: u64, split: u32, total: u32) -> u32 {
    identification(&Memory(Data { first, split, len: total, rest }), total)
}

struct Memory(Data);

/// Eight bytes of channel data. Global functions, these two: what they return is any number to the verifier, and the
/// loops that call them do not branch.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn word_at(first: u64, rest: u64, split: u32, at: u32) -> u64 {
    if at >= split {
        return read::<u64>(rest.wrapping_add((at - split) as u64)).0;
    }
    let (head, bits) = (read::<u64>(first.wrapping_add(at as u64)).0, (split - at) * 8);
    if bits < 64 { head & ((1 << (bits & 63)) - 1) | read::<u64>(rest).0 << (bits & 63) } else { head }
}

/// Where they lie.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn place_of(first: u64, rest: u64, split: u32, at: u32) -> u64 {
    if at < split { first.wrapping_add(at as u64) } else { rest.wrapping_add((at - split) as u64) }
}

impl Bytes for Memory {
    /// Each message of the clear phase comes by itself. The verifier of 5.10 gives up on more.
    const RECORDS: u32 = 4;

    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let Data { first, split, rest, .. } = self.0;
        word_at(first, rest, split, at).to_le_bytes().first_chunk().copied()
    }

    #[inline(always)]
    fn identification(&self, total: u32) -> u32 {
        let Data { first, split, rest, .. } = self.0;
        identification_of_data(first, rest, split, total)
    }

    #[inline(always)]
    fn head(&self) -> u32 {
        self.0.split
    }

    #[inline(always)]
    unsafe fn copy(&self, at: u32, to: *mut u8, len: u32) -> bool {
        let Data { first, split, rest, .. } = self.0;
        // SAFETY: the caller's promise; the helper checks the source.
        unsafe { bpf_probe_read(to.cast(), len, place_of(first, rest, split, at) as *const _) == 0 }
    }
}
