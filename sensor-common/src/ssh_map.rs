//! Keys and values of the SSH probes' maps: what they remember of threads, processes, connections, cipher contexts and
//! channels.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pin::{pin, pod};

/// A thread, as `bpf_get_current_pid_tgid` names it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ThreadId {
    pub pid_tgid: u64,
}

/// What a thread is in the middle of. Gone when the thread exits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
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
    pub block_context: u64,
}

/// `Thread::expects`.
pub mod expects {
    pub const NOTHING: u32 = 0;
    /// A whole incoming packet.
    pub const WHOLE: u32 = 1;
    /// A piece of one, or a whole one.
    pub const BODY: u32 = 2;
    /// Nothing to read there: the packet was sent at the call.
    pub const JUMP: u32 = 3;
    /// In a library: a piece of an incoming packet of a context that is bound.
    pub const PIECE: u32 = 4;
    /// In a library: the context is not bound; its output may be the first of a connection.
    pub const UNBOUND: u32 = 5;
    /// In a library: a whole incoming packet, of the only connection of the process.
    pub const SOLE: u32 = 6;
}

/// Over which connection a process speaks. Gone when the process exits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Process {
    pub start: u64,
    pub connection: u64,
    /// `process_flag`
    pub flags: u32,
    pub pad: u32,
}

/// `Process::flags` and `CipherContext::flags`.
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

/// An SSH connection: the address of its `struct sock`; of one that a channel of another one carries, its own id (which
/// is no address: it is small).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ConnectionKey {
    pub place: u64,
}

impl ConnectionKey {
    /// Where nothing is known by it.
    pub const NONE: Self = Self { place: 0 };

    /// Addresses in the kernel have their highest bit set, on every machine.
    #[inline]
    pub const fn has_socket(self) -> bool {
        (self.place as i64) < 0
    }
}

/// An SSH connection: its first bytes were `SSH-`. Gone when its socket closes; one that a channel carries, when the
/// loader finds that no channel does any more.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Connection {
    pub id: u64,
    /// By direction.
    pub sides: [Side; 2],
    /// The cipher contexts that are bound to it, by direction.
    pub contexts: [ContextKey; 2],
}

/// One direction of a connection in its clear phase.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Side {
    /// TCP sequence number of the next byte.
    pub next: u32,
    /// Bytes so far.
    pub offset: u32,
    /// Bytes to the beginning of the next SSH packet.
    pub skip: u32,
    /// `phase`
    pub phase: u32,
}

/// `Side::phase`.
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

/// A cipher context of a process: the address of its EVP_CIPHER_CTX.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ContextKey {
    pub address: u64,
    pub tgid: u32,
    pub pad: u32,
}

impl ContextKey {
    pub const NONE: Self = Self { address: 0, tgid: 0, pad: 0 };
}

/// Bytes of an incoming packet that are put together. What a client receives and the probe sends is shorter; more is
/// sent as cut.
pub const ROOM: usize = 512;

/// A cipher context in a library that encrypts or decrypts one direction of a connection. Gone when its socket closes
/// or its keys are replaced; the loader takes what is left: of processes and connections that are gone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct CipherContext {
    pub connection: u64,
    pub start: u64,
    pub direction: u32,
    /// `process_flag`
    pub flags: u32,
    /// Incoming: bytes of the packet at hand that have come; outgoing: 0.
    pub have: u32,
    /// Incoming: bytes of the whole packet, 0 if that is not known; outgoing: bytes of the packet that was sent which
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

/// A number made of 16 encrypted bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct CiphertextHash {
    pub hash: u64,
}

/// Whose the first encrypted bytes of one direction are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct First {
    pub connection: u64,
    pub key: ConnectionKey,
}

/// A direction of a process whose keys are being replaced.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Rekey {
    pub tgid: u32,
    pub direction: u32,
}

/// The connection that it is; 0: more than one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Rekeyed {
    pub connection: u64,
}

/// A channel in one direction, by the number that its receiver calls it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Channel {
    pub connection: u64,
    pub number: u32,
    pub direction: u32,
}

/// What flows through a channel in one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Flow {
    /// Data bytes.
    pub bytes: u64,
    /// The id of the SSH connection that it carries, if it does; 0: it does not. With `FLOW_READ`: it has been read as
    /// far as it is wanted.
    pub stream: u64,
}

/// Beside the id in `Flow::stream`: nothing more of this direction is read. The id stays: it says that the connection
/// has not ended.
pub const FLOW_READ: u64 = 1 << 63;

/// Channel data where it lies: a few bytes in one place, if a cipher's first block holds them, and the rest in another.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Data {
    pub first: u64,
    pub rest: u64,
    pub len: u32,
    /// How many bytes are in the first place.
    pub split: u32,
}

/// Channel data that carries an SSH connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Carrying {
    pub channel: Channel,
    pub data: Data,
}

pod!(
    ThreadId,
    Thread,
    Process,
    ConnectionKey,
    Connection,
    Side,
    ContextKey,
    CipherContext,
    CiphertextHash,
    First,
    Rekey,
    Rekeyed,
    Channel,
    Flow,
    Carrying,
);

pin!(ThreadId, 8, { pid_tgid: 0 });
pin!(Thread, 48, { context: 0, out: 8, input: 16, len: 24, expects: 28, rest: 32, block: 36, block_context: 40 });
pin!(Process, 24, { start: 0, connection: 8, flags: 16, pad: 20 });
pin!(ConnectionKey, 8, { place: 0 });
pin!(Connection, 72, { id: 0, sides: 8, contexts: 40 });
pin!(Side, 16, { next: 0, offset: 4, skip: 8, phase: 12 });
pin!(ContextKey, 16, { address: 0, tgid: 8, pad: 12 });
pin!(CipherContext, 48 + 2 * ROOM, {
    connection: 0, start: 8, direction: 16, flags: 20, have: 24, total: 28, message: 32, pad: 36, rest: 40, data: 48,
});
pin!(CiphertextHash, 8, { hash: 0 });
pin!(First, 16, { connection: 0, key: 8 });
pin!(Rekey, 8, { tgid: 0, direction: 4 });
pin!(Rekeyed, 8, { connection: 0 });
pin!(Channel, 16, { connection: 0, number: 8, direction: 12 });
pin!(Flow, 16, { bytes: 0, stream: 8 });
pin!(Data, 24, { first: 0, rest: 8, len: 16, split: 20 });
pin!(Carrying, 40, { channel: 0, data: 16 });
