//! The machine and this run of the daemon, as hashes: records name a host without giving away its machine-id.

use std::{fs, path::Path};

use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};

use crate::event::stream::Host;

/// CLOCK_BOOTTIME in ns: the clock of the probes.
pub fn boot_time() -> u64 {
    nanoseconds(ClockId::Boottime) as u64
}

/// CLOCK_REALTIME - CLOCK_BOOTTIME in ns.
pub fn clock_offset() -> i64 {
    // Two readings of boot time around the wall clock: their mean is the best guess.
    let before = nanoseconds(ClockId::Boottime);
    let wall = nanoseconds(ClockId::Realtime);
    let after = nanoseconds(ClockId::Boottime);
    wall - i64::midpoint(before, after)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Who this host and this run are. `started` is the daemon's start in boot time.
pub fn host(proc: &Path, started: u64) -> Host {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let boot_id = read(&proc.join("sys/kernel/random/boot_id"));
    let machine = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .map(|path| read(path.as_ref()))
        .find(|id| !id.is_empty())
        // A machine without an id is identified by its boot.
        .unwrap_or_else(|| boot_id.clone());
    Host {
        name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        id: digest(&["machine", &machine], 16),
        boot: digest(&["boot", &boot_id], 16),
        run: digest(&["run", &boot_id, &started.to_string()], 8),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
    }
}

/// The first `bytes` bytes of a SHA-256 over the parts, in hex.
fn digest(parts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize().get(..bytes).unwrap_or_default())
}
