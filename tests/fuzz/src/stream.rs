//! Events in any order: ids that repeat, sessions that ended, clocks that jump.
//!
//! Ids come from small sets, so that events meet; now and then one is anything, or as large as it can be.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sensor::decode::Decoder;
use sensor::event::config_file::{Author, Cause, ConfigFile, Contents, Unread};
use sensor::event::{
    deploy::{Facts, Project},
    labels::Label,
    stream::{
        Args, Connect, Credentials, Degraded, Event, EventKind, Exec, Exit, FileId, Fork, Host, Limits, Lost, Names,
        Path, Probe, ProcessId, ProcessSnapshot, Role, Served, Status, Task, TcpChange, TcpState,
    },
};
use serde_bytes::ByteBuf;

pub(crate) fn event(input: &mut Unstructured<'_>) -> Result<Event> {
    Ok(Event { time: number(input, 20_000_000_000)?, what: what(input)? })
}

fn what(input: &mut Unstructured<'_>) -> Result<EventKind> {
    Ok(match input.int_in_range(0..=33u8)? {
        0 => EventKind::Host(Host { boot: text(input)?, ..Host::default() }),
        1 => EventKind::Clock { offset: input.arbitrary()? },
        2 | 3 => EventKind::ProcessSnapshot(Box::new(ProcessSnapshot {
            task: task(input)?,
            file: maybe(input, file)?,
            role: role(input)?,
            executable: maybe(input, path)?,
            args: args(input)?,
            served: maybe(input, served)?,
            ssh_connection: maybe(input, |input| Ok((address(input)?, address(input)?)))?,
        })),
        4 => EventKind::SnapshotComplete,
        5 | 6 => EventKind::Program { file: file(input)?, role: role(input)? },
        7 => EventKind::User { mnt_ns: small(input)?, uid: small(input)?, name: text(input)?.into() },
        8 => EventKind::Cgroup { id: small(input)?.into(), path: text(input)?.into() },
        9..=12 => EventKind::Fork(Fork { task: task(input)?, creator: process(input)?, served: maybe(input, served)? }),
        13..=16 => EventKind::Exec(Box::new(Exec {
            task: task(input)?,
            file: maybe(input, file)?,
            role: None,
            executable: maybe(input, path)?,
            working_directory: maybe(input, path)?,
            args: args(input)?,
            argc: small(input)?,
            served: maybe(input, served)?,
            thread: maybe(input, small)?,
            stamp: None,
        })),
        17..=19 => EventKind::Exit(Exit { task: task(input)?, status: Status::from_wait(input.arbitrary()?) }),
        20 => EventKind::Connect(Connect { task: task(input)?, socket: number(input, 5)?, remote: address(input)? }),
        21 => EventKind::Tcp(TcpChange {
            socket: number(input, 5)?,
            local: address(input)?,
            remote: address(input)?,
            old: TcpState::from_kernel(input.arbitrary()?),
            new: *input.choose(&[TcpState::SynSent, TcpState::Established, TcpState::Close, TcpState::Other(8)])?,
            error: maybe(input, Unstructured::arbitrary)?,
            bytes_in: input.arbitrary()?,
            bytes_out: input.arbitrary()?,
        }),
        22 => rare(input)?,
        23 => EventKind::Stop(Vec::new()),
        24..=30 => ssh(input)?,
        31 => EventKind::Deploy(Box::new(Facts {
            process: process(input)?,
            tool: text(input)?.into(),
            project: maybe(input, project)?,
            variables: vec![("KAMAL_PERFORMER".into(), text(input)?)],
            working_directory: maybe(input, path)?,
        })),
        _ => EventKind::Tick,
    })
}

/// A message of an SSH connection, or who speaks over it, as the decoder returns it.
fn ssh(input: &mut Unstructured<'_>) -> Result<EventKind> {
    let record = crate::ssh::record(input, &mut HashMap::new())?;
    let mut events = Vec::new();
    let _ = Decoder::default().decode(&record, &mut events);
    Ok(events.pop().map_or(EventKind::Tick, |event| event.what))
}

fn rare(input: &mut Unstructured<'_>) -> Result<EventKind> {
    Ok(match input.int_in_range(0..=5u8)? {
        0 => EventKind::Lost(Lost {
            stage: text(input)?,
            kind: text(input)?,
            count: input.arbitrary()?,
            since: input.arbitrary()?,
        }),
        1 => EventKind::Degraded(Degraded { what: text(input)?, why: text(input)?, effect: text(input)? }),
        2 => EventKind::Probes(vec![Probe {
            name: text(input)?,
            target: text(input)?,
            state: text(input)?,
            why: maybe(input, text)?,
        }]),
        3 => EventKind::ConfigFile(Box::new(config_file(input)?)),
        4 => EventKind::Labels(vec![Label { name: text(input)?, patterns: vec![text(input)?] }]),
        _ => {
            let [processes, sessions, connections] =
                [small(input)? as usize, small(input)? as usize, small(input)? as usize];
            EventKind::Reloaded { all: input.arbitrary()?, limits: Limits { processes, sessions, connections } }
        }
    })
}

fn config_file(input: &mut Unstructured<'_>) -> Result<ConfigFile> {
    let contents = |input: &mut Unstructured<'_>| {
        Ok(match input.int_in_range(0..=2u8)? {
            0 => Contents::Hash([input.arbitrary()?; 32]),
            1 => Contents::Missing,
            _ => Contents::Unread(Unread::TooLarge { bytes: input.arbitrary()? }),
        })
    };
    let cause = match input.int_in_range(0..=3u8)? {
        0 => Cause::Deploy(process(input)?),
        1 => Cause::Changed(Author::Process(process(input)?)),
        2 => Cause::Changed(Author::Gone { tgid: small(input)? }),
        _ => Cause::Start,
    };
    Ok(ConfigFile {
        path: path(input)?,
        secret: input.arbitrary()?,
        cause,
        at: number(input, 20_000_000_000)?,
        now: contents(input)?,
        before: maybe(input, contents)?,
        inferred: input.arbitrary()?,
    })
}

fn project(input: &mut Unstructured<'_>) -> Result<Box<Project>> {
    let hosts = vec![text(input)?];
    Ok(Box::new(Project { service: Some(text(input)?), roles: vec![(text(input)?, hosts)], ..Project::default() }))
}

fn task(input: &mut Unstructured<'_>) -> Result<Task> {
    let id = process(input)?;
    Ok(Task {
        id,
        tid: id.tgid,
        parent: maybe(input, process)?,
        sid: maybe(input, small)?,
        credentials: maybe(input, |input| {
            let [uid, euid, gid, egid] = [small(input)?, small(input)?, 0, 0];
            Ok(Credentials { uid, euid, gid, egid })
        })?,
        loginuid: maybe(input, small)?,
        audit_session: maybe(input, small)?,
        mnt_ns: maybe(input, small)?,
        pid_ns: None,
        cgroup: maybe(input, |input| Ok(small(input)?.into()))?,
        comm: bytes(input)?,
        names: Names::default(),
    })
}

pub(crate) fn process(input: &mut Unstructured<'_>) -> Result<ProcessId> {
    Ok(ProcessId { tgid: small(input)?, start: number(input, 2)? })
}

fn served(input: &mut Unstructured<'_>) -> Result<Served> {
    Ok(Served { socket: maybe(input, |input| number(input, 5))?, local: address(input)?, remote: address(input)? })
}

pub(crate) fn address(input: &mut Unstructured<'_>) -> Result<SocketAddr> {
    let ip = if input.arbitrary()? {
        IpAddr::V4(Ipv4Addr::from(small(input)?))
    } else {
        IpAddr::V6(Ipv6Addr::from(u128::from(small(input)?)))
    };
    Ok(SocketAddr::new(ip, small(input)? as u16))
}

fn role(input: &mut Unstructured<'_>) -> Result<Role> {
    input.choose(&[Role::Server, Role::ServerSession, Role::ServerAuth, Role::Other]).copied()
}

fn file(input: &mut Unstructured<'_>) -> Result<FileId> {
    Ok(FileId { dev: 0, inode: small(input)?.into() })
}

fn path(input: &mut Unstructured<'_>) -> Result<Path> {
    Ok(Path { bytes: bytes(input)?, cut: input.arbitrary()? })
}

fn args(input: &mut Unstructured<'_>) -> Result<Args> {
    let list = input.arbitrary_iter::<&[u8]>()?.take(4).map(|arg| Ok(ByteBuf::from(arg?))).collect::<Result<_>>()?;
    Ok(Args { list, total: input.arbitrary()?, cut: input.arbitrary()?, redacted: input.arbitrary()? })
}

pub(crate) fn bytes(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if input.ratio(3, 4)? {
        return Ok(input
            .choose(&[
                "/bin/docker",
                "sh",
                "/usr/sbin/sshd",
                "a\nb\u{202e}",
                "kamal",
                "deploy",
                ".kamal/hooks/pre-deploy",
            ])?
            .as_bytes()
            .to_vec());
    }
    Ok(<&[u8]>::into(input.arbitrary()?))
}

pub(crate) fn text(input: &mut Unstructured<'_>) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(input)?).into_owned())
}

pub(crate) fn maybe<'a, T>(
    input: &mut Unstructured<'a>,
    make: impl FnOnce(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Option<T>> {
    if input.ratio(3, 4)? { make(input).map(Some) } else { Ok(None) }
}

pub(crate) fn small(input: &mut Unstructured<'_>) -> Result<u32> {
    if input.ratio(1, 64)? { input.arbitrary() } else { input.int_in_range(0..=6) }
}

pub(crate) fn number(input: &mut Unstructured<'_>, usual: u64) -> Result<u64> {
    match input.int_in_range(0..=63u8)? {
        0 => Ok(u64::MAX),
        1 => input.arbitrary(),
        _ => input.int_in_range(0..=usual),
    }
}
