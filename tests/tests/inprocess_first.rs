//! The first connection of a fresh process in a fresh environment, whose libraries have not been run before: it is
//! recorded whole, or it says that it is not.
//!
//! Each run has a new copy of the virtual environment, so every file in it is new to the sensor. Once with idle cores
//! and once with all of them busy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use sensor_tests::{
    Folder, Machine, Records, Sensor,
    clients::{App, Library},
    lab::Lab,
};

/// Runs of each kind; `SENSOR_FIRST_RUNS` for more.
const RUNS: usize = 10;

#[test]
fn the_first_connection_is_told_whole_or_says_that_it_is_not() {
    let runs = std::env::var("SENSOR_FIRST_RUNS").map_or(RUNS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-first");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[]);
    for (busy, library) in [
        (false, Library::ParamikoNewest),
        (false, Library::ParamikoOld),
        (true, Library::ParamikoNewest),
        (true, Library::ParamikoOld),
    ] {
        let mut sensor = Sensor::run(&folder, "");
        let burning = AtomicBool::new(busy);
        let pids: Vec<u32> = thread::scope(|scope| {
            let cores = thread::available_parallelism().unwrap().get();
            for _ in 0..cores {
                scope.spawn(|| {
                    while burning.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let pids = (0..runs).map(|run| first(&folder, &app, library, run)).collect();
            burning.store(false, Ordering::Relaxed);
            pids
        });
        sensor.until_sessions_end(lab.sshd.port, runs);
        let records = sensor.stop();
        records.assert_nothing_lost();
        let begun = records.iter().rposition(|record| record.is("sensor-started")).unwrap();
        let client = Records(records[begun..].to_vec()).of_clients(lab.sshd.port);
        let whole = pids.iter().filter(|pid| is_whole(&client, **pid)).count();
        // From the start of the process to its keys: so long there is for attaching.
        let mut times: Vec<Duration> = pids.iter().map(|pid| until_keys(&client, *pid)).collect();
        times.sort_unstable();
        println!(
            "{library:?}, {}: {whole} of {runs} whole; from start to keys {:?} at least, {:?} in the middle",
            if busy { "busy" } else { "idle" },
            times[0],
            times[runs / 2]
        );
        let missed = runs - whole;
        assert!(if busy { missed * 100 <= runs } else { missed == 0 }, "{missed} of {runs} missed");
    }
}

/// Runs a program in an environment of its own; its process id.
fn first(folder: &Folder, app: &App, library: Library, run: usize) -> u32 {
    let own = folder.join(format!("fresh-{run}"));
    fs::create_dir(&own).unwrap();
    let python = library.interpreter(&own);
    let done = app.run(&mut app.program(&python, true, &["--key", "ed25519", "--policy", "auto"], &["exec=exit 7"]));
    assert_eq!(done.one("exec")["status"], 7, "{done:?}");
    fs::remove_dir_all(&own).unwrap();
    done.pid
}

/// Is everything recorded that it did? If not, its records say so.
fn is_whole(client: &Records, pid: u32) -> bool {
    let connection = client.one("ssh-connection", |record| record.pid() == pid);
    let own = Records(client.iter().filter(|record| record.pid() == pid).cloned().collect());
    let success = own.of("ssh-authentication").filter(|record| record.text("event.outcome") == "success").count();
    let ended = own.of("ssh-command-ended").filter(|r| r.number("ssh.command.exit_status") == Some(7)).count();
    let whole = (success, ended) == (1, 1);
    let capture = if whole { "full" } else { "partial" };
    assert_eq!(
        connection.text("ssh.capture"),
        capture,
        "process {pid}: {success} logins and {ended} commands recorded"
    );
    whole
}

fn until_keys(client: &Records, pid: u32) -> Duration {
    let connection = client.one("ssh-connection", |record| record.pid() == pid);
    // HH:MM:SS.nnnnnnnnn; a test that runs over midnight has bad luck.
    let ns = |time: &str| {
        let clock = &time[11..29];
        let number = |range: std::ops::Range<usize>| clock[range].parse::<u64>().unwrap();
        (number(0..2) * 3600 + number(3..5) * 60 + number(6..8)) * 1_000_000_000 + number(9..18)
    };
    Duration::from_nanos(ns(connection.text("@timestamp")).saturating_sub(ns(connection.text("process.start"))))
}
