//! The records in the ring buffer and the counters beside it.
//!
//! Each record is a `Head`, then what its kind says. Integers are in host byte order unless a comment says otherwise;
//! ports are in host order. `Task::valid` says which fields were really read: absent is not zero.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pin::{pin, pod};

/// Bumped with every change of a record's layout.
pub const VERSION: u16 = 3;

/// Default size of the ring buffer. Measured: 20,000 execs as fast as two cores allow need less than 1 MiB
/// between two drains; the rest is for a loader that was not scheduled for a while.
pub const RING_BYTES: u32 = 4 << 20;

/// Longest argv that is copied; the true total travels beside it.
pub const ARGS_MAX: u32 = 32 << 10;
/// Argv of at most this many bytes travels inside the `Exec` record.
pub const ARGS_INLINE: usize = 384;
/// Longer argv travels in `Args` records of at most one page, so that each read touches a single page.
pub const ARGS_CHUNK: usize = 4096;
/// Pages that an argv of `ARGS_MAX` bytes can touch.
pub const ARGS_CHUNKS_MAX: u32 = ARGS_MAX / ARGS_CHUNK as u32 + 1;
/// Room for the components of executable and working directory, both leaf first.
pub const PATHS_MAX: usize = 512;
/// Longest path component (NAME_MAX) with its NUL.
pub const NAME_MAX: usize = 256;
/// Components walked per path; deeper ones are cut at the root side and flagged.
pub const PATH_DEPTH_MAX: u32 = 24;
/// File descriptors searched for the connection that a process serves.
pub const SERVED_FDS: u32 = 16;

/// Record kinds.
pub mod kind {
    pub const EXEC: u16 = 1;
    pub const ARGS: u16 = 2;
    pub const FORK: u16 = 3;
    pub const EXIT: u16 = 4;
    pub const CONNECT: u16 = 5;
    pub const TCP_STATE: u16 = 6;
}

/// Validity bits of `Task::valid`.
pub mod valid {
    pub const START: u32 = 1;
    pub const PARENT: u32 = 1 << 1;
    pub const CRED: u32 = 1 << 2;
    pub const LOGINUID: u32 = 1 << 3;
    pub const AUDIT_SESSION: u32 = 1 << 4;
    pub const SID: u32 = 1 << 5;
    pub const MNT_NS: u32 = 1 << 6;
    pub const PID_NS: u32 = 1 << 7;
    pub const CGROUP: u32 = 1 << 8;
    pub const COMM: u32 = 1 << 9;
}

/// Flags of `Exec::flags`.
pub mod exec_flag {
    /// The executable's path was cut at its root side.
    pub const EXE_CUT: u32 = 1;
    /// The working directory was cut at its root side.
    pub const CWD_CUT: u32 = 1 << 1;
    /// Part of argv could not be read (page not present) or its record found no room.
    pub const ARGS_MISSED: u32 = 1 << 2;
    /// `inode` and `dev` are valid.
    pub const INODE: u32 = 1 << 3;
    /// The working directory was read (its path may be `/`: no components).
    pub const CWD: u32 = 1 << 4;
    /// The executable's path was read.
    pub const EXE: u32 = 1 << 5;
    /// `args_total` is valid.
    pub const ARGS: u32 = 1 << 6;
    /// The executable was exec'd by a thread that is not the group leader; `old_tid` had been its tid.
    pub const OTHER_THREAD: u32 = 1 << 7;
    /// What says which content the executable's inode has (size, ctime, generation) is valid.
    pub const STAMP: u32 = 1 << 8;
    /// The executable's file system is an overlay: its inode is not the one whose content is executed.
    pub const OVERLAY: u32 = 1 << 9;
}

/// First bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Head {
    pub kind: u16,
    pub version: u16,
    /// Size of the record in the ring, this head included.
    pub size: u32,
    /// `bpf_ktime_get_boot_ns`.
    pub time: u64,
}

impl Head {
    /// Where `time` is in every record.
    pub const TIME_OFFSET: usize = core::mem::offset_of!(Self, time);
}

/// Who a task is.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Task {
    /// `start_boottime` of the thread group's leader, ns.
    pub start: u64,
    /// The same of the parent's.
    pub parent_start: u64,
    /// cgroup v2 id of the current task.
    pub cgroup: u64,
    pub tgid: u32,
    pub tid: u32,
    /// tgid of `real_parent`.
    pub parent_tgid: u32,
    /// tgid of the POSIX session's leader.
    pub sid: u32,
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
    pub loginuid: u32,
    pub audit_session: u32,
    pub mnt_ns: u32,
    pub pid_ns: u32,
    pub comm: [u8; 16],
    pub valid: u32,
    pub pad: u32,
}

/// One TCP socket. `id` is unique per tracked socket and run of the object: the boot time at which it was first seen.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Socket {
    pub id: u64,
    /// `AF_INET` (2), `AF_INET6` (10), or 0: no socket.
    pub family: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub pad: u16,
    /// An IPv4 address takes the first four bytes.
    pub local: [u8; 16],
    pub remote: [u8; 16],
}

/// A new process image. Path components lie in `paths`, each NUL-terminated, leaf first: `exe_bytes` of the executable,
/// then `cwd_bytes` of the working directory.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Exec {
    pub head: Head,
    pub task: Task,
    /// The TCP connection found among the first descriptors, if any.
    pub served: Socket,
    pub inode: u64,
    /// `s_dev` in the kernel's encoding: major << 20 | minor.
    pub dev: u32,
    pub flags: u32,
    /// True length of argv, NULs included.
    pub args_total: u32,
    /// Bytes copied: into `args` if at most `ARGS_INLINE`, else into `Args` records before this one.
    pub args_copied: u32,
    pub argc: u32,
    pub old_tid: u32,
    pub exe_bytes: u32,
    pub cwd_bytes: u32,
    /// Of the executable's inode.
    pub size: u64,
    pub ctime_sec: u64,
    pub ctime_nsec: u32,
    pub generation: u32,
    pub nlink: u32,
    pub owner: u32,
    /// `i_mode`
    pub mode: u32,
    pub pad: u32,
    pub paths: [u8; PATHS_MAX + NAME_MAX],
    pub args: [u8; ARGS_INLINE],
}

/// A piece of a long argv; its `Exec` record follows, with the same `tgid` and `exec_time` as its time.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Args {
    pub head: Head,
    /// `Head::time` of the `Exec` record that follows.
    pub exec_time: u64,
    pub tgid: u32,
    /// Offset of this piece in argv.
    pub offset: u32,
    /// Bytes of `data` that are valid.
    pub len: u32,
    pub pad: u32,
    pub data: [u8; ARGS_CHUNK],
}

/// A new process (never a thread). `task` is the child.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Fork {
    pub head: Head,
    pub task: Task,
    /// tgid and start of the process that called fork: with CLONE_PARENT it is not the parent.
    pub creator_start: u64,
    pub creator_tgid: u32,
    pub pad: u32,
    /// The connection that the child of a listening process took over.
    pub served: Socket,
}

/// The end of a process: its last thread exits.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Exit {
    pub head: Head,
    pub task: Task,
    /// As wait(2) reports it: exit code in bits 8..16, signal in bits 0..7, core flag 0x80.
    pub status: u32,
    pub pad: u32,
}

/// A TCP connect(2), before the kernel acts on it.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Connect {
    pub head: Head,
    pub task: Task,
    pub socket: Socket,
}

/// A tracked socket changed its state. The current task may be anyone: nothing about it is recorded.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct TcpState {
    pub head: Head,
    pub socket: Socket,
    /// Payload: without the sequence numbers that SYN and FIN take, without what was sent again.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// `TCP_*` of net/tcp_states.h.
    pub old: u8,
    pub new: u8,
    /// errno, 0 if none.
    pub error: u16,
    pub pad: u32,
}

/// Programs with counters of their own; the index is the key of the counters' map.
pub mod program {
    pub const EXEC: u32 = 0;
    pub const ARGS: u32 = 1;
    pub const FORK: u32 = 2;
    pub const EXIT: u32 = 3;
    pub const CONNECT4: u32 = 4;
    pub const CONNECT6: u32 = 5;
    pub const TCP_STATE: u32 = 6;
    pub const SSH_PACKET: u32 = 7;
    pub const SSH_CLEAR: u32 = 8;
    pub const COUNT: u32 = 9;
    /// Names by index.
    pub const NAMES: [&str; COUNT as usize] =
        ["exec", "exec-args", "fork", "exit", "connect4", "connect6", "tcp-state", "ssh-packet", "ssh-clear"];
}

/// Counters of one program on one CPU. Always: seen = sent + lost_full + lost_read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Counters {
    /// Events that concern us (a thread's exit does not).
    pub seen: u64,
    pub sent: u64,
    /// The ring had no room.
    pub lost_full: u64,
    /// Who or what it was could not be read.
    pub lost_read: u64,
    /// Sent, but something was cut (argv over `ARGS_MAX`, a path too deep).
    pub truncated: u64,
    /// Sockets that could not be tracked: the map was full.
    pub untracked: u64,
    /// Handled by the second program of a tracepoint, because the kernel had skipped the first.
    pub fallback_handled: u64,
}

pod!(Counters);

pin!(Head, 16, { kind: 0, version: 2, size: 4, time: 8 });
pin!(Task, 96, {
    start: 0, parent_start: 8, cgroup: 16, tgid: 24, tid: 28, parent_tgid: 32, sid: 36, uid: 40, euid: 44, gid: 48,
    egid: 52, loginuid: 56, audit_session: 60, mnt_ns: 64, pid_ns: 68, comm: 72, valid: 88, pad: 92,
});
pin!(Socket, 48, { id: 0, family: 8, local_port: 10, remote_port: 12, pad: 14, local: 16, remote: 32 });
pin!(Exec, 240 + PATHS_MAX + NAME_MAX + ARGS_INLINE, {
    head: 0, task: 16, served: 112, inode: 160, dev: 168, flags: 172, args_total: 176, args_copied: 180, argc: 184,
    old_tid: 188, exe_bytes: 192, cwd_bytes: 196, size: 200, ctime_sec: 208, ctime_nsec: 216, generation: 220,
    nlink: 224, owner: 228, mode: 232, pad: 236, paths: 240, args: 240 + PATHS_MAX + NAME_MAX,
});
pin!(Args, 40 + ARGS_CHUNK, { head: 0, exec_time: 16, tgid: 24, offset: 28, len: 32, pad: 36, data: 40 });
pin!(Fork, 176, { head: 0, task: 16, creator_start: 112, creator_tgid: 120, pad: 124, served: 128 });
pin!(Exit, 120, { head: 0, task: 16, status: 112, pad: 116 });
pin!(Connect, 160, { head: 0, task: 16, socket: 112 });
pin!(TcpState, 88, {
    head: 0, socket: 16, bytes_received: 64, bytes_sent: 72, old: 80, new: 81, error: 82, pad: 84,
});
pin!(Counters, 56, {
    seen: 0, sent: 8, lost_full: 16, lost_read: 24, truncated: 32, untracked: 40, fallback_handled: 48,
});
