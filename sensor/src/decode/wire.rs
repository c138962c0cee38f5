//! The layout of ring records, read field by field.
//!
//! What enters: the bytes of one record. What leaves: the record as declared in `sensor-common`, with absent fields as
//! None. Nothing is transmuted: each read checks that the bytes are there. A record of another version, kind or length
//! is an error that says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Buf;
use sensor_common::{self as abi, VERSION, exec_flag, kind, ssh, valid};

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
    #[error("record of {len} bytes ends before its {field}")]
    Short { len: usize, field: &'static str },
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

/// Reads one field.
struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

macro_rules! getters {
    ($($name:ident -> $ty:ty, $get:ident;)+) => {
        $(fn $name(&mut self, field: &'static str) -> Result<$ty, Error> {
            self.rest.$get().map_err(|_| Error::Short { len: self.len, field })
        })+
    };
}

impl<'a> Reader<'a> {
    getters! {
        u8 -> u8, try_get_u8;
        u16 -> u16, try_get_u16_ne;
        u32 -> u32, try_get_u32_ne;
        u64 -> u64, try_get_u64_ne;
    }

    fn bytes(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(Error::Short { len: self.len, field })?;
        self.rest = tail;
        Ok(head)
    }

    /// A region of fixed size of which the first `used` bytes are valid.
    fn region(&mut self, size: usize, used: u32, field: &'static str) -> Result<&'a [u8], Error> {
        let bytes = self.bytes(size, field)?;
        bytes.get(..used as usize).ok_or(Error::Limit { field, value: used, limit: size as u32 })
    }

    fn task(&mut self) -> Result<Task, Error> {
        let start = self.u64("task.start")?;
        let parent_start = self.u64("task.parent_start")?;
        let cgroup = self.u64("task.cgroup")?;
        let mut word = || self.u32("task");
        let [tgid, tid, parent_tgid, sid] = [word()?, word()?, word()?, word()?];
        let [uid, euid, gid, egid] = [word()?, word()?, word()?, word()?];
        let [loginuid, audit_session, mnt_ns, pid_ns] = [word()?, word()?, word()?, word()?];
        let comm = self.bytes(16, "task.comm")?;
        let flags = self.u32("task.valid")?;
        self.u32("task.pad")?;
        let has = |bit: u32| flags & bit != 0;
        Ok(Task {
            id: process(tgid, start),
            tid,
            parent: has(valid::PARENT).then(|| process(parent_tgid, parent_start)),
            sid: has(valid::SID).then_some(sid),
            credentials: has(valid::CRED).then_some(Credentials { uid, euid, gid, egid }),
            loginuid: (has(valid::LOGINUID) && loginuid != UNSET).then_some(loginuid),
            audit_session: (has(valid::AUDIT_SESSION) && audit_session != UNSET).then_some(audit_session),
            mnt_ns: has(valid::MNT_NS).then_some(mnt_ns),
            pid_ns: has(valid::PID_NS).then_some(pid_ns),
            cgroup: has(valid::CGROUP).then_some(cgroup),
            comm: if has(valid::COMM) { until_nul(comm).to_vec() } else { Vec::new() },
            names: Names::default(),
        })
    }

    /// A socket's id, and its endpoints if it is one.
    fn any_socket(&mut self) -> Result<(u64, Option<(SocketAddr, SocketAddr)>), Error> {
        let id = self.u64("socket.id")?;
        let family = self.u16("socket.family")?;
        let local_port = self.u16("socket.local_port")?;
        let remote_port = self.u16("socket.remote_port")?;
        self.u16("socket.pad")?;
        let local = address(family, self.bytes(16, "socket.local")?);
        let remote = address(family, self.bytes(16, "socket.remote")?);
        let endpoints = local.zip(remote);
        Ok((id, endpoints.map(|(l, r)| (SocketAddr::new(l, local_port), SocketAddr::new(r, remote_port)))))
    }

    /// A socket: its id and endpoints, None if there is none or its family is unknown.
    fn socket(&mut self) -> Result<Option<(u64, SocketAddr, SocketAddr)>, Error> {
        let (id, endpoints) = self.any_socket()?;
        Ok(endpoints.map(|(local, remote)| (id, local, remote)))
    }

    fn direction(&mut self) -> Result<Direction, Error> {
        match self.u8("direction")? {
            ssh::direction::IN => Ok(Direction::In),
            ssh::direction::OUT => Ok(Direction::Out),
            other => Err(Error::Limit { field: "direction", value: other.into(), limit: ssh::direction::OUT.into() }),
        }
    }

    /// Room of one of two sizes, told apart by what is left of the record.
    fn either(&mut self, sizes: [usize; 2], used: u32, field: &'static str) -> Result<&'a [u8], Error> {
        let size = sizes.into_iter().find(|size| *size == self.rest.len());
        self.region(size.ok_or(Error::Short { len: self.len, field })?, used, field)
    }

    fn served(&mut self) -> Result<Option<Served>, Error> {
        Ok(self.socket()?.map(|(id, local, remote)| Served { socket: Some(id), local, remote }))
    }
}

/// Reads one record.
pub(super) fn read(record: &[u8]) -> Result<Record, Error> {
    let mut reader = Reader { rest: record, len: record.len() };
    let kind = reader.u16("head.kind")?;
    let version = reader.u16("head.version")?;
    let size = reader.u32("head.size")?;
    let time = reader.u64("head.time")?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    if size as usize != record.len() {
        return Err(Error::Size { says: size, len: record.len() });
    }
    let what = match kind {
        kind::EXEC => return exec(&mut reader, time),
        kind::ARGS => return piece(&mut reader),
        kind::FORK => {
            let task = reader.task()?;
            let start = reader.u64("fork.creator_start")?;
            let tgid = reader.u32("fork.creator_tgid")?;
            reader.u32("fork.pad")?;
            EventKind::Fork(Fork { task, creator: process(tgid, start), served: reader.served()? })
        }
        kind::EXIT => {
            let task = reader.task()?;
            EventKind::Exit(Exit { task, status: Status::from_wait(reader.u32("exit.status")?) })
        }
        kind::CONNECT => {
            let task = reader.task()?;
            let Some((socket, _, remote)) = reader.socket()? else { return Err(Error::Kind(kind)) };
            EventKind::Connect(Connect { task, socket, remote })
        }
        kind::TCP_STATE => tcp(&mut reader, kind)?,
        ssh::kind::PACKET => packet(&mut reader)?,
        ssh::kind::CARRIED => {
            let (connection, carrier) = (reader.u64("carried.connection")?, reader.u64("carried.carrier")?);
            let recipient = reader.u32("carried.recipient")?;
            let out = reader.u32("carried.direction")? != 0;
            let direction = if out { Direction::Out } else { Direction::In };
            EventKind::SshTunnelled(Tunnelled { connection, carrier, recipient, direction })
        }
        ssh::kind::BOUND => {
            let start = reader.u64("bound.start")?;
            let tgid = reader.u32("bound.tgid")?;
            let flags = reader.u32("bound.flags")?;
            let (connection, endpoints) = reader.any_socket()?;
            let owner = ConnectionOwner { process: process(tgid, start), connection, endpoints };
            let is_ambiguous = flags & ssh::bound_flag::MIXED != 0;
            if is_ambiguous { EventKind::SshAmbiguous(owner) } else { EventKind::SshOwner(owner) }
        }
        ssh::kind::CLEAR => return clear(&mut reader, time),
        other => return Err(Error::Kind(other)),
    };
    Ok(Record::Event(Box::new(Event { time, what })))
}

fn packet(reader: &mut Reader<'_>) -> Result<EventKind, Error> {
    let connection = reader.u64("packet.connection")?;
    let start = reader.u64("packet.start")?;
    let bytes = reader.u64("packet.bytes")?;
    let tgid = reader.u32("packet.tgid")?;
    let len = reader.u32("packet.len")?;
    let flags = reader.u16("packet.flags")?;
    let number = reader.u8("packet.message")?;
    let direction = reader.direction()?;
    reader.u32("packet.pad")?;
    let payload = reader.either([ssh::PACKET_SMALL, ssh::PACKET_LARGE], len, "packet.len")?;
    let has = |flag: u16| flags & flag != 0;
    let message = if has(ssh::packet_flag::COMPRESSED) {
        Message::Compressed
    } else if has(ssh::packet_flag::MALFORMED) {
        Message::Malformed { number, what: MalformedWhat::Length }
    } else {
        message(number, payload, has(ssh::packet_flag::CUT), bytes).ok_or(Error::Message(number))?
    };
    Ok(EventKind::Ssh(Box::new(Packet {
        connection,
        process: Some(process(tgid, start)),
        endpoints: None,
        direction,
        before_mac: has(ssh::packet_flag::LENGTH),
        cut: has(ssh::packet_flag::CUT),
        message,
    })))
}

fn clear(reader: &mut Reader<'_>, time: u64) -> Result<Record, Error> {
    let (connection, endpoints) = reader.any_socket()?;
    let offset = reader.u32("clear.offset")?;
    let len = reader.u32("clear.len")?;
    let flags = reader.u16("clear.flags")?;
    let direction = reader.direction()?;
    reader.bytes(5, "clear.pad")?;
    let data = reader.either([ssh::CLEAR_SMALL, ssh::CLEAR_LARGE], len, "clear.len")?.to_vec();
    Ok(Record::Clear { time, connection, endpoints, direction, offset, flags, data })
}

fn tcp(reader: &mut Reader<'_>, kind: u16) -> Result<EventKind, Error> {
    let Some((socket, local, remote)) = reader.socket()? else { return Err(Error::Kind(kind)) };
    let bytes_in = reader.u64("tcp.bytes_received")?;
    let bytes_out = reader.u64("tcp.bytes_sent")?;
    let old = TcpState::from_kernel(reader.u8("tcp.old")?);
    let new = TcpState::from_kernel(reader.u8("tcp.new")?);
    let error = reader.u16("tcp.error")?;
    Ok(EventKind::Tcp(TcpChange {
        socket,
        local,
        remote,
        old,
        new,
        error: (error != 0).then_some(error),
        bytes_in,
        bytes_out,
    }))
}

fn exec(reader: &mut Reader<'_>, time: u64) -> Result<Record, Error> {
    let task = reader.task()?;
    let served = reader.served()?;
    let inode = reader.u64("exec.inode")?;
    let mut word = || reader.u32("exec");
    let [dev, flags, total, copied] = [word()?, word()?, word()?, word()?];
    let [argc, old_tid, exe_bytes, cwd_bytes] = [word()?, word()?, word()?, word()?];
    let stamp = FileStamp {
        size: reader.u64("exec.size")?,
        ctime: (reader.u64("exec.ctime_sec")?.cast_signed(), reader.u32("exec.ctime_nsec")?),
        generation: reader.u32("exec.generation")?,
        nlink: reader.u32("exec.nlink")?,
        owner: reader.u32("exec.owner")?,
        mode: reader.u32("exec.mode")?,
        overlay: flags & exec_flag::OVERLAY != 0,
    };
    reader.u32("exec.pad")?;
    let used = exe_bytes.saturating_add(cwd_bytes);
    let paths = reader.region(abi::PATHS_MAX + abi::NAME_MAX, used, "exec.paths")?;
    let (exe, cwd) = paths.split_at_checked(exe_bytes as usize).unwrap_or((paths, &[]));
    let has = |bit: u32| flags & bit != 0;
    // An argv longer than the inline room came in pieces, before this record.
    let inline = match total as usize <= abi::ARGS_INLINE {
        true => Some(reader.region(abi::ARGS_INLINE, copied, "exec.args_copied")?.to_vec()),
        false => None,
    };
    let event = Exec {
        task,
        file: has(exec_flag::INODE).then_some(FileId { dev, inode }),
        role: None,
        executable: has(exec_flag::EXE).then(|| path(exe, has(exec_flag::EXE_CUT))),
        working_directory: has(exec_flag::CWD).then(|| path(cwd, has(exec_flag::CWD_CUT))),
        args: Args::default(),
        argc,
        served,
        thread: has(exec_flag::OTHER_THREAD).then_some(old_tid),
        stamp: has(exec_flag::STAMP).then_some(stamp),
    };
    Ok(Record::Exec { event: Box::new(event), time, args: RawArgs { inline, total, copied } })
}

fn piece(reader: &mut Reader<'_>) -> Result<Record, Error> {
    let exec_time = reader.u64("args.exec_time")?;
    let tgid = reader.u32("args.tgid")?;
    let offset = reader.u32("args.offset")?;
    let len = reader.u32("args.len")?;
    reader.u32("args.pad")?;
    if offset >= abi::ARGS_MAX {
        return Err(Error::Limit { field: "args.offset", value: offset, limit: abi::ARGS_MAX });
    }
    let data = reader.region(abi::ARGS_CHUNK, len, "args.len")?.to_vec();
    Ok(Record::Piece { tgid, exec_time, offset, data })
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
    use super::*;

    #[test]
    fn components_become_a_path() {
        assert_eq!(path(b"bash\0bin\0usr\0", false).bytes, b"/usr/bin/bash");
        assert_eq!(path(b"", false).bytes, b"/");
        assert_eq!(path(b"bash\0bin\0", true).bytes, b"bin/bash");
    }

    #[test]
    fn short_and_foreign_records_are_errors() {
        assert_eq!(read(&[]).err(), Some(Error::Short { len: 0, field: "head.kind" }));
        let mut head = Vec::new();
        head.extend(kind::EXIT.to_ne_bytes());
        head.extend(9u16.to_ne_bytes());
        head.extend([0; 12]);
        assert_eq!(read(&head).err(), Some(Error::Version(9)));
    }
}
