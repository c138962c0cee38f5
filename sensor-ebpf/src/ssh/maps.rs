//! State of the SSH probes. All plain hashes: an LRU would forget silently. Preallocated, as tracing programs need it before 6.1.

use aya_ebpf::{macros::map, maps::HashMap};

use crate::field::Addr;

/// What a thread is in the middle of. Gone when the thread exits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Thread {
    /// Of the call that has not reached its jump: its arguments, and what is expected there.
    pub context: u64,
    pub out: u64,
    pub input: u64,
    pub len: u32,
    pub expects: u32,
    /// chacha20-poly1305: the four bytes of the header call, before and after, as big-endian numbers. `header` says which are there.
    pub header_in: u32,
    pub header_out: u32,
    pub header: u32,
    /// A cipher with a plain MAC: the first block of an incoming packet was seen, so many bytes are to come with the next call of `block_context`.
    pub rest: u32,
    pub block: u32,
    pub pad: u32,
    pub block_context: u64,
}

pub mod expects {
    pub const NOTHING: u32 = 0;
    pub const HEADER: u32 = 1;
    pub const BODY: u32 = 2;
    /// Nothing to read there: the call was told.
    pub const JUMP: u32 = 3;
}

pub mod header {
    pub const BEFORE: u32 = 1;
    pub const AFTER: u32 = 2;
}

/// Over which connection a process speaks. Gone when the process exits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Process {
    pub start: u64,
    pub connection: u64,
    pub flags: u32,
    pub pad: u32,
}

pub mod process_flag {
    /// It has no socket.
    pub const NO_SOCKET: u32 = 1;
    /// Shifted by the direction: what comes is compressed.
    pub const COMPRESSED: u32 = 2;
}

/// One direction of a connection in its clear phase.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Side {
    /// TCP sequence number of the next byte.
    pub next: u32,
    /// Bytes so far.
    pub offset: u32,
    /// Bytes to the beginning of the next SSH packet.
    pub skip: u32,
    pub phase: u32,
}

pub mod phase {
    pub const NEW: u32 = 0;
    pub const BANNER: u32 = 1;
    pub const PACKETS: u32 = 2;
    /// Where packets begin is not known: everything is copied, up to the limit.
    pub const LOST: u32 = 3;
    pub const DONE: u32 = 4;
}

/// An SSH connection: its first bytes were `SSH-`. Gone when its socket closes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connection {
    pub id: u64,
    pub sides: [Side; 2],
}

#[map]
pub static THREADS: HashMap<u64, Thread> = HashMap::with_max_entries(16_384, 0);

#[map]
pub static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(16_384, 0);

/// By the address of `struct sock`.
#[map]
pub static CONNECTIONS: HashMap<Addr, Connection> = HashMap::with_max_entries(32_768, 0);

/// Data bytes of a channel in one direction.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Channel {
    pub connection: u64,
    pub number: u32,
    pub direction: u32,
}

#[map]
pub static CHANNEL_BYTES: HashMap<Channel, u64> = HashMap::with_max_entries(16_384, 0);
