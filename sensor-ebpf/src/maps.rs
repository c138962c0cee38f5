//! The maps, and the two read-only globals that the loader patches.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray, RingBuf},
};
use sensor_common::{
    Counters, Layout, RING_BYTES, VERSION,
    map::{DedupKey, Mark, SocketId, SocketKey, Tgid},
    program,
};

/// Everything that leaves the kernel, in the order in which it was reserved: one ring for all CPUs keeps cause before
/// effect (a fork is reserved before its child can run).
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(program::COUNT, 0);

/// Sockets whose end somebody waits for. A plain hash: an LRU would forget silently. Preallocated, as tracing programs
/// need it before 6.1; about 2.5 MiB.
#[map]
pub static TRACKED: HashMap<SocketKey, SocketId> = HashMap::with_max_entries(32_768, 0);

/// Events that the first program of a tracepoint has handled and the second has not seen yet: see `slot`. An entry
/// stays only if the second program was skipped; the loader removes those.
#[map]
pub static HANDLED: HashMap<DedupKey, Mark> = HashMap::with_max_entries(8_192, 0);

/// Thread groups that listen on TCP: their children may serve a connection without any exec. Filled at LISTEN here and,
/// for those that listen already, by the loader.
#[map]
pub static LISTENERS: HashMap<Tgid, Mark> = HashMap::with_max_entries(8_192, 0);

/// `VERSION`, for the loader: it loads no other (`sensor_common::map::VERSION_SYMBOL`).
#[unsafe(no_mangle)]
pub static ABI_VERSION: u64 = VERSION as u64;

/// Field offsets of this kernel, patched by the loader.
#[unsafe(no_mangle)]
pub static LAYOUT: Layout = Layout::EMPTY;

/// Not 0: programs of tracepoints of processes can be preempted, and have a second one (`program_slot.rs`). Patched by
/// the loader.
#[unsafe(no_mangle)]
pub static PREEMPTED: u64 = 1;

/// Bytes in the ring from which on the loader is woken at once instead of at its next turn.
#[unsafe(no_mangle)]
pub static WAKE_BYTES: u64 = (RING_BYTES / 4) as u64;
