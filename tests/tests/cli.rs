//! The command line: exit codes, messages, filters.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::HashSet,
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sensor_tests::{Account, Folder, Machine, Record, Records, Running, Sshd, Trace, running, sensor};

/// The program itself, for a user who cannot enter the folder where it was built.
fn copy_for_all(folder: &Folder) -> String {
    let path = folder.open_to_all("program").join("sensor");
    fs::copy(sensor::binary(), &path).unwrap();
    path.display().to_string()
}

#[test]
fn without_root_it_says_in_one_sentence_what_to_do() {
    let _machine = Machine::take();
    let folder = Folder::new("nobody");
    let program = copy_for_all(&folder);
    let config = folder.write("sensor.toml", "").display().to_string();
    for verb in [&["trace"][..], &["run", "--config", &config], &["check"]] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", &program]).args(verb);
        let ended = running::finish(&mut command);
        assert_eq!(ended.code(), 77, "{verb:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{verb:?}: {ended:?}");
        assert!(ended.stderr.contains("root") && ended.stderr.contains("sudo"), "{verb:?}: {ended:?}");
    }
}

#[test]
fn a_wrong_key_in_the_configuration_is_refused_with_its_line() {
    let folder = Folder::new("wrong-key");
    let path = folder.write("sensor.toml", "[output]\npath = \"-\"\nformt = \"json\"\n");
    let ended = running::finish(sensor::command(&["run", "--config"]).arg(&path));
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(ended.stderr.contains("line 3") && ended.stderr.contains("formt"), "{ended:?}");
    assert!(ended.stderr.contains(&path.display().to_string()), "{ended:?}");
}

#[test]
fn check_tells_that_this_machine_will_do() {
    let _machine = Machine::take();
    let ended = running::succeed(&mut sensor::command(&["check", "--format", "json"]));
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["usable"], true, "{report}");
    let checks = report["checks"].as_array().unwrap();
    for name in ["root", "btf", "probe exec", "probe fork", "probe exit", "probe tcp-state"] {
        let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check of {name}"));
        assert_eq!(check["state"], "ok", "{check}");
    }
    let table = running::succeed(&mut sensor::command(&["check"])).text();
    assert!(table.contains("sensor can run here"), "{table}");
}

#[test]
fn a_trace_stops_by_itself_and_accounts_for_every_event() {
    let _machine = Machine::take();
    let folder = Folder::new("duration");
    let start = Instant::now();
    let trace = Trace::start(&folder, &["--all", "--duration", "2s"]);
    running::succeed(Command::new("/bin/true").arg("meanwhile"));
    let (records, summary) = trace.end();
    assert!(start.elapsed() >= Duration::from_secs(2));
    records.exec(&["/bin/true", "meanwhile"]);
    assert_eq!(records.count("sensor-stopped"), 1);
    assert!(summary.contains(" 0 lost, 0 skipped by the kernel, 0 undecodable"), "{summary}");
}

#[test]
fn a_trace_of_a_process_tells_what_it_starts_and_nothing_else() {
    let _machine = Machine::take();
    let folder = Folder::new("pid");
    let pipe = folder.pipe("go");
    let script = format!("read line <{}; sh -c '/bin/true below; /bin/true deeper'; /bin/true next", pipe.display());
    let mut shell = Running::start(Command::new("bash").args(["-c", &script]).stdin(Stdio::null()));
    let trace = Trace::start(&folder, &["--all", "--pid", &shell.pid().to_string()]);
    running::succeed(Command::new("/bin/true").arg("elsewhere"));
    fs::write(&pipe, "go\n").unwrap();
    assert!(shell.wait().success());
    trace.until("the end of the shell", |record| record.is("process-ended") && record.pid() == shell.pid());
    let (records, _) = trace.stop();
    for argument in ["below", "deeper", "next"] {
        records.exec(&["/bin/true", argument]);
    }
    assert!(!records.iter().any(|record| record.args_contain("elsewhere")));
    assert_eq!(records.count("process-started"), 4, "and the shell in between");
}

/// Replays a recording with these arguments.
fn replay(recording: &str, args: &[&str]) -> Records {
    let ended = running::succeed(sensor::command(&["replay", "--format", "json", recording]).args(args));
    let records = Records::parse(&ended.stdout);
    records.assert_contract();
    records
}

/// Records of these sessions: the machine can have others, and what the sensor says of itself is always shown.
fn acts<'a>(records: &'a Records, sessions: &HashSet<String>) -> Vec<&'a Record> {
    records.iter().filter(|record| sessions.contains(record.session())).collect()
}

#[test]
fn filters_show_what_fits_and_all_of_it() {
    let _machine = Machine::take();
    let folder = Folder::new("filters");
    let account = Account::create("sensor-test");
    let recording = folder.join("recording").display().to_string();
    let trace = Trace::start(&folder, &["--record", &recording]);
    let sshd = Sshd::start(&folder);
    assert_eq!(sshd.session("sensor-test", "/bin/true one; sh -c '/bin/true two; /bin/true three'; exit 0").code(), 0);
    assert_eq!(sshd.session("root", "/bin/true four; exit 0").code(), 0);
    running::succeed(sshd.program("ssh").args(["sensor-test@test6", "/bin/true five; exit 0"]));
    trace.until_sessions_end(sshd.port, 3);
    let (records, summary) = trace.stop();
    assert!(summary.contains(" 0 lost"), "{summary}");

    let own: HashSet<String> = records
        .of_server(sshd.port)
        .iter()
        .map(|record| record.session().to_owned())
        .filter(|session| !session.is_empty())
        .collect();
    assert_eq!(own.len(), 3);
    let everything = replay(&recording, &[]);
    assert_eq!(everything.len(), records.len(), "a replay shows what the trace showed");
    // Each filter against the same choice made here.
    let compare = |args: &[&str], fits: &dyn Fn(&Record) -> bool| {
        let shown = replay(&recording, args);
        let brief = |record: &Record| record.brief().split_once(' ').unwrap().1.to_owned();
        let shown: Vec<String> = acts(&shown, &own).into_iter().map(brief).collect();
        let expected: Vec<String> =
            acts(&everything, &own).into_iter().filter(|record| fits(record)).map(brief).collect();
        assert!(
            !expected.is_empty() && expected.len() < acts(&everything, &own).len(),
            "{args:?} chooses nothing, or all"
        );
        assert_eq!(shown, expected, "{args:?}");
    };
    let is_user = |record: &Record, value: &str, field: &str| {
        ["user", "user.audit", "destination.user"].iter().any(|user| record.text(&format!("{user}.{field}")) == value)
    };
    let uid = account.uid.to_string();
    compare(&["--user", "sensor-test"], &|record| is_user(record, "sensor-test", "name"));
    compare(&["--user", &uid], &|record| is_user(record, &uid, "id"));
    let session = everything.exec(&["/bin/true", "four"]).session();
    compare(&["--session", &session[..8]], &|record| record.session() == session);
    let six = everything.exec(&["/bin/true", "five"]).session();
    compare(&["--address", "::1"], &|record| record.session() == six);
    compare(&["--action", "exec"], &|record| record.is("process-started"));
    compare(&["--action", "logout", "--action", "ssh-session-started"], &|record| {
        record.is("ssh-session-ended") || record.is("ssh-session-started")
    });
    compare(&["--action", "exec", "--session", session], &|r| r.is("process-started") && r.session() == session);
    let shell = everything.one("process-started", |r| r.text("process.name") == "dash" && r.args_contain("two"));
    // A session's own records frame what a process does in it.
    let below = |record: &Record| {
        record.text("event.dataset") == "sensor.ssh"
            || record.pid() == shell.pid()
            || record.number("process.parent.pid") == Some(shell.pid().into())
    };
    compare(&["--pid", &shell.pid().to_string()], &below);
}

#[test]
fn an_action_that_there_is_not_is_refused_with_those_that_there_are() {
    let ended = running::finish(&mut sensor::command(&["trace", "--action", "execute"]));
    assert_eq!(ended.code(), 2, "{ended:?}");
    assert!(ended.stderr.contains("ssh-session-ended"), "{ended:?}");
}

#[test]
fn a_file_that_is_no_recording_is_refused() {
    let folder = Folder::new("no-recording");
    let path = folder.write("file", "something else entirely\n");
    let ended = running::finish(sensor::command(&["replay"]).arg(&path));
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(ended.stderr.contains("not a recording"), "{ended:?}");
}
