//! The independent truth: every successful exec as the kernel's own audit subsystem reports it.
//!
//! A rule on execve and execveat, and a reader of the kernel's multicast group, so an auditd that runs here is not
//! disturbed. An event is several records with one serial number: SYSCALL (who), EXECVE (argv, in pieces when long),
//! EOE. Nothing may be missing from a truth: the kernel's own count of lost records and an overrun of the socket fail
//! the test. A process audited must have been forked after `start`: sshd is started later.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    process::Command,
    sync::mpsc::{Receiver, channel},
    thread,
};

use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with,
    sockopt::set_socket_recv_buffer_size_force,
};

use crate::{running, wait};

const RULE: [&str; 8] = ["always,exit", "-F", "arch=b64", "-S", "execve,execveat", "-F", "success=1", "-k"];
const KEY: &str = "sensor-tests";
/// AUDIT_NLGRP_READLOG, as a mask.
const READLOG: u32 = 1;
const AUDIT_SYSCALL: u16 = 1300;
const AUDIT_EXECVE: u16 = 1309;
const AUDIT_EOE: u16 = 1320;
#[cfg(target_arch = "x86_64")]
const SYSCALLS: [&str; 2] = ["59", "322"];
#[cfg(target_arch = "aarch64")]
const SYSCALLS: [&str; 2] = ["221", "281"];
/// Room for some 100,000 records while this process does something else.
const SOCKET_BYTES: usize = 64 << 20;
/// An argument by which the reader knows where the log begins and ends.
const MARK: &str = "sensor-tests-mark";

/// One successful exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    pub pid: u32,
    pub parent: u32,
    /// The audit session; none before a login.
    pub session: Option<u32>,
    /// Login uid; none before a login.
    pub login: Option<u32>,
    pub uid: u32,
    pub exe: String,
    pub argv: Vec<Vec<u8>>,
}

/// The log while it is read. Dropping it puts audit back as it was.
pub struct Audit {
    before: HashMap<String, u64>,
    execs: Receiver<Exec>,
}

impl Audit {
    pub fn start() -> Self {
        let before = status();
        // From here on what was changed is put back, whatever happens.
        let (sender, execs) = channel();
        let audit = Self { before, execs };
        let _ = auditctl(&["-d", RULE[0], RULE[1], RULE[2], RULE[3], RULE[4], RULE[5], RULE[6], RULE[7], KEY]);
        for args in [&["-b", "65536"][..], &["-e", "1"], &[&["-a"][..], &RULE, &[KEY]].concat()] {
            let ended = auditctl(args);
            assert!(ended.status.success(), "the kernel's audit log cannot be used here: auditctl {args:?}: {ended:?}");
        }
        let socket = subscribe();
        thread::spawn(move || {
            let mut log = Log::default();
            loop {
                let mut datagram = vec![0; 16 << 10];
                // An overrun (ENOBUFS) ends the reading, and the test misses its end mark.
                let Ok((len, _)) = recv(&socket, datagram.as_mut_slice(), RecvFlags::empty()) else { return };
                if let Some(exec) = log.read(&datagram[..len])
                    && sender.send(exec).is_err()
                {
                    return;
                }
            }
        });
        audit.mark("start");
        audit
    }

    /// Every exec since the start, or since the last call, of everybody.
    pub fn take(&self) -> Vec<Exec> {
        let execs = self.mark("end");
        let lost = status()["lost"] - self.before["lost"];
        assert_eq!(lost, 0, "the kernel's audit log lost records: it cannot be the truth");
        execs
    }

    /// Executes something that no other process does, and reads until it is there.
    fn mark(&self, what: &str) -> Vec<Exec> {
        running::succeed(Command::new("/bin/true").args([MARK, what]));
        let mut execs = Vec::new();
        loop {
            let exec = self.execs.recv_timeout(wait::PATIENCE).unwrap_or_else(|_| {
                panic!("the kernel's audit log does not show an exec (or overran its reader): it cannot be the truth")
            });
            if exec.argv.get(1).is_some_and(|arg| arg == MARK.as_bytes()) {
                return execs;
            }
            execs.push(exec);
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let _ = auditctl(&[&["-d"][..], &RULE, &[KEY]].concat());
        for (option, name) in [("-e", "enabled"), ("-b", "backlog_limit")] {
            let _ = auditctl(&[option, &self.before[name].to_string()]);
        }
    }
}

fn auditctl(args: &[&str]) -> running::Ended {
    assert!(
        std::path::Path::new("/usr/sbin/auditctl").exists(),
        "auditctl is not here: apt-get install auditd (the comparison with the kernel's audit log needs it)"
    );
    running::finish(Command::new("/usr/sbin/auditctl").args(args))
}

fn status() -> HashMap<String, u64> {
    let ended = auditctl(&["-s"]);
    let text = ended.text();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let status: HashMap<String, u64> =
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect();
    assert!(status.contains_key("lost"), "the kernel has no audit log that can be asked: {ended:?}");
    status
}

fn subscribe() -> OwnedFd {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::AUDIT)).unwrap();
    set_socket_recv_buffer_size_force(&socket, SOCKET_BYTES).unwrap();
    bind(&socket, &netlink::SocketAddrNetlink::new(0, READLOG)).expect("cannot read the kernel's audit log");
    socket
}

/// Events of which not all records have come.
#[derive(Default)]
struct Log {
    pending: HashMap<u64, Pending>,
}

#[derive(Default)]
struct Pending {
    exec: Option<Exec>,
    /// Argument number and its pieces.
    args: BTreeMap<u32, Vec<u8>>,
}

impl Log {
    /// One datagram: a header of 16 bytes and `audit(TIME:SERIAL): FIELDS`. An exec, when it is complete.
    fn read(&mut self, datagram: &[u8]) -> Option<Exec> {
        let kind = u16::from_ne_bytes([*datagram.get(4)?, *datagram.get(5)?]);
        let text = String::from_utf8_lossy(datagram.get(16..)?);
        let (head, fields) = text.trim_end_matches('\0').split_once("): ")?;
        let serial: u64 = head.rsplit(':').next()?.parse().ok()?;
        match kind {
            AUDIT_SYSCALL => self.pending.entry(serial).or_default().exec = syscall(fields),
            AUDIT_EXECVE => arguments(fields, &mut self.pending.entry(serial).or_default().args),
            AUDIT_EOE => {
                let Pending { exec, args } = self.pending.remove(&serial)?;
                return exec.map(|exec| Exec { argv: args.into_values().collect(), ..exec });
            }
            _ => {}
        }
        None
    }
}

fn syscall(fields: &str) -> Option<Exec> {
    let fields: HashMap<&str, &str> = fields.split(' ').filter_map(|field| field.split_once('=')).collect();
    let number = |name: &str| fields.get(name)?.parse::<u32>().ok();
    if !SYSCALLS.contains(fields.get("syscall")?) || *fields.get("success")? != "yes" {
        return None;
    }
    let set = |id: Option<u32>| id.filter(|id| *id != u32::MAX);
    Some(Exec {
        pid: number("pid")?,
        parent: number("ppid")?,
        session: set(number("ses")),
        login: set(number("auid")),
        uid: number("uid")?,
        exe: String::from_utf8_lossy(&value(fields.get("exe")?)).into_owned(),
        argv: Vec::new(),
    })
}

/// `a0="ls" a1=2D6C a2_len=9000 a2[0]=... a2[1]=...`
fn arguments(fields: &str, args: &mut BTreeMap<u32, Vec<u8>>) {
    for (name, text) in fields.split(' ').filter_map(|field| field.split_once('=')) {
        let name = name.split('[').next().unwrap_or_default();
        if let Some(number) = name.strip_prefix('a').and_then(|number| number.parse().ok()) {
            args.entry(number).or_default().extend(value(text));
        }
    }
}

/// Quoted as it is, anything unusual in hex.
fn value(text: &str) -> Vec<u8> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.trim_end_matches('"').into();
    }
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_an_event_become_one_exec() {
        let datagram = |kind: u16, text: &str| {
            let mut bytes = vec![0; 16];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(text.as_bytes());
            bytes
        };
        let syscall = format!(
            "audit(1.2:7): arch=c000003e syscall={} success=yes exit=0 ppid=5 pid=6 auid=1000 uid=0 ses=4294967295 exe=\"/bin/ls\"",
            SYSCALLS[0]
        );
        let mut log = Log::default();
        assert_eq!(log.read(&datagram(AUDIT_SYSCALL, &syscall)), None);
        assert_eq!(
            log.read(&datagram(AUDIT_EXECVE, "audit(1.2:7): argc=3 a0=\"ls\" a1=2D FF a2_len=4 a2[0]=4142")),
            None
        );
        assert_eq!(log.read(&datagram(AUDIT_EXECVE, "audit(1.2:7): a2[1]=4344")), None);
        let exec = log.read(&datagram(AUDIT_EOE, "audit(1.2:7): ")).unwrap();
        assert_eq!((exec.pid, exec.parent, exec.session, exec.login), (6, 5, None, Some(1000)));
        assert_eq!(exec.argv, [b"ls".to_vec(), b"-".to_vec(), b"ABCD".to_vec()]);
    }
}
