//! The command line as its users meet it: exit codes, sentences that say what to do, filters, a container's view.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
};

use sensor_tests::{Account, Folder, Machine, Sshd, running, sensor, sensor::Trace};

#[test]
fn without_root_it_says_so_and_exits_with_77() {
    // A copy that nobody may execute from a folder that nobody may enter would be another error.
    let folder = Folder::new("not-root");
    let copy = folder.open_to_all("bin").join("sensor");
    fs::copy(sensor::binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&*folder, fs::Permissions::from_mode(0o755)).unwrap();
    for args in [&["trace"][..], &["check"]] {
        let ended = running::finish(Command::new(&copy).args(args).uid(65534).gid(65534));
        assert_eq!(ended.code(), 77, "{ended:?}");
        let said = &ended.stderr;
        assert_eq!(said.trim(), "sensor: sensor needs root (CAP_BPF and CAP_PERFMON): run it with sudo");
    }
}

#[test]
fn a_wrong_key_in_the_configuration_is_named_with_its_line() {
    let folder = Folder::new("wrong-key");
    let config = folder.write("sensor.toml", "[output]\npath = \"-\"\ncolour = true\n");
    let ended = running::finish(sensor::command(&["run", "--config"]).arg(config));
    assert_eq!(ended.code(), 1);
    let said = &ended.stderr;
    assert!(said.contains("line 3") && said.contains("colour"), "{said}");
}

#[test]
fn check_says_what_is_there() {
    let _machine = Machine::take();
    let ended = running::finish(&mut sensor::command(&["check", "--format", "json"]));
    assert_eq!(ended.code(), 0, "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.text()).unwrap();
    assert_eq!(report["usable"], true);
    let states: Vec<&str> = report["checks"].as_array().unwrap().iter().map(|c| c["state"].as_str().unwrap()).collect();
    assert!(states.len() >= 9 && states.iter().all(|state| *state == "ok"), "{report}");
}

#[test]
fn a_trace_stops_by_itself_and_accounts_for_every_event() {
    let _machine = Machine::take();
    let folder = Folder::new("duration");
    let trace = Trace::start(&folder, &["--all", "--duration", "2s"]);
    running::succeed(&mut Command::new("/bin/true"));
    let (records, summary) = trace.end();
    records.one("process-started", |r| r.text("process.name") == "true");
    assert!(summary.contains(" 0 lost, 0 skipped by the kernel, 0 undecodable"), "{summary}");
}

#[test]
fn filters_show_what_was_asked_for() {
    let _machine = Machine::take();
    let folder = Folder::new("filters");
    let account = Account::create("sensor-test");
    let sshd = Sshd::start(&folder);
    let file = folder.join("stream");
    let trace = Trace::start(&folder, &["--record", &file.display().to_string()]);
    assert_eq!(sshd.session(&account.name, "/bin/true as-user").code(), 0);
    assert_eq!(sshd.session("root", "/bin/true as-root").code(), 0);
    trace.until("root's end", |r| r.is("ssh-session-ended") && r.text("user.name") == "root");
    let (records, _) = trace.stop();

    let show = |args: &[&str]| {
        let ended = running::succeed(sensor::command(&["replay", "--format", "json"]).arg(&file).args(args));
        sensor_tests::Records::parse(ended.stdout.as_slice())
    };
    let theirs = |r: &sensor_tests::Record| r.args_contain("as-user");
    let roots = |r: &sensor_tests::Record| r.args_contain("as-root");
    let user = show(&["--user", "sensor-test"]);
    assert!(user.iter().any(theirs) && !user.iter().any(roots));
    let id = records.exec(&["/bin/true", "as-root"]).session().to_owned();
    let session = show(&["--session", &id[..8]]);
    assert!(session.iter().any(roots) && !session.iter().any(theirs));
    let logins = show(&["--action", "login"]);
    assert_eq!((logins.len(), logins.count("ssh-session-started")), (2, 2));
    assert!(show(&["--address", "127.0.0.1"]).iter().any(theirs));
    assert!(!show(&["--address", "192.0.2.1"]).iter().any(theirs));
    // The stream is the same whatever is shown of it: a replay of all gives what the trace gave.
    let actions = |records: &sensor_tests::Records| records.iter().map(|r| r.action().to_owned()).collect::<Vec<_>>();
    assert_eq!(actions(&show(&[])), actions(&records));
}

#[test]
fn a_process_is_followed_with_all_that_it_starts() {
    let _machine = Machine::take();
    let folder = Folder::new("pid");
    let go = folder.pipe("go");
    let script = format!("read line <{}; (setsid sh -c '/bin/true below' &) ; exit 0", go.display());
    let mut shell = running::Running::start(Command::new("sh").args(["-c", &script]));
    let trace = Trace::start(&folder, &["--pid", &shell.pid().to_string()]);
    running::succeed(Command::new("/bin/true").arg("elsewhere"));
    fs::write(&go, "go\n").unwrap();
    shell.wait();
    trace.until("what the process started", |r| {
        r.args_contain("below") && r.is("process-ended") || r.args_contain("below")
    });
    let (records, _) = trace.stop();
    assert!(!records.iter().any(|r| r.args_contain("elsewhere")));
}

#[test]
fn in_a_containers_namespaces_it_sees_the_host() {
    let _machine = Machine::take();
    let folder = Folder::new("namespaces");
    let account = Account::create("sensor-test");
    let sshd = Sshd::start(&folder);
    let aside = folder.open_to_all("host-proc");
    // The host's /proc mounted aside, then new pid and mount namespaces with a /proc of their own.
    let inner = format!(
        "mount --rbind /proc {0} && exec unshare --pid --fork --kill-child sh -c 'mount -t proc proc /proc && exec {1} trace --format json --proc {0}'",
        aside.display(),
        sensor::binary().display()
    );
    let trace = Trace::start_as(&folder, Command::new("unshare").args(["--mount", "sh", "-c", &inner]));
    let ended = sshd.session(&account.name, "echo $$; exec /bin/true seen-from-inside");
    let pid: u32 = ended.text().trim().parse().unwrap();
    trace.until("the session's end", |r| r.is("ssh-session-ended"));
    let records = trace.records();
    let seen = records.exec(&["/bin/true", "seen-from-inside"]);
    assert_eq!(seen.pid(), pid, "the host's pid");
    assert_eq!(seen.text("user.name"), "sensor-test");
    records.one("ssh-session-started", |r| r.text("destination.user.name") == "sensor-test");
}
