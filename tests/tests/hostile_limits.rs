//! What a user can make the sensor write, where, and with what in it: floods, strange characters, held channels, and
//! files that the user has put in its way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
    process::Stdio,
};

use ::sensor::event::hidden::is_hidden;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use sensor_tests::{Account, Ended, Folder, Machine, Record, Records, Running, Stage, Trace, running, sensor, wait};

const NO_RATES: &str = "session_records_per_second = 0\nsession_bytes_per_second = 0\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// `sensor run` with this output: it must refuse at once.
fn refused(folder: &Folder, output: &Path) -> String {
    let config = folder.write("sensor.toml", format!("[output]\npath = \"{}\"\n", output.display()));
    let ended: Ended = running::finish(sensor::command(&["run", "--config"]).arg(config));
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "one sentence: {ended:?}");
    ended.stderr
}

#[test]
fn an_output_that_another_user_could_have_put_there_is_refused() {
    let _machine = Machine::take();
    let folder = Folder::new("outputs");
    let account = Account::create("sensor-test");
    let target = folder.write("target", "precious\n");
    let open = folder.open_to_all("open");
    assert!(refused(&folder, &open.join("log")).contains("mode 0777"));
    assert!(refused(&folder, &account.home.join("log")).contains(&format!("belongs to user {}", account.uid)));
    assert!(refused(&folder, "/tmp/sensor-tests.json".as_ref()).contains("mode 1777"));
    let link = folder.join("link");
    symlink(&target, &link).unwrap();
    assert!(refused(&folder, &link).contains("symbolic link"));
    let pipe = folder.pipe("pipe");
    assert!(refused(&folder, &pipe).contains("no regular file"));
    assert!(refused(&folder, "/dev/null".as_ref()).contains("no regular file"));
    let own = folder.write("own", "");
    chown(&own, Some(account.uid), None).unwrap();
    assert!(refused(&folder, &own).contains("belongs to user"));
    fs::set_permissions(&target, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(refused(&folder, &target).contains("mode 0666"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious\n");
}

#[test]
fn a_recording_is_a_new_file_and_only_an_own_one_is_replaced() {
    let _machine = Machine::take();
    let folder = Folder::new("recordings");
    let target = folder.write("target", "precious\n");
    let (link, pipe) = (folder.join("link"), folder.pipe("pipe"));
    symlink(&target, &link).unwrap();
    let record = |path: &Path, more: &[&str]| {
        let mut command = sensor::command(&["trace", "--format=json", "--duration=1s", "--record"]);
        running::finish(command.arg(path).args(more))
    };
    for path in [&target, &link, &pipe] {
        let ended = record(path, &[]);
        assert!(ended.code() == 1 && ended.stderr.contains("--force"), "{ended:?}");
        let ended = record(path, &["--force"]);
        assert!(ended.code() == 1 && ended.stderr.contains("0600"), "{ended:?}");
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious\n");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(record(&target, &["--force"]).code(), 0);
    assert!(fs::read(&target).unwrap().starts_with(b"sensor stream 1\n"));
    assert_eq!(mode(&target), 0o600);
}

#[test]
fn a_state_folder_is_made_private_or_not_used() {
    for (owner, used) in [(0, true), (12_345, false)] {
        let machine = Machine::take();
        let folder = Folder::new("state");
        let state = folder.open_to_all("own");
        chown(&state, Some(owner), None).unwrap();
        let mut sensor = sensor_tests::Sensor::run(&folder, &format!("[deploy]\nstate = \"{}\"\n", state.display()));
        let records = sensor.stop();
        let said =
            records.of("sensor-degraded").any(|record| record.text("sensor.degraded.why").contains("belongs to"));
        assert_eq!((mode(&state) == 0o700, said), (used, !used));
        assert_eq!(state.join("config-files.key").exists(), used);
        drop(machine);
    }
}

fn suppressed(records: &Records) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    let all = records.of("sensor-suppressed").filter_map(|record| record.get("sensor.suppressed.actions")?.as_array());
    for count in all.flatten() {
        *sums.entry(count["action"].as_str().unwrap().to_owned()).or_default() += count["count"].as_u64().unwrap();
    }
    sums
}

fn limits_said(records: &Records) -> Vec<String> {
    let why = records.of("sensor-degraded").map(|record| record.text("sensor.degraded.why").to_owned());
    why.filter(|why| why.starts_with("the limit ")).collect()
}

#[test]
fn a_flood_of_one_session_is_counted_and_costs_no_other_session_a_record() {
    let mut stage =
        Stage::new("flood", "[limits]\nsession_records_per_second = 20\nsession_bytes_per_second = 262144\n");
    let flood = "printf -v x '%30000s' ''; x=${x// /x}; for i in {1..500}; do /bin/true flood $i \"$x\"; done; /bin/ls /; exit 0";
    let flooding = Running::start(stage.ssh(&[]).arg(flood).stdin(Stdio::null()).stdout(Stdio::null()));
    let quiet = "for i in {1..20}; do /bin/true quiet $i; done; exit 0";
    assert_eq!(stage.session(quiet).code(), 0);
    let mut flooding = flooding;
    assert!(flooding.wait().success());
    stage.until_sessions_end(2);
    let bytes = fs::metadata(stage.sensor.path()).unwrap().len();
    let records = stage.records();

    // The burst of four seconds, what came in the meantime, and the rest of both sessions.
    assert!(bytes < (4 + 20) * 262_144, "{bytes} bytes");
    let is_quiet = |record: &&Record| record.list("process.args").starts_with(&["/bin/true", "quiet"]);
    assert_eq!(records.of("process-started").filter(is_quiet).count(), 20);
    let flood_session = records.one("ssh-command-started", |record| record.text("ssh.command.line").contains("flood"));
    let of_flood = records.session(flood_session.session());
    let counts = suppressed(&records);
    let (started, ended) = (of_flood.count("process-started"), of_flood.count("process-ended"));
    assert!(counts["process-started"] > 200, "{counts:?}");
    for (written, action) in [(started, "process-started"), (ended, "process-ended")] {
        let all = written as u64 + counts[action];
        assert!((502..520).contains(&all), "{all} of {action}");
    }
    let held: Vec<&Record> = records.of("sensor-suppressed").collect();
    assert!(held.iter().all(|record| record.session() == flood_session.session()));
    assert!(held.iter().all(|record| record.text("user.id") == stage.account.uid.to_string()));
    assert!(
        held.iter().any(|record| record.list("sensor.suppressed.executables").contains(&"/usr/bin/ls")),
        "{held:#?}"
    );
    // What says who came is never suppressed.
    for action in ["ssh-session-started", "ssh-command-started", "ssh-command-ended", "ssh-session-ended"] {
        assert_eq!(of_flood.count(action), 1, "{action}");
    }
    let said = limits_said(&records);
    assert!((1..=2).contains(&said.len()), "each limit once: {said:?}");
    let stopped = records.one("sensor-stopped", |_| true);
    assert_eq!(stopped.number("sensor.records.suppressed"), Some(counts.values().sum()));
}

#[test]
fn a_log_that_is_full_takes_logins_only_until_it_is_rotated() {
    let stage = Stage::new("full-log", &format!("max_bytes = 262144\n[limits]\n{NO_RATES}"));
    assert_eq!(stage.session("for i in {1..2000}; do /bin/true full $i; done; exit 0").code(), 0);
    stage.until_sessions_end(1);
    let size = fs::metadata(stage.sensor.path()).unwrap().len();
    assert!(size < 262_144 + 65_536, "{size} bytes");
    assert_eq!(stage.session("/bin/true after; exit 0").code(), 0);
    stage.until_sessions_end(2);
    let rotated = stage.sensor.path().with_extension("1");
    fs::rename(stage.sensor.path(), &rotated).unwrap();
    stage.sensor.signal(Signal::HUP);
    wait::until("the new file", || stage.sensor.path().exists().then_some(()));
    assert_eq!(stage.session("/bin/true rotated; exit 0").code(), 0);
    stage.until_sessions_end(1);
    stage.sensor.signal(Signal::TERM);
    let new = || Records::parse(&fs::read(stage.sensor.path()).unwrap());
    wait::until("the end", || (new().count("sensor-stopped") == 1).then_some(()));
    let (old, new) = (Records::parse(&fs::read(&rotated).unwrap()), new());
    let after = |record: &&Record| record.list("process.args") == ["/bin/true", "after"];
    assert_eq!(old.of("process-started").filter(after).count(), 0);
    let asked = |record: &&Record| record.text("ssh.command.line").contains("after");
    assert_eq!(old.of("ssh-command-started").filter(asked).count(), 2, "on both ends");
    new.exec(&["/bin/true", "rotated"]);
    let said = limits_said(&old);
    assert_eq!((said.len(), limits_said(&new).len()), (1, 0));
    assert!(said[0].contains("output.max_bytes = 262144"), "{said:?}");
    let all = Records(old.iter().chain(new.iter()).cloned().collect());
    all.assert_contract();
    assert_eq!(
        new.one("sensor-stopped", |_| true).number("sensor.records.suppressed"),
        Some(suppressed(&all).values().sum())
    );
}

#[test]
fn no_character_that_a_viewer_obeys_is_in_a_record_or_a_table() {
    const HOSTILE: &str =
        "\u{7f}\u{9b}31m\u{85}\u{2028}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}\u{fe0f}\u{ffff}\u{1b}[2J";
    let _machine = Machine::take();
    let folder = Folder::new("hidden");
    let account = Account::create("sensor-test");
    let recording = folder.join("recording");
    let trace = Trace::start(&folder, &["--record", recording.to_str().unwrap()]);
    let sshd = sensor_tests::Sshd::start(&folder);
    let name = format!("/tmp/{HOSTILE}");
    let command = format!("cp /bin/true '{name}'; '{name}' 'a{HOSTILE}b'; rm '{name}'; exit 0");
    assert_eq!(sshd.session(&account.name, &command).code(), 0);
    trace.until_sessions_end(sshd.port, 1);
    let (records, _) = trace.stop();
    let raw = fs::read_to_string(folder.join("trace.json")).unwrap();
    assert_eq!(raw.chars().find(|c| is_hidden(*c) && *c != '\n'), None);
    // And nothing of it is lost.
    let arg = format!("a{HOSTILE}b");
    let exec = records.one("process-started", |record| record.list("process.args") == [name.as_str(), arg.as_str()]);
    assert_eq!(exec.text("process.executable"), name);
    assert!(records.of("ssh-command-started").any(|record| record.text("ssh.command.line").contains(HOSTILE)));
    let shown = running::succeed(sensor::command(&["replay", "--format=table"]).arg(&recording)).text();
    assert!(shown.contains("\\u{9b}31m"), "{shown}");
    assert_eq!(shown.chars().find(|c| is_hidden(*c) && *c != '\n'), None);
}

#[test]
fn a_command_beside_a_thousand_held_channels_is_recorded() {
    const CHANNELS: usize = 1_100;
    let limit = Rlimit { current: Some(8_192), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut stage = Stage::new("held-channels", "");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let control = stage.folder.join("control");
    let path = format!("ControlPath={}", control.display());
    let forward = format!("{port}:{}", target.local_addr().unwrap());
    let options = ["-o", "ControlMaster=yes", "-o", &path, "-N", "-L", &forward];
    let mut master = Running::start(stage.ssh(&options).stdin(Stdio::null()));
    wait::until("the connection", || control.exists().then_some(()));
    let mut held = Vec::new();
    for _ in 0..CHANNELS {
        let here = TcpStream::connect(("127.0.0.1", port)).unwrap();
        held.push((here, target.accept().unwrap().0));
    }
    assert_eq!(running::finish(stage.ssh(&["-o", &path]).arg("/bin/true beside; exit 7")).code(), 7);
    for (here, there) in &mut held {
        there.shutdown(std::net::Shutdown::Both).unwrap();
        let _ = here.read(&mut [0]);
    }
    drop(held);
    running::succeed(stage.ssh(&["-o", &path, "-O", "exit"]).stdin(Stdio::null()));
    master.wait();
    stage.until_sessions_end(1);
    let records = stage.sensor.stop();
    for role in ["server", "client"] {
        let command = records.one("ssh-command-ended", |record| {
            record.text("ssh.command.line").contains("beside") && record.text("ssh.role") == role
        });
        assert_eq!(command.number("ssh.command.exit_status"), Some(7), "{role}");
    }
    let exec = records.exec(&["/bin/true", "beside"]);
    assert!(exec.get("ssh.command.id").is_some());
    let said = |record: &&Record| record.text("sensor.degraded.what") == "channels of an SSH connection";
    assert_eq!(records.of("sensor-degraded").filter(said).count(), 1);
    let refused = records.of("sensor-events-lost").filter(|r| r.text("sensor.lost.kind") == "ssh-channel-refused");
    let count: u64 = refused.filter_map(|record| record.number("sensor.lost.count")).sum();
    assert_eq!(count, 2 * (CHANNELS as u64 - 1024), "on both ends");
}
