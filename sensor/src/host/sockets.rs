//! TCP sockets of the host as /proc shows them, by inode: who listens, and which connection a process found at start
//! serves.

use std::{collections::HashMap, net::SocketAddr, path::Path};

use procfs::{
    net::TcpState,
    process::{FDTarget, Process},
};

/// One connected or listening socket.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub listens: bool,
}

/// The sockets of each network namespace that was asked for.
#[derive(Default)]
pub struct Sockets {
    namespaces: HashMap<u64, HashMap<u64, Socket>>,
}

impl Sockets {
    /// TCP sockets among the process's first `limit` descriptors.
    pub fn of(&mut self, process: &Process, proc: &Path, limit: usize) -> Vec<Socket> {
        let Ok(fds) = process.fd() else { return Vec::new() };
        let inodes: Vec<u64> = fds
            .take(limit)
            .filter_map(|fd| match fd.ok()?.target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            })
            .collect();
        if inodes.is_empty() {
            return Vec::new();
        }
        let namespace = network_namespace(process.pid, proc);
        let table = self.namespaces.entry(namespace).or_insert_with(|| table(process));
        inodes.iter().filter_map(|inode| table.get(inode).copied()).collect()
    }
}

fn network_namespace(pid: i32, proc: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(proc.join(pid.to_string()).join("ns/net")).map_or(0, |metadata| metadata.ino())
}

fn table(process: &Process) -> HashMap<u64, Socket> {
    let entries = process.tcp().unwrap_or_default().into_iter().chain(process.tcp6().unwrap_or_default());
    entries
        .filter(|entry| entry.inode != 0)
        .map(|entry| {
            let listens = entry.state == TcpState::Listen;
            let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            (
                entry.inode,
                Socket { local: canonical(entry.local_address), remote: canonical(entry.remote_address), listens },
            )
        })
        .collect()
}
