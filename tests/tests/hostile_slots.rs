//! Copies of ssh, which every user can make: each is read in full, together they take no other program's place, and the
//! sensor ends in time with all of them probed.
//!
//! The kernel takes about 0.1 s to release a probed place and holds a lock of the whole host for it: 510 files once
//! made SIGTERM take 87 s, and no other sensor could attach meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::process::Signal;
use sensor_tests::{
    Records, Sensor, Sshd,
    hostile::{STARTING, STOPPING, Siege, family, soon, time_to_stop},
    wait,
};

/// As many as a sensor once had room for, less a few. `SENSOR_SLOTS` for more.
const COPIES: usize = 510;
/// So many in one attack, whose time is bounded.
const PART: usize = 255;

/// Connections of clients whose executable lies in a home of the attacker's: all, and those that were read in full.
fn clients(siege: &Siege, records: &Records) -> (usize, usize) {
    let own = records.of_clients(siege.sshd.port);
    let home = siege.attacker.home.display().to_string();
    let copies = |record: &&sensor_tests::Record| record.text("process.executable").starts_with(&home);
    let all: Vec<&sensor_tests::Record> = own.of("ssh-connection").filter(copies).collect();
    let whole = all.iter().filter(|record| {
        let ended = own
            .of("ssh-command-ended")
            .any(|end| end.pid() == record.pid() && end.number("ssh.command.exit_status") == Some(5));
        record.text("ssh.capture") == "full" && ended
    });
    (all.len(), whole.count())
}

#[test]
fn a_copy_of_ssh_that_its_user_cannot_read_is_read_in_full() {
    let mut siege = Siege::new("hostile-unreadable", "");
    let key = siege.key();
    for mode in ["111", "4111", "555"] {
        let ended = siege.attack(&format!("copies.sh 3 {mode} {} {}", siege.sshd.port, key.display()));
        assert_eq!(ended.code(), 0, "{ended:?}");
    }
    // Another file cannot be put in the place of one that was looked at: it is probed by its descriptor.
    let by_name: Vec<String> = family::probed_paths(siege.sensor.pid())
        .into_iter()
        .filter(|path| !path.starts_with("/proc/self/fd/"))
        .collect();
    assert!(by_name.is_empty(), "files that were probed by their names: {by_name:?}");
    siege.sensor.until_sessions_end(siege.sshd.port, 12);
    let records = siege.stop();
    records.assert_nothing_lost();
    assert_eq!(
        clients(&siege, &records),
        (9, 9),
        "copies with modes 0111, 04111 and 0555: connections, and those read in full"
    );
}

/// A copy of sshd in a place of the host's own.
struct OtherSshd(PathBuf);

impl OtherSshd {
    fn new() -> Self {
        let path = PathBuf::from("/usr/local/sbin/sensor-tests-other");
        fs::copy("/usr/sbin/sshd", &path).unwrap();
        Self(path)
    }

    fn start(&self, folder: &Path) -> Sshd {
        // What it is called with goes to the copy.
        let line = format!("shift; exec {} \"$@\"", self.0.display());
        fs::create_dir(folder).unwrap();
        Sshd::start_by(&["bash".into(), "-c".into(), line, "sshd".into()], folder, "", "")
    }
}

impl Drop for OtherSshd {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A login through it is read in full.
fn assert_full(siege: &Siege, sensor: &Sensor, sshd: &Sshd, what: &str) {
    let start = Instant::now();
    assert_eq!(sshd.session(&siege.victim.name, "exit 9").code(), 9);
    assert!(start.elapsed() < STOPPING, "{what}: a login takes {:?}", start.elapsed());
    let captured = soon(|| {
        let server = sensor.records().of_server(sshd.port);
        server.of("ssh-session-ended").next()?;
        let ended = server.of("ssh-command-ended").any(|record| record.number("ssh.command.exit_status") == Some(9));
        Some((server.of("ssh-connection").next()?.text("ssh.capture").to_owned(), ended))
    });
    assert_eq!(captured, Some(("full".to_owned(), true)), "{what}");
}

#[test]
fn copies_of_ssh_take_no_other_programs_place_and_delay_no_stop() {
    let copies = std::env::var("SENSOR_SLOTS").map_or(COPIES, |count| count.parse().unwrap());
    let mut siege = Siege::new("hostile-slots", "");
    let key = siege.key();
    let before = Instant::now();
    // It accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for begun in (0..copies).step_by(PART) {
        let home = siege.home(&format!("crowd-{begun}"));
        let ended = siege.attack(&format!("crowd.sh {} {port} {}", PART.min(copies - begun), home.display()));
        assert_eq!(ended.code(), 0, "{ended:?}");
    }
    println!("{copies} copies in {:?}", before.elapsed());
    siege.assert_awake("copies of ssh");
    // A program of the host's own that is new has room.
    let other = OtherSshd::new();
    let sshd = other.start(&siege.folder.join("other"));
    assert_full(&siege, &siege.sensor, &sshd, "a new sshd after the copies");
    // The limit that was reached is reported, once.
    let limit = |record: &&sensor_tests::Record| {
        let text = record.get("sensor.degraded").map(ToString::to_string).unwrap_or_default();
        record.is("sensor-degraded") && ["limit", "budget", "at most"].iter().any(|word| text.contains(word))
    };
    let records = siege.sensor.records();
    let reported: Vec<String> =
        records.iter().filter(limit).map(|record| record.get("sensor.degraded").unwrap().to_string()).collect();
    println!("{reported:#?}");
    // One more of the attacker's: it is read, or it was said that it is not.
    let ended = siege.attack(&format!("copies.sh 3 755 {} {}", siege.sshd.port, key.display()));
    assert_eq!(ended.code(), 0, "{ended:?}");
    // More than one sensor on a host is the normal case of debugging.
    let start = Instant::now();
    let second = Sensor::run_by(&["setsid"], &siege.folder.private("second"), "", STARTING);
    println!("a second sensor started in {:?}", start.elapsed());
    assert_full(&siege, &second, &siege.sshd, "a second sensor beside the first");
    let took = time_to_stop(&siege.sensor);
    println!("the first ended in {took:?}");
    assert!(took < STOPPING, "SIGTERM took {took:?}");
    let records = siege.sensor.stop();
    records.assert_nothing_lost();
    let (all, whole) = clients(&siege, &records);
    println!("{whole} of {all} more copies were read in full");
    assert_eq!(all, 3, "connections of copies");
    assert!(
        whole == 3 || reported.len() == 1,
        "{whole} of 3 copies read in full, and {} records say why",
        reported.len()
    );
    // Killed, it leaves its probes to the kernel; the next sensor is not delayed.
    let pid = second.pid();
    second.signal(Signal::KILL);
    assert!(
        wait::within(STOPPING, || (!family::is_alive(pid)).then_some(())).is_some(),
        "SIGKILL takes more than {STOPPING:?}"
    );
    let start = Instant::now();
    let mut third = Sensor::run_by(&["setsid"], &siege.folder.private("third"), "", STARTING);
    println!("a third sensor started in {:?}", start.elapsed());
    assert_full_again(&siege, &third);
    assert!(time_to_stop(&third) < STOPPING);
    third.stop().assert_nothing_lost();
}

fn assert_full_again(siege: &Siege, sensor: &Sensor) {
    let sshd = Sshd::start(&siege.folder.open_to_all("again"));
    assert_full(siege, sensor, &sshd, "a sensor after one that was killed");
}
