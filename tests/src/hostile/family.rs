//! The processes of a sensor as /proc has them: the one that was started and all its descendants. Capabilities, memory
//! and terminals are looked at for each of them.

use std::{collections::BTreeMap, fs};

/// The sensor and its descendants.
pub fn of(sensor: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in pids {
        if let Some(parent) = stat(pid, 4) {
            children.entry(parent.cast_unsigned()).or_default().push(pid);
        }
    }
    let mut found = vec![sensor];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.get(pid).into_iter().flatten());
        next += 1;
    }
    found
}

/// It is there, and not only its exit status.
pub fn is_alive(pid: u32) -> bool {
    line(pid).is_some_and(|line| !line.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}

/// Its controlling terminal; 0: none.
pub fn terminal(pid: u32) -> Option<i32> {
    stat(pid, 7)
}

/// Its permitted capabilities: those that it can have in effect.
pub fn capabilities(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let text = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    u64::from_str_radix(text.trim(), 16).ok()
}

/// The paths by which the sensor gave its probed files to perf_event_open(2), where the kernel reports them (Linux
/// 6.17: fdinfo of a link).
pub fn probed_paths(sensor: u32) -> Vec<String> {
    let links = of(sensor).into_iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fdinfo")).ok());
    let mut paths: Vec<String> = links
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter(|text| text.lines().any(|line| line.starts_with("event_type:") && line.ends_with("uprobe")))
        .filter_map(|text| Some(text.lines().find_map(|line| line.strip_prefix("name:"))?.trim().to_owned()))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Its POSIX session.
pub fn session(pid: u32) -> Option<i32> {
    stat(pid, 6)
}

/// Anonymous memory of the sensor and its descendants, in KiB. Pages that they share since fork(2) are counted for
/// each.
pub fn anonymous(sensor: u32) -> u64 {
    let one = |pid: u32| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    of(sensor).into_iter().filter_map(one).sum()
}

/// A field of /proc/PID/stat by its number in proc(5).
fn stat(pid: u32, field: usize) -> Option<i32> {
    // The second field is a name that may hold anything.
    line(pid)?.rsplit(')').next()?.split_whitespace().nth(field - 3)?.parse().ok()
}

fn line(pid: u32) -> Option<String> {
    fs::read(format!("/proc/{pid}/stat")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
