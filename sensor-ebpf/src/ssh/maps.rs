//! State of the SSH probes. Plain hashes, but for the two whose entries live for microseconds: an LRU forgets silently.
//! Preallocated, as tracing programs need it before 6.1.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};

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
    /// A cipher with a plain MAC: the first block of an incoming packet was seen, so many bytes are to come with the
    /// next call of `block_context`.
    pub rest: u32,
    pub block: u32,
    pub pad: u32,
    pub block_context: u64,
}

pub mod expects {
    pub const NOTHING: u32 = 0;
    /// A whole incoming packet.
    pub const WHOLE: u32 = 1;
    /// A piece of one, or a whole one.
    pub const BODY: u32 = 2;
    /// Nothing to read there: the call was told.
    pub const JUMP: u32 = 3;
    /// In a library: a piece of an incoming packet of a context that is bound.
    pub const PIECE: u32 = 4;
    /// In a library: the context is not bound; its output may be the first of a connection.
    pub const UNBOUND: u32 = 5;
    /// In a library: a whole incoming packet, of the only connection of the process.
    pub const SOLE: u32 = 6;
}

/// Channel data where it lies: a few bytes in one place, if a cipher's first block holds them, and the rest in another.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Data {
    pub first: u64,
    pub rest: u64,
    pub len: u32,
    /// How many bytes are in the first place.
    pub split: u32,
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
    /// It speaks SSH through a library: `connection` is the one that was bound first.
    pub const LIBRARY: u32 = 8;
    /// It has had more than one connection at a time.
    pub const MANY: u32 = 16;
    /// Of a context: every incoming packet comes whole.
    pub const WHOLE: u32 = 32;
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
    /// NEWKEYS was the last byte: the next one is the first that is encrypted.
    pub const KEYED: u32 = 4;
    pub const DONE: u32 = 5;
}

/// An SSH connection: its first bytes were `SSH-`. Gone when its socket closes; one that a channel carries, when the
/// loader finds that no channel does any more.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connection {
    pub id: u64,
    pub sides: [Side; 2],
    /// The cipher contexts that are bound to it, by direction.
    pub contexts: [ContextKey; 2],
}

/// A cipher context of a process: the address of its EVP_CIPHER_CTX.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ContextKey {
    pub address: u64,
    pub tgid: u32,
    pub pad: u32,
}

/// Bytes of an incoming packet that are put together. What a client receives and we tell is shorter; more is told as
/// cut.
pub const ROOM: usize = 512;

/// A cipher context in a library that encrypts or decrypts one direction of a connection. Gone when its socket closes
/// or its keys are replaced; the loader takes what is left: of processes and connections that are gone.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CipherContext {
    pub connection: u64,
    pub start: u64,
    pub direction: u32,
    /// `process_flag`
    pub flags: u32,
    /// Incoming: bytes of the packet at hand that have come; outgoing: 0.
    pub have: u32,
    /// Incoming: bytes of the whole packet, 0 if that is not known; outgoing: bytes of the packet that was told which
    /// are still to come.
    pub total: u32,
    /// Incoming: its message number.
    pub message: u32,
    pub pad: u32,
    /// Incoming: where the program has what follows the first block, if that came in one piece; else 0.
    pub rest: u64,
    /// Twice the room: a piece that begins inside of it ends inside of this.
    pub data: [u8; 2 * ROOM],
}

/// The first encrypted bytes of one direction of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct First {
    pub connection: u64,
    /// Its key in `CONNECTIONS`.
    pub key: Addr,
}

#[map]
pub static THREADS: HashMap<u64, Thread> = HashMap::with_max_entries(16_384, 0);

#[map]
pub static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(16_384, 0);

/// By the address of `struct sock`; a connection that a channel of another one carries, by its own id (which is no
/// address: it is small).
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

/// What flows through a channel in one direction.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow {
    pub bytes: u64,
    /// The id of the SSH connection that it carries, if it does; 0: it does not. With FLOW_READ: it has been read as
    /// far as it is wanted.
    pub stream: u64,
}

#[map]
pub static FLOWS: HashMap<Channel, Flow> = HashMap::with_max_entries(16_384, 0);

#[map]
pub static CONTEXTS: HashMap<ContextKey, CipherContext> = HashMap::with_max_entries(2_048, 0);

/// One entry of zeroes: a new context, which has no room on the stack.
#[map]
pub static BLANK: Array<CipherContext> = Array::with_max_entries(1, 0);

/// By a number made of 16 encrypted bytes (`context::hash16`). An LRU: of an OpenSSH connection nobody comes for them,
/// and the others do at once.
#[map]
pub static FIRSTS: LruHashMap<u64, First> = LruHashMap::with_max_entries(8_192, 0);

/// What a context that is not bound encrypted first, as such a number. An LRU: most of them have nothing to do with
/// SSH.
#[map]
pub static UNBOUND: LruHashMap<ContextKey, u64> = LruHashMap::with_max_entries(4_096, 0);

/// Channel data that carries an SSH connection, by thread: read when its packet has been told (`stream::resume`), which
/// is at once.
#[map]
pub static CARRYING: LruHashMap<u64, (Channel, Data)> = LruHashMap::with_max_entries(1_024, 0);

/// Connections whose keys are being replaced, by process and direction: the next new context is theirs. 0: more than
/// one.
#[map]
pub static REKEYED: HashMap<u64, u64> = HashMap::with_max_entries(1_024, 0);
