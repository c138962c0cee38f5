//! An ssh on a file system that a program of the attacker serves (FUSE): it runs, its sessions are recorded, and no
//! probe is put on it.
//!
//! Kernel fact, measured on 6.18: a uprobe on a page of a mapped file that the kernel does not hold is read from the
//! server with `dup_mmap_sem` held; a server that did not answer for 18 s made a fork of another process take 18 s.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sensor_tests::{
    Record,
    hostile::{Siege, assert_no_event_lost, slow::SlowFileSystem, soon},
    running,
};

/// A fork and an exec take a millisecond or two; a machine that is busy makes it more.
const AT_ONCE: Duration = Duration::from_secs(1);
const FORKS: usize = 100;
const OPTIONS: &str = "-F none -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";

#[test]
fn a_program_on_fuse_is_not_probed_and_its_server_stops_no_fork() {
    let mut siege = Siege::new("hostile-served", "");
    let (key, port) = (siege.key(), siege.sshd.port);
    let served = SlowFileSystem::of(&siege.attacker, &siege.home("served"), "none", "/usr/bin/ssh");
    let ssh = served.path.join("ssh").display().to_string();
    let line = |command: &str| format!("{ssh} {OPTIONS} -i {} -p {port} 127.0.0.1 \"{command}\"", key.display());
    assert_eq!(siege.attack(&line("exit 5")).code(), 5);
    let nameless = SlowFileSystem::of(&siege.attacker, &siege.home("nameless"), "nameless", "/usr/bin/ssh");
    let on_nameless = line("exit 5").replace(&ssh, &nameless.path.join("ssh").display().to_string());
    assert_eq!(siege.attack(&on_nameless).code(), 5);
    // A copy that the kernel can read by itself, for comparison.
    assert_eq!(siege.attack(&format!("copies.sh 1 755 {port} {}", key.display())).code(), 0);

    let mut open = siege.attack_beside(&line("sleep 12; exit 6"));
    let runs = |record: &Record| record.text("process.executable") == ssh && record.args_contain("sleep 12; exit 6");
    soon(|| siege.sensor.records().of("process-started").any(runs).then_some(())).expect("no exec of ssh on FUSE");
    served.signal(Signal::STOP);
    // One more that the server does not answer.
    let stuck = siege.attack_beside(&line("exit 7"));
    let slowest = (0..FORKS).map(|_| {
        let begun = Instant::now();
        running::succeed(&mut Command::new("/bin/true"));
        begun.elapsed()
    });
    let slowest = slowest.max().unwrap();
    assert!(slowest < AT_ONCE, "beside a stopped server of FUSE a fork and exec take {slowest:?}");
    siege.assert_awake("an ssh on a file system whose server is stopped");
    served.signal(Signal::CONT);
    assert_eq!(open.wait().code(), Some(6));
    drop(stuck);

    let records = siege.stop();
    drop((served, nameless));
    assert_no_event_lost(&records);
    let clients = records.of_clients(port);
    let captures = |of: &dyn Fn(&str) -> bool| -> Vec<String> {
        let connections = clients.of("ssh-connection").filter(|record| of(record.text("process.executable")));
        connections.map(|record| record.text("ssh.capture").to_owned()).collect()
    };
    let home = siege.attacker.home.display().to_string();
    let is_served = |path: &str| path.ends_with("/ssh");
    assert_eq!(captures(&|path| path.starts_with(&home) && !is_served(path)), ["full"], "a copy elsewhere");
    let on_fuse = captures(&|path| path.starts_with(&home) && is_served(path));
    assert!(on_fuse.len() >= 3 && !on_fuse.iter().any(|capture| capture == "full"), "{on_fuse:?}");
    let said: Vec<&str> = records.of("sensor-degraded").map(|record| record.text("sensor.degraded.why")).collect();
    for why in ["(FUSE)", "does not say what it is"] {
        assert_eq!(said.iter().filter(|said| said.contains(why)).count(), 1, "{why} is said once: {said:?}");
    }
}
