//! The allow-list: which messages leave the kernel, and how far into each of them is copied.
//!
//! `prefix` walks the fields of a payload (RFC 4252-4254) and stops before the first one that may not leave: the
//! password of a `password` request, a signature, the value of a variable, a terminal's size, an X11 cookie. It reads
//! the lengths of strings only; what it passes over is not read. Where a length does not fit its packet nothing is
//! copied at all.

use sensor_common::ssh::{PACKET_LARGE, message, packet_flag};

use super::memory::read;

#[inline(always)]
pub fn is_listed(number: u8) -> bool {
    // One bit per message below 128.
    const LISTED: [u64; 2] = {
        let mut bits = [0u64; 2];
        let all = [
            message::DISCONNECT,
            message::KEXINIT,
            message::USERAUTH_REQUEST,
            message::USERAUTH_FAILURE,
            message::USERAUTH_SUCCESS,
            message::USERAUTH_60,
            message::USERAUTH_61,
            message::GLOBAL_REQUEST,
            message::REQUEST_SUCCESS,
            message::REQUEST_FAILURE,
            message::CHANNEL_OPEN,
            message::CHANNEL_OPEN_CONFIRMATION,
            message::CHANNEL_OPEN_FAILURE,
            message::CHANNEL_DATA,
            message::CHANNEL_EXTENDED_DATA,
            message::CHANNEL_EOF,
            message::CHANNEL_CLOSE,
            message::CHANNEL_REQUEST,
            message::CHANNEL_SUCCESS,
            message::CHANNEL_FAILURE,
        ];
        let mut i = 0;
        while i < all.len() {
            bits[(all[i] >> 6) as usize] |= 1 << (all[i] & 63);
            i += 1;
        }
        bits
    };
    let word = if number < 64 { LISTED[0] } else { LISTED[1] };
    number < 128 && word >> (number & 63) & 1 != 0
}

/// What `prefix` returns, apart.
#[inline(always)]
pub fn len(allowed: u64) -> u32 {
    allowed as u32
}

#[inline(always)]
pub fn flags(allowed: u64) -> u16 {
    (allowed >> 32) as u16
}

/// A place in a payload. Once `bad`, it stays.
struct Walk {
    base: u64,
    len: u32,
    at: u32,
    bad: bool,
}

/// A string's length and first bytes: enough to tell the names that matter apart.
struct Name {
    len: u32,
    first: u64,
}

impl Name {
    #[inline(always)]
    fn is(&self, name: &[u8]) -> bool {
        let mut first = [0u8; 8];
        let mut i = 0;
        while i < 8 && i < name.len() {
            first[i] = name[i];
            i += 1;
        }
        // What follows a shorter name is none of its business.
        let mask = if name.len() < 8 { (1u64 << (8 * name.len() as u32 % 64)) - 1 } else { u64::MAX };
        self.len == name.len() as u32 && self.first & mask == u64::from_le_bytes(first)
    }
}

impl Walk {
    #[inline(always)]
    fn fixed(&mut self, bytes: u32) {
        if bytes > self.len - self.at {
            self.bad = true;
        } else {
            self.at += bytes;
        }
    }

    /// Over a string.
    #[inline(always)]
    fn string(&mut self) {
        let left = self.len - self.at;
        let len = u32::from_be(read(self.base.wrapping_add(self.at as u64)).0);
        if left < 4 || len > left - 4 {
            self.bad = true;
        } else {
            self.at += 4 + len;
        }
    }

    /// Over a string that names something.
    #[inline(always)]
    fn name(&mut self) -> Name {
        let at = self.base.wrapping_add(self.at as u64);
        self.string();
        Name { len: u32::from_be(read(at).0), first: u64::from_le_bytes(read(at.wrapping_add(4)).0) }
    }
}

/// How many bytes of a payload may leave, with `packet_flag`s in the upper half: CUT where there is more than a record
/// holds, MALFORMED where a length does not fit.
///
/// A global function: the verifier checks it once, by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn prefix(base: u64, len: u32, number: u32) -> u64 {
    let mut walk = Walk { base, len, at: 0, bad: false };
    match number as u8 {
        message::DISCONNECT => {
            walk.fixed(4);
            walk.string();
        }
        message::USERAUTH_REQUEST => userauth(&mut walk),
        message::USERAUTH_FAILURE => {
            walk.string();
            walk.fixed(1);
        }
        message::GLOBAL_REQUEST => global_request(&mut walk),
        message::REQUEST_SUCCESS => {
            // The port that was chosen, or nothing; other requests' answers are not ours.
            if len == 4 {
                walk.fixed(4);
            }
        }
        message::CHANNEL_OPEN => channel_open(&mut walk),
        message::CHANNEL_OPEN_CONFIRMATION => walk.fixed(8),
        message::CHANNEL_OPEN_FAILURE => {
            walk.fixed(8);
            walk.string();
        }
        message::CHANNEL_EOF | message::CHANNEL_CLOSE | message::CHANNEL_SUCCESS | message::CHANNEL_FAILURE => {
            walk.fixed(4);
        }
        message::CHANNEL_REQUEST => channel_request(&mut walk),
        // The number says it all.
        _ => {}
    }
    if walk.bad {
        return (packet_flag::MALFORMED as u64) << 32;
    }
    if walk.at > PACKET_LARGE as u32 {
        return (packet_flag::CUT as u64) << 32 | PACKET_LARGE as u64;
    }
    walk.at as u64
}

/// User, service, method; the key of the methods that have one.
#[inline(always)]
fn userauth(walk: &mut Walk) {
    walk.string();
    walk.string();
    let method = walk.name();
    if method.is(b"publickey") || method.is(b"publickey-hostbound-v00@openssh.com") {
        walk.fixed(1);
        walk.string();
        walk.string();
    } else if method.is(b"hostbased") {
        walk.string();
        walk.string();
    }
}

#[inline(always)]
fn global_request(walk: &mut Walk) {
    let name = walk.name();
    walk.fixed(1);
    if name.is(b"tcpip-forward") || name.is(b"cancel-tcpip-forward") {
        walk.string();
        walk.fixed(4);
    } else if name.is(b"streamlocal-forward@openssh.com") || name.is(b"cancel-streamlocal-forward@openssh.com") {
        walk.string();
    }
}

#[inline(always)]
fn channel_open(walk: &mut Walk) {
    let name = walk.name();
    walk.fixed(12);
    if name.is(b"direct-tcpip") || name.is(b"forwarded-tcpip") {
        walk.string();
        walk.fixed(4);
        walk.string();
        walk.fixed(4);
    } else if name.is(b"x11") {
        walk.string();
        walk.fixed(4);
    } else if name.is(b"direct-streamlocal@openssh.com") || name.is(b"forwarded-streamlocal@openssh.com") {
        walk.string();
    }
}

#[inline(always)]
fn channel_request(walk: &mut Walk) {
    walk.fixed(4);
    let name = walk.name();
    walk.fixed(1);
    if name.is(b"exec")
        || name.is(b"subsystem")
        || name.is(b"exit-signal")
        // Of a variable the name, not the value.
        || name.is(b"env")
    {
        walk.string();
    } else if name.is(b"exit-status") {
        walk.fixed(4);
    }
}
