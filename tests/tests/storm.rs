//! More execs than a host should have: every one a record, or counted as lost, exactly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{collections::HashMap, process::Command};

use rustix::process::Signal;
use sensor_tests::{Audit, Folder, Machine, Record, Records, Sensor, running};

const COUNT: usize = 20_000;
const LONG: usize = 1_000;
const LONG_BYTES: usize = 30 << 10;

/// `storm COUNT THREADS LONG PROGRAM ARGUMENT...`
fn storm(count: usize, long: usize, program: &[&str]) {
    let (count, long) = (count.to_string(), long.to_string());
    running::succeed(Command::new(env!("CARGO_BIN_EXE_storm")).args([&count, "2", &long]).args(program));
}

/// Execs of /bin/true with this first argument, by their number.
fn by_number<'a>(records: &'a Records, mark: &str) -> HashMap<usize, Vec<&'a Record>> {
    let mut found: HashMap<usize, Vec<&Record>> = HashMap::new();
    for record in records.of("process-started") {
        if let ["/bin/true", first, number, ..] = record.list("process.args")[..]
            && first == mark
        {
            found.entry(number.parse().unwrap()).or_default().push(record);
        }
    }
    found
}

/// What the kernel's program for execs counted: seen, sent, lost, skipped.
fn exec_account(records: &Records) -> (u64, u64, u64, u64) {
    let stopped = records.one("sensor-stopped", |_| true);
    let (_, seen, sent, lost, skipped) = stopped.programs().into_iter().find(|row| row.0 == "exec").unwrap();
    (seen, sent, lost, skipped)
}

#[test]
fn of_twenty_thousand_execs_none_is_lost() {
    let _machine = Machine::take();
    let folder = Folder::new("storm");
    let mut sensor = Sensor::run(
        &folder,
        "[scope]\nall = true\n[limits]\nsession_records_per_second = 0\nsession_bytes_per_second = 0\n",
    );
    storm(COUNT, LONG, &["/bin/true", "storm"]);
    storm(500, 0, &[env!("CARGO_BIN_EXE_exec-from-thread"), "/bin/true", "thread"]);

    let records = sensor.stop();
    records.assert_nothing_lost();
    let execs = by_number(&records, "storm");
    assert_eq!(execs.len(), COUNT);
    for (number, recorded) in &execs {
        let [exec] = recorded[..] else { panic!("exec {number} is recorded {} times", recorded.len()) };
        assert_eq!(exec.get("sensor.truncated").is_some(), *number < LONG, "the command line of exec {number}");
        if *number < LONG {
            assert_eq!(exec.list("process.args")[3].len(), LONG_BYTES);
            assert_eq!(exec.list("sensor.truncated"), ["process.command_line"]);
        }
    }
    let threads = by_number(&records, "thread");
    assert_eq!(threads.len(), 500);
    assert!(threads.values().all(|recorded| recorded.len() == 1 && recorded[0].get("process.thread.id").is_some()));

    let (seen, sent, lost, skipped) = exec_account(&records);
    assert_eq!((lost, skipped), (0, 0));
    assert_eq!(seen, sent);
    assert_eq!(records.count("process-started") as u64, sent, "each exec sent is a record");
    let mut ends: HashMap<&str, usize> = HashMap::new();
    for record in records.of("process-ended") {
        *ends.entry(record.text("process.entity_id")).or_default() += 1;
    }
    let once = |exec: &&Record| ends.get(exec.text("process.entity_id")) == Some(&1);
    assert!(execs.values().chain(threads.values()).flatten().all(once), "each ends once");
}

#[test]
fn what_a_small_ring_loses_is_counted_exactly() {
    let _machine = Machine::take();
    let folder = Folder::new("small-ring");
    let audit = Audit::start();
    let mut sensor = Sensor::run(
        &folder,
        "[scope]\nall = true\n[kernel]\nring_bytes = 4096\n[limits]\nsession_records_per_second = 0\nsession_bytes_per_second = 0\n",
    );
    let before = audit.take().len();
    // Stopped, it cannot keep up; then it tries to.
    sensor.signal(Signal::STOP);
    storm(1_000, 0, &["/bin/true", "stopped"]);
    sensor.signal(Signal::CONT);
    storm(3_000, 0, &["/bin/true", "storm"]);
    let during = audit.take().len();
    let records = sensor.stop();
    let after = audit.take().len();

    let (seen, sent, lost, skipped) = exec_account(&records);
    assert!(lost > 990, "a ring of one page holds two execs");
    assert_eq!(skipped, 0);
    assert_eq!(seen, sent + lost);
    assert_eq!(records.count("process-started") as u64, sent, "each exec sent is a record");
    // By the audit log's count of everybody's execs, and by the test's own of its own. A mark of the log is an exec
    // that it does not show.
    assert!(during > 4_000);
    let (least, most) = (during as u64 + 1, (before + during + after) as u64 + 3);
    assert!((least..=most).contains(&seen), "{seen} execs seen, {least} to {most} there were");
    let recorded: Vec<_> = ["stopped", "storm"].into_iter().flat_map(|mark| by_number(&records, mark)).collect();
    assert!(recorded.iter().all(|(_, recorded)| recorded.len() == 1));
    assert!(recorded.len() as u64 + lost >= 4_000);
    // The records of losses say the same as the programs counted, per program.
    let stopped = records.one("sensor-stopped", |_| true);
    for (program, _, _, lost, _) in stopped.programs() {
        let kind = format!("{program}: ring full");
        let of_program: Vec<&Record> =
            records.of("sensor-events-lost").filter(|record| record.text("sensor.lost.kind") == kind).collect();
        let written: u64 = of_program.iter().filter_map(|record| record.number("sensor.lost.count")).sum();
        assert_eq!(written, lost, "{program}");
        for record in of_program {
            assert_eq!(record.text("sensor.lost.stage"), "kernel");
            assert!(record.text("event.start") < record.text("event.end"));
        }
    }
}
