//! Where the root of the cgroup v2 tree is mounted, from mountinfo: hybrid hosts have it at /sys/fs/cgroup/unified.

use std::path::{Path, PathBuf};

use procfs::process::Process;

use super::snapshot::namespace_number;
use crate::event::stream::ProcessId;

/// A process whose root is the host's own, and its mount namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRoot {
    /// Its start is 0: it is not compared.
    pub process: ProcessId,
    pub mnt_ns: Option<u32>,
}

/// Init; where init may not be looked at (a user namespace, some virtual machines), this process.
pub fn host_root(proc: &Path) -> HostRoot {
    let of = |tgid: u32| {
        let mnt_ns = namespace_number(&proc.join(tgid.to_string()).join("ns/mnt"));
        HostRoot { process: ProcessId { tgid, start: 0 }, mnt_ns }
    };
    let init = of(1);
    if init.mnt_ns.is_some() {
        return init;
    }
    let own = std::fs::read_link(proc.join("self")).ok().and_then(|link| link.to_str()?.parse().ok());
    own.map_or(init, of)
}

/// A mount point of the cgroup v2 hierarchy's root as this process sees it.
///
/// In a cgroup namespace the mount's root is the namespace's own cgroup: programs attached there see only what is
/// below.
pub fn cgroup2() -> Option<PathBuf> {
    let mounts = Process::myself().ok()?.mountinfo().ok()?;
    mounts
        .into_iter()
        .filter(|mount| mount.fs_type == "cgroup2")
        .min_by_key(|mount| (mount.root != "/", mount.mount_point.as_os_str().len()))
        .map(|mount| mount.mount_point)
}

/// Is this process in the host's initial cgroup namespace, as far as it can tell?
pub fn sees_whole_cgroup_tree(proc: &Path) -> bool {
    let namespace = |path: PathBuf| std::fs::read_link(path).ok();
    match (namespace(proc.join("1/ns/cgroup")), namespace(PathBuf::from("/proc/self/ns/cgroup"))) {
        (Some(host), Some(own)) => host == own,
        _ => true,
    }
}
