//! The daemon's own life: killed, restarted, rotated, reconfigured, stopped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, fs};

use rustix::process::Signal;
use sensor_tests::{Records, Sensor, Stage};

/// Whole lines, sequences from 1 without gaps under one boot id.
fn assert_one_run(records: &Records) {
    let runs: BTreeSet<&str> = records.iter().map(|r| r.text("sensor.boot_id")).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    for (n, record) in (1..).zip(records.iter()) {
        assert_eq!(record.number("event.sequence"), Some(n));
    }
}

#[test]
fn killed_in_the_middle_of_sessions_it_adopts_them_when_it_is_back() {
    let mut stage = Stage::new("killed", "");
    let (go, out) = (stage.folder.pipe("go"), stage.folder.open_to_all("out"));
    let file = out.join("file");
    let job = format!("read line <{}; touch {}; exit 7", go.display(), file.display());
    let mut open = stage.open_session(&format!("echo ready; sh -c '{job}'"));
    let orphan = stage.folder.pipe("orphan");
    let left = format!("read line <{}; /bin/true left-behind", orphan.display());
    assert_eq!(stage.session(&format!("nohup setsid sh -c '{left}' >/dev/null 2>&1 </dev/null &")).code(), 0);
    stage.until_sessions_end(1);

    let before = stage.sensor.kill();
    assert_one_run(&before);
    assert_eq!(before.count("sensor-stopped"), 0);
    let id = before
        .one("process-started", |r| r.args_contain("touch") && r.text("process.name") == "bash")
        .session()
        .to_owned();
    let orphans = before
        .one("process-started", |r| r.args_contain("left-behind") && r.text("process.name") == "bash")
        .session()
        .to_owned();
    assert!(fs::read(stage.sensor.path()).unwrap().ends_with(b"\n"), "half a line in the log");

    let mut again = Sensor::run(&stage.folder.private("again"), "");
    again.until("the adopted session", |r| r.is("ssh-session-started") && r.session() == id);
    fs::write(&go, "go\n").unwrap();
    assert_eq!(open.wait().code(), Some(7));
    again.until_sessions_end(stage.sshd.port, 1);
    fs::write(&orphan, "go\n").unwrap();
    again.until("the orphan's last act", |r| r.args_contain("left-behind") && r.text("process.name") == "true");
    let after = again.stop();
    assert_one_run(&after);
    assert_ne!(before[0].text("sensor.boot_id"), after[0].text("sensor.boot_id"));

    let session = after.session(&id);
    let start = session.one("ssh-session-started", |_| true);
    assert_eq!(start.get("ssh.session.adopted").and_then(serde_json::Value::as_bool), Some(true));
    assert_eq!(start.text("user.name"), "sensor-test");
    session.exec(&["touch", &file.display().to_string()]);
    session.one("process-ended", |r| r.number("process.exit_code") == Some(7) && r.text("process.name") == "dash");
    session.one("ssh-session-ended", |_| true);
    // Its session was over before the restart; its environment shows which connection it came from.
    let orphan = after.one("process-started", |r| r.args_contain("left-behind"));
    assert!(!orphan.session().is_empty(), "{orphan:?}");
    assert_ne!(orphan.session(), id);
    assert!(!orphans.is_empty());
}

#[test]
fn a_rotated_file_is_left_and_a_new_one_begun() {
    let stage = Stage::new("rotated", "");
    assert_eq!(stage.session("/bin/true before").code(), 0);
    stage.until_sessions_end(1);
    let rotated = stage.folder.join("rotated.json");
    fs::rename(stage.sensor.path(), &rotated).unwrap();
    stage.sensor.signal(Signal::HUP);
    stage.until("the reload", |r| r.is("sensor-config-reloaded"));
    assert_eq!(stage.session("/bin/true after").code(), 0);
    stage.until_sessions_end(1);

    let old = Records::parse(&fs::read(&rotated).unwrap());
    stage.sensor.signal(Signal::TERM);
    stage.until("the last record", |r| r.is("sensor-stopped"));
    let new = Records::parse(&fs::read(stage.sensor.path()).unwrap());
    old.exec(&["/bin/true", "before"]);
    new.exec(&["/bin/true", "after"]);
    assert_one_run(&Records(old.iter().chain(new.iter()).cloned().collect()));
    new.one("sensor-stopped", |_| true);
}
