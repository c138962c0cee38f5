//! Ring records, as `sensor-common` declares them.
//!
//! What enters: the bytes of one record, aligned or not. What leaves: an event, with absent fields as None. A record is
//! copied out of its bytes once their length, version and kind are checked (`zerocopy`: only types of which any bytes
//! are a value, so none is misread as something that it cannot be). A record of another version, kind or length is an
//! error that says so; so is a length in it that is over the room it speaks of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sensor_common::{
    self as abi, Head, VERSION, exec_flag, kind,
    ssh::{self, SmallClear, SmallPacket},
    valid,
};
use zerocopy::FromBytes;

use super::ssh::message;
use crate::event::{
    ssh::{ConnectionOwner, Direction, MalformedWhat, Message, Packet, Tunnelled},
    stream::{
        Args, Connect, Credentials, Event, EventKind, Exec, Exit, FileId, FileStamp, Fork, NS_PER_TICK, Names, Path,
        ProcessId, Served, Status, Task, TcpChange, TcpState,
    },
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// The kernel's "no login": (uid_t) -1.
const UNSET: u32 = u32::MAX;

/// Why a record was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{record} of {len} bytes, it needs {needs}")]
    Short { record: &'static str, len: usize, needs: usize },
    #[error("record version {0}, this sensor reads version {VERSION}")]
    Version(u16),
    #[error("unknown record kind {0}")]
    Kind(u16),
    #[error("SSH message {0}, which the kernel should not send")]
    Message(u8),
    #[error("record says it has {says} bytes, the ring gave {len}")]
    Size { says: u32, len: usize },
    #[error("{field} is {value}, over its limit of {limit}")]
    Limit { field: &'static str, value: u32, limit: u32 },
}

/// A decoded record.
pub(super) enum Record {
    Event(Box<Event>),
    /// An exec whose argv is not in it yet, or is cut.
    Exec {
        event: Box<Exec>,
        time: u64,
        args: RawArgs,
    },
    Piece {
        tgid: u32,
        exec_time: u64,
        offset: u32,
        data: Vec<u8>,
    },
    /// Bytes of the clear phase.
    Clear {
        time: u64,
        connection: u64,
        endpoints: Option<(SocketAddr, SocketAddr)>,
        direction: Direction,
        offset: u32,
        flags: u16,
        data: Vec<u8>,
    },
}

/// argv as the kernel copied it.
pub(super) struct RawArgs {
    pub(super) inline: Option<Vec<u8>>,
    pub(super) total: u32,
    pub(super) copied: u32,
}

/// A record, or what its kind begins with, wherever its bytes lie.
fn take<T: FromBytes>(record: &[u8], name: &'static str) -> Result<T, Error> {
    let short = |_| Error::Short { len: record.len(), record: name, needs: size_of::<T>() };
    T::read_from_prefix(record).map(|(value, _)| value).map_err(short)
}

/// What is valid of a room.
fn used<'a>(room: &'a [u8], used: u32, field: &'static str) -> Result<&'a [u8], Error> {
    room.get(..used as usize).ok_or(Error::Limit { field, value: used, limit: room.len() as u32 })
}

/// Reads one record.
pub(super) fn read(record: &[u8]) -> Result<Record, Error> {
    let Head { kind, version, size, time } = take(record, "head")?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    if size as usize != record.len() {
        return Err(Error::Size { says: size, len: record.len() });
    }
    let what = match kind {
        kind::EXEC => return exec(&take(record, "exec")?),
        kind::ARGS => return piece(&take(record, "args")?),
        kind::FORK => {
            let abi::Fork { task: child, creator_start, creator_tgid, served: socket, .. } = take(record, "fork")?;
            let creator = process(creator_tgid, creator_start);
            EventKind::Fork(Fork { task: task(&child), creator, served: served(&socket) })
        }
        kind::EXIT => {
            let abi::Exit { task: who, status, .. } = take(record, "exit")?;
            EventKind::Exit(Exit { task: task(&who), status: Status::from_wait(status) })
        }
        kind::CONNECT => {
            let abi::Connect { task: who, socket, .. } = take(record, "connect")?;
            let Some((_, remote)) = endpoints(&socket) else { return Err(Error::Kind(kind)) };
            EventKind::Connect(Connect { task: task(&who), socket: socket.id, remote })
        }
        kind::TCP_STATE => tcp(&take(record, "tcp-state")?)?,
        ssh::kind::PACKET if record.len() == size_of::<SmallPacket>() => {
            packet::<{ ssh::PACKET_SMALL }>(&take(record, "packet")?)?
        }
        ssh::kind::PACKET => packet::<{ ssh::PACKET_LARGE }>(&whole(record, "packet")?)?,
        ssh::kind::CARRIED => {
            let ssh::Tunnelled { connection, carrier, recipient, direction, .. } = take(record, "carried")?;
            let direction = if direction == 0 { Direction::In } else { Direction::Out };
            EventKind::SshTunnelled(Tunnelled { connection, carrier, recipient, direction })
        }
        ssh::kind::BOUND => {
            let ssh::ConnectionOwner { start, tgid, flags, socket, .. } = take(record, "bound")?;
            let endpoints = endpoints(&socket);
            let owner = ConnectionOwner { process: process(tgid, start), connection: socket.id, endpoints };
            let is_ambiguous = flags & ssh::bound_flag::MIXED != 0;
            if is_ambiguous { EventKind::SshAmbiguous(owner) } else { EventKind::SshOwner(owner) }
        }
        ssh::kind::CLEAR if record.len() == size_of::<SmallClear>() => {
            return clear::<{ ssh::CLEAR_SMALL }>(&take(record, "clear")?);
        }
        ssh::kind::CLEAR => return clear::<{ ssh::CLEAR_LARGE }>(&whole(record, "clear")?),
        other => return Err(Error::Kind(other)),
    };
    Ok(Record::Event(Box::new(Event { time, what })))
}

/// The larger of a record's two sizes: there is no third.
fn whole<T: FromBytes>(record: &[u8], name: &'static str) -> Result<T, Error> {
    T::read_from_bytes(record).map_err(|_| Error::Short { len: record.len(), record: name, needs: size_of::<T>() })
}

fn task(task: &abi::Task) -> Task {
    let has = |bit: u32| task.valid & bit != 0;
    let &abi::Task { uid, euid, gid, egid, loginuid, audit_session, .. } = task;
    Task {
        id: process(task.tgid, task.start),
        tid: task.tid,
        parent: has(valid::PARENT).then(|| process(task.parent_tgid, task.parent_start)),
        sid: has(valid::SID).then_some(task.sid),
        credentials: has(valid::CRED).then_some(Credentials { uid, euid, gid, egid }),
        loginuid: (has(valid::LOGINUID) && loginuid != UNSET).then_some(loginuid),
        audit_session: (has(valid::AUDIT_SESSION) && audit_session != UNSET).then_some(audit_session),
        mnt_ns: has(valid::MNT_NS).then_some(task.mnt_ns),
        pid_ns: has(valid::PID_NS).then_some(task.pid_ns),
        cgroup: has(valid::CGROUP).then_some(task.cgroup),
        comm: if has(valid::COMM) { until_nul(&task.comm).to_vec() } else { Vec::new() },
        names: Names::default(),
    }
}

/// The local and the remote end. None: there is no socket, or its family is unknown.
fn endpoints(socket: &abi::Socket) -> Option<(SocketAddr, SocketAddr)> {
    let local = address(socket.family, &socket.local)?;
    let remote = address(socket.family, &socket.remote)?;
    Some((SocketAddr::new(local, socket.local_port), SocketAddr::new(remote, socket.remote_port)))
}

fn served(socket: &abi::Socket) -> Option<Served> {
    endpoints(socket).map(|(local, remote)| Served { socket: Some(socket.id), local, remote })
}

fn direction(direction: u8) -> Result<Direction, Error> {
    match direction {
        ssh::direction::IN => Ok(Direction::In),
        ssh::direction::OUT => Ok(Direction::Out),
        other => Err(Error::Limit { field: "direction", value: other.into(), limit: ssh::direction::OUT.into() }),
    }
}

fn packet<const ROOM: usize>(packet: &ssh::Packet<ROOM>) -> Result<EventKind, Error> {
    let has = |flag: u16| packet.flags & flag != 0;
    let direction = direction(packet.direction)?;
    let payload = used(&packet.data, packet.len, "packet.len")?;
    let number = packet.message;
    let message = if has(ssh::packet_flag::COMPRESSED) {
        Message::Compressed
    } else if has(ssh::packet_flag::MALFORMED) {
        Message::Malformed { number, what: MalformedWhat::Length }
    } else {
        message(number, payload, has(ssh::packet_flag::CUT), packet.bytes).ok_or(Error::Message(number))?
    };
    Ok(EventKind::Ssh(Box::new(Packet {
        connection: packet.connection,
        process: Some(process(packet.tgid, packet.start)),
        endpoints: None,
        direction,
        before_mac: has(ssh::packet_flag::LENGTH),
        cut: has(ssh::packet_flag::CUT),
        message,
    })))
}

fn clear<const ROOM: usize>(clear: &ssh::Clear<ROOM>) -> Result<Record, Error> {
    let direction = direction(clear.direction)?;
    Ok(Record::Clear {
        time: clear.head.time,
        connection: clear.socket.id,
        endpoints: endpoints(&clear.socket),
        direction,
        offset: clear.offset,
        flags: clear.flags,
        data: used(&clear.data, clear.len, "clear.len")?.to_vec(),
    })
}

fn tcp(change: &abi::TcpState) -> Result<EventKind, Error> {
    let Some((local, remote)) = endpoints(&change.socket) else { return Err(Error::Kind(change.head.kind)) };
    Ok(EventKind::Tcp(TcpChange {
        socket: change.socket.id,
        local,
        remote,
        old: TcpState::from_kernel(change.old),
        new: TcpState::from_kernel(change.new),
        error: (change.error != 0).then_some(change.error),
        bytes_in: change.bytes_received,
        bytes_out: change.bytes_sent,
    }))
}

fn exec(exec: &abi::Exec) -> Result<Record, Error> {
    let has = |bit: u32| exec.flags & bit != 0;
    let stamp = FileStamp {
        size: exec.size,
        ctime: (exec.ctime_sec.cast_signed(), exec.ctime_nsec),
        generation: exec.generation,
        nlink: exec.nlink,
        owner: exec.owner,
        mode: exec.mode,
        overlay: has(exec_flag::OVERLAY),
    };
    let paths = used(&exec.paths, exec.exe_bytes.saturating_add(exec.cwd_bytes), "exec.paths")?;
    let (exe, cwd) = paths.split_at_checked(exec.exe_bytes as usize).unwrap_or((paths, &[]));
    // An argv longer than the inline room came in pieces, before this record.
    let inline = match exec.args_total as usize <= abi::ARGS_INLINE {
        true => Some(used(&exec.args, exec.args_copied, "exec.args_copied")?.to_vec()),
        false => None,
    };
    let event = Exec {
        task: task(&exec.task),
        file: has(exec_flag::INODE).then_some(FileId { dev: exec.dev, inode: exec.inode }),
        role: None,
        executable: has(exec_flag::EXE).then(|| path(exe, has(exec_flag::EXE_CUT))),
        working_directory: has(exec_flag::CWD).then(|| path(cwd, has(exec_flag::CWD_CUT))),
        args: Args::default(),
        argc: exec.argc,
        served: served(&exec.served),
        thread: has(exec_flag::OTHER_THREAD).then_some(exec.old_tid),
        stamp: has(exec_flag::STAMP).then_some(stamp),
    };
    let args = RawArgs { inline, total: exec.args_total, copied: exec.args_copied };
    Ok(Record::Exec { event: Box::new(event), time: exec.head.time, args })
}

fn piece(piece: &abi::Args) -> Result<Record, Error> {
    let &abi::Args { exec_time, tgid, offset, len, .. } = piece;
    if offset >= abi::ARGS_MAX {
        return Err(Error::Limit { field: "args.offset", value: offset, limit: abi::ARGS_MAX });
    }
    Ok(Record::Piece { tgid, exec_time, offset, data: used(&piece.data, len, "args.len")?.to_vec() })
}

fn process(tgid: u32, start_ns: u64) -> ProcessId {
    ProcessId { tgid, start: start_ns / NS_PER_TICK }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn address(family: u16, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        // An IPv4 peer of a dual-stack socket is an IPv4 peer.
        AF_INET6 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).to_canonical()),
        _ => None,
    }
}

/// Components, NUL-terminated and leaf first, to a path.
fn path(components: &[u8], cut: bool) -> Path {
    let mut bytes = Vec::with_capacity(components.len() + 1);
    for name in components.split(|byte| *byte == 0).filter(|name| !name.is_empty()).rev() {
        if !(cut && bytes.is_empty()) {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
    }
    if bytes.is_empty() && !cut {
        bytes.push(b'/');
    }
    Path { bytes, cut }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;

    #[test]
    fn components_become_a_path() {
        assert_eq!(path(b"bash\0bin\0usr\0", false).bytes, b"/usr/bin/bash");
        assert_eq!(path(b"", false).bytes, b"/");
        assert_eq!(path(b"bash\0bin\0", true).bytes, b"bin/bash");
    }

    #[test]
    fn short_and_foreign_records_are_errors() {
        assert_eq!(read(&[]).err(), Some(Error::Short { record: "head", len: 0, needs: 16 }));
        let mut head = Vec::new();
        head.extend(kind::EXIT.to_ne_bytes());
        head.extend(9u16.to_ne_bytes());
        head.extend([0; 12]);
        assert_eq!(read(&head).err(), Some(Error::Version(9)));
    }

    fn record(kind: u16, size: usize) -> Vec<u8> {
        let head = Head { kind, version: VERSION, size: size as u32, time: 7 };
        let mut record = vec![0; size];
        head.write_to_prefix(&mut record).unwrap();
        record
    }

    #[test]
    fn a_record_is_read_wherever_its_bytes_lie() {
        let exit = record(kind::EXIT, size_of::<abi::Exit>());
        for shift in 0..8 {
            let shifted = [&vec![0; shift][..], &exit].concat();
            assert!(matches!(read(&shifted[shift..]), Ok(Record::Event(event)) if event.time == 7), "{shift}");
        }
    }

    #[test]
    fn a_record_that_ends_early_is_an_error_at_every_length() {
        for (kind, size) in [
            (kind::EXEC, size_of::<abi::Exec>()),
            (kind::FORK, size_of::<abi::Fork>()),
            (kind::EXIT, size_of::<abi::Exit>()),
            (ssh::kind::BOUND, size_of::<ssh::ConnectionOwner>()),
            (ssh::kind::CARRIED, size_of::<ssh::Tunnelled>()),
            (ssh::kind::PACKET, size_of::<SmallPacket>()),
            (ssh::kind::CLEAR, size_of::<SmallClear>()),
        ] {
            assert!(!matches!(read(&record(kind, size)), Err(Error::Short { .. })), "{kind}");
            for len in size_of::<Head>()..size {
                assert!(matches!(read(&record(kind, len)), Err(Error::Short { .. })), "{kind}: {len}");
            }
        }
    }

    #[test]
    fn a_length_over_its_room_is_an_error() {
        let mut packet = record(ssh::kind::PACKET, size_of::<SmallPacket>());
        let at = std::mem::offset_of!(SmallPacket, len);
        packet[at..at + 4].copy_from_slice(&(ssh::PACKET_SMALL as u32 + 1).to_ne_bytes());
        let limit = ssh::PACKET_SMALL as u32;
        let expected = Error::Limit { field: "packet.len", value: limit + 1, limit };
        assert_eq!(read(&packet).err(), Some(expected));
    }
}
