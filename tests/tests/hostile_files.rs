//! Files of every kind where the sensor expects a plain one of its own choice: it stays awake, opens nothing that its
//! user may not open, gets no terminal, and ends in time.
//!
//! A FIFO at any of these places once stopped all records of the host, and SIGTERM; a symbolic link to a terminal made
//! that the daemon's own, whose ^C then ended it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs, os::unix::fs::PermissionsExt as _};

use sensor_tests::hostile::{KINDS, Siege, assert_no_event_lost, slow::SlowFileSystem, tripwire::Tripwire};

#[test]
fn a_file_of_any_kind_in_any_place_delays_no_record() {
    let mut siege = Siege::new("hostile-kinds", "");
    siege.place(&[("good", "")]);
    // Two at a time, so that a failure names few.
    for pair in KINDS.chunks(2) {
        let pair: Vec<(&str, &str)> = pair.iter().map(|kind| (*kind, "")).collect();
        siege.place(&pair);
    }
    let records = siege.stop();
    assert_no_event_lost(&records);
    // That the places are looked at: a deploy of the attacker's is one, with what its configuration says.
    let own = |record: &&sensor_tests::Record| record.text("user.name") == siege.attacker.name;
    assert!(records.of("deploy-started").filter(own).count() > KINDS.len(), "the deploys of the attacker are not seen");
}

/// What was there before the sensor: it looks at all processes when it starts.
#[test]
fn files_of_running_processes_delay_no_start() {
    let mut held = Vec::new();
    let mut siege = Siege::after("hostile-start", "", |attacker, sshd, scripts| {
        for kind in ["fifo", "directory", "loop", "terminal", "socket"] {
            let line = format!("exec {}/mapped.sh {kind}", scripts.display());
            held.push(sshd.open_session(&attacker.name, &line));
        }
    });
    siege.assert_awake("a start beside hostile processes");
    siege.assert_no_terminal("a start beside hostile processes");
    drop(held);
    assert_no_event_lost(&siege.stop());
}

#[test]
fn what_the_user_may_not_open_is_not_opened() {
    let mut siege = Siege::new("hostile-opens", "");
    let mut wire = Tripwire::default();
    let device = siege.folder.join("watchdog");
    wire.device(&device);
    let secret = siege.folder.join("secret");
    wire.secret(&secret, "service: of-root\n");
    // Anybody may read it who can get there.
    let private = siege.victim.home.join("private.yml");
    fs::write(&private, "service: of-the-victim\n").unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o644)).unwrap();
    wire.watch(&private);
    let paths = [&device, &secret, &private].map(|path| path.display().to_string());
    for kind in ["link", "swapped"] {
        siege.place(&[(kind, &paths[0]), (kind, &paths[1]), (kind, &paths[2])]);
        wire.assert_untouched(kind);
    }
    let records = siege.stop();
    assert_no_event_lost(&records);
    let text: String = records.iter().map(|record| record.0.to_string()).collect();
    for name in ["of-root", "of-the-victim"] {
        assert!(!text.contains(name), "{name} is in the records");
    }
    // The wire reports what it should.
    fs::read(&secret).unwrap();
    assert_eq!(wire.opened(), [secret]);
}

#[test]
fn links_to_what_is_no_file_delay_no_record() {
    let mut siege = Siege::new("hostile-links", "");
    for targets in [
        ["/dev/zero", "/dev/random", "/dev/full", "/dev/ptmx"],
        ["/proc/self/mem", "/proc/self/root", "/proc/self/exe", "/proc/kmsg"],
    ] {
        siege.place(&targets.map(|target| ("link", target)));
    }
    siege.assert_no_terminal("links to devices");
    assert_no_event_lost(&siege.stop());
}

#[test]
fn a_file_system_that_does_not_answer_delays_no_other_user() {
    let mut siege = Siege::new("hostile-slow", "");
    let mut mounted = Vec::new();
    for silent in ["read", "open", "lookup", "reopen"] {
        let path = siege.home(silent);
        let slow = SlowFileSystem::mount(&siege.attacker, &path, silent);
        let file = slow.path.join("slow");
        if silent == "reopen" {
            // The kernel has opened it to execute it: that is all that it allows.
            assert_eq!(siege.attack(&format!("{} 2", file.display())).code(), 0);
        } else {
            siege.place(&[("link", &file.display().to_string())]);
        }
        siege.assert_awake(&format!("a file system that does not answer {silent}"));
        mounted.push(slow);
    }
    // It ends in time, though some of what it has started cannot.
    let records = siege.stop();
    assert_no_event_lost(&records);
    drop(mounted);
}
