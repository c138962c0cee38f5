//! Terminals, memory and time: what a user's files may take from the sensor.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use sensor_tests::hostile::{Siege, assert_no_event_lost, family};

/// Of all its processes together: 900 symbolic links once made it 3 GB. A user has two workers at a time, each with the
/// tables of one file and its text.
const MEMORY_KIB: u64 = 160 << 10;

#[test]
fn a_terminal_of_a_user_does_not_become_the_sensors() {
    let mut siege = Siege::new("hostile-terminal", "");
    let pid = siege.sensor.pid();
    assert_eq!(family::session(pid), Some(pid.cast_signed()), "a session leader could get a terminal");
    let ended = siege.attack(&format!("terminal.py {}", siege.sshd.port));
    assert_eq!(ended.code(), 0, "{ended:?}");
    siege.assert_awake("^C on a terminal of the attacker");
    siege.assert_no_terminal("^C on a terminal of the attacker");
    assert_no_event_lost(&siege.stop());
}

#[test]
fn trees_that_cost_their_owner_little_cost_the_sensor_little() {
    let mut siege = Siege::new("hostile-memory", "");
    let pid = siege.sensor.pid();
    let (most, watching) = (AtomicU64::new(0), AtomicBool::new(true));
    thread::scope(|scope| {
        // A failed assertion must end it too.
        let end = End(&watching);
        scope.spawn(|| {
            while watching.load(Ordering::Relaxed) {
                most.fetch_max(family::anonymous(pid), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
        });
        for tree in ["links", "entries", "environment", "sections", "libraries"] {
            let attack = siege.attack_beside(&format!("starve.py {tree} {}", siege.sshd.port));
            // During it and after it.
            siege.assert_awake(tree);
            siege.until_ended(attack, tree);
            siege.assert_awake(tree);
            let used = most.load(Ordering::Relaxed);
            assert!(used < MEMORY_KIB, "{used} KiB of anonymous memory after {tree}");
        }
        drop(end);
    });
    assert_no_event_lost(&siege.stop());
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
