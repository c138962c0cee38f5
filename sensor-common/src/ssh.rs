//! The records of the SSH probes: packets decrypted by the programs that speak SSH, and the clear phase of connections.
//!
//! What a record can hold is the contract of minimization: the kernel copies the start of a payload (RFC 4252-4254) as
//! far as the field list of `Packet::message` goes, and nothing after it. No length of anything that was not copied is
//! in a record: the length of a packet gives away that of a password.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Head, Socket, pin::pin};

/// Record kinds.
pub mod kind {
    pub const PACKET: u16 = 7;
    pub const CLEAR: u16 = 8;
    pub const BOUND: u16 = 9;
    pub const CARRIED: u16 = 10;
}

/// SSH message numbers that the kernel knows; what of their payload it copies is said in
/// `sensor-ebpf/src/ssh/allow.rs`.
pub mod message {
    pub const DISCONNECT: u8 = 1;
    /// Never told; the kernel must know where it ends, as for WINDOW_ADJUST.
    pub const IGNORE: u8 = 2;
    pub const KEXINIT: u8 = 20;
    pub const NEWKEYS: u8 = 21;
    pub const USERAUTH_REQUEST: u8 = 50;
    pub const USERAUTH_FAILURE: u8 = 51;
    pub const USERAUTH_SUCCESS: u8 = 52;
    /// PK_OK, INFO_REQUEST or PASSWD_CHANGEREQ, by the method of the request: only its number is sent.
    pub const USERAUTH_60: u8 = 60;
    /// INFO_RESPONSE and others: only its number is sent.
    pub const USERAUTH_61: u8 = 61;
    pub const GLOBAL_REQUEST: u8 = 80;
    pub const REQUEST_SUCCESS: u8 = 81;
    pub const REQUEST_FAILURE: u8 = 82;
    pub const CHANNEL_OPEN: u8 = 90;
    pub const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
    pub const CHANNEL_OPEN_FAILURE: u8 = 92;
    pub const CHANNEL_WINDOW_ADJUST: u8 = 93;
    pub const CHANNEL_DATA: u8 = 94;
    pub const CHANNEL_EXTENDED_DATA: u8 = 95;
    pub const CHANNEL_EOF: u8 = 96;
    pub const CHANNEL_CLOSE: u8 = 97;
    pub const CHANNEL_REQUEST: u8 = 98;
    pub const CHANNEL_SUCCESS: u8 = 99;
    pub const CHANNEL_FAILURE: u8 = 100;
}

/// Room for a payload's prefix in the two sizes of `Packet` records.
pub const PACKET_SMALL: usize = 192;
/// A command line of 4 KiB (what a record shows) with what precedes it; RSA-4096 certificates fit too.
pub const PACKET_LARGE: usize = 4608;

/// `Packet::direction` and `Clear::direction`: as the process or host sees it.
pub mod direction {
    pub const IN: u8 = 0;
    pub const OUT: u8 = 1;
}

/// `Packet::flags`.
pub mod packet_flag {
    /// The packet's length was inside the decrypted bytes: a cipher with a plain MAC, so the MAC had not been checked
    /// yet.
    pub const LENGTH: u16 = 1;
    /// An allowed field is longer than the room: `data` ends inside it.
    pub const CUT: u16 = 1 << 1;
    /// A string's length does not fit its packet: `data` is empty.
    pub const MALFORMED: u16 = 1 << 2;
    /// `connection` is not a socket's id: the program speaks over pipes.
    pub const NO_SOCKET: u16 = 1 << 3;
    /// The direction's packets are compressed from here on and cannot be read (`message` is 0).
    pub const COMPRESSED: u16 = 1 << 4;
}

/// One SSH packet, decrypted: its first allowed fields. `Head::size` tells whether `data` has `PACKET_SMALL` or
/// `PACKET_LARGE` bytes.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
pub struct Packet<const ROOM: usize> {
    pub head: Head,
    /// `Socket::id` of the connection, or an id of the process's own (`NO_SOCKET`).
    pub connection: u64,
    /// Start of the thread group's leader, ns.
    pub start: u64,
    /// For EOF and CLOSE: payload bytes of the channel's data in this direction so far. Else 0.
    pub bytes: u64,
    pub tgid: u32,
    /// Bytes of `data` that are valid. The message number is not among them.
    pub len: u32,
    pub flags: u16,
    pub message: u8,
    pub direction: u8,
    pub pad: u32,
    pub data: [u8; ROOM],
}

pub type SmallPacket = Packet<PACKET_SMALL>;
pub type LargePacket = Packet<PACKET_LARGE>;

/// `ConnectionOwner::flags`.
pub mod bound_flag {
    /// The process has had another connection, and its library a cipher context for each packet: from here on they are
    /// not told apart, and not told.
    pub const MIXED: u32 = 1;
}

/// A process speaks SSH over this socket: sent once per process, before its first packet; of a library once per
/// connection and direction.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ConnectionOwner {
    pub head: Head,
    pub start: u64,
    pub tgid: u32,
    pub flags: u32,
    /// Family 0: it has none; `id` is then the process's own.
    pub socket: Socket,
}

/// A channel of one SSH connection carries another one.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Tunnelled {
    pub head: Head,
    /// The carried connection's id.
    pub connection: u64,
    pub carrier: u64,
    /// The channel's number at the receiver of what goes in this direction.
    pub recipient: u32,
    pub direction: u32,
}

pub const CLEAR_SMALL: usize = 256;
pub const CLEAR_LARGE: usize = 2048;

/// `Clear::flags`.
pub mod clear_flag {
    /// The last piece of this direction: NEWKEYS was in it, or the limit was reached.
    pub const LAST: u16 = 1;
    /// The limit of what is copied was reached before NEWKEYS.
    pub const LIMIT: u16 = 1 << 1;
    /// Segments were missing before this one: `offset` says where it belongs.
    pub const GAP: u16 = 1 << 2;
    /// No bytes: something was sent in this direction after NEWKEYS.
    pub const ENCRYPTED: u16 = 1 << 3;
}

/// Bytes of the clear phase, as they crossed the host's IP layer. `Head::size` tells which room `data` has.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
pub struct Clear<const ROOM: usize> {
    pub head: Head,
    pub socket: Socket,
    /// Of the first byte, counted from the first byte of this direction.
    pub offset: u32,
    pub len: u32,
    pub flags: u16,
    pub direction: u8,
    pub pad: [u8; 5],
    pub data: [u8; ROOM],
}

pub type SmallClear = Clear<CLEAR_SMALL>;
pub type LargeClear = Clear<CLEAR_LARGE>;

pin!(SmallPacket, 56 + PACKET_SMALL, {
    head: 0, connection: 16, start: 24, bytes: 32, tgid: 40, len: 44, flags: 48, message: 50, direction: 51, pad: 52,
    data: 56,
});
pin!(LargePacket, 56 + PACKET_LARGE, { data: 56 });
pin!(ConnectionOwner, 80, { head: 0, start: 16, tgid: 24, flags: 28, socket: 32 });
pin!(Tunnelled, 40, { head: 0, connection: 16, carrier: 24, recipient: 32, direction: 36 });
pin!(SmallClear, 80 + CLEAR_SMALL, {
    head: 0, socket: 16, offset: 64, len: 68, flags: 72, direction: 74, pad: 75, data: 80,
});
pin!(LargeClear, 80 + CLEAR_LARGE, { data: 80 });
