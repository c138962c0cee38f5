//! Where the root of the cgroup v2 tree is mounted, from mountinfo: hybrid hosts have it at /sys/fs/cgroup/unified.

use std::path::{Path, PathBuf};

use procfs::process::Process;

/// A mount point of the cgroup v2 hierarchy's root as this process sees it.
///
/// In a cgroup namespace the mount's root is the namespace's own cgroup: programs attached there see only what is below.
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
