//! Command lines that are long, strange or secret: what a record says of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs, path::Path};

use sensor_tests::{Account, Folder, Machine, Record, Sshd, Stage, Trace};

/// The kernel side copies this much of an argv; the true size is recorded.
const ARGS_MAX: usize = 32 << 10;

/// The exec of /bin/true with this first argument, by a session that ran `command`.
fn exec_of(name: &str, mark: &str, command: &str) -> Record {
    let mut stage = Stage::new(name, "");
    assert_eq!(stage.session(command).code(), 0);
    stage.until_sessions_end(1);
    let records = stage.records();
    records.one("process-started", |r| r.list("process.args").starts_with(&["/bin/true", mark])).clone()
}

#[test]
fn thirty_kilobytes_of_arguments_are_told_whole() {
    let exec = exec_of("args-30k", "long", "printf -v x '%30720s' ''; /bin/true long \"${x// /x}\"; exit 0");
    let args = exec.list("process.args");
    assert_eq!(args.len(), 3);
    assert_eq!(args[2], "x".repeat(30 << 10));
    assert_eq!(exec.get("sensor.original_size"), None);
    assert_eq!(exec.list("sensor.truncated"), ["process.command_line"]);
    assert_eq!(exec.text("process.command_line").len(), 4096);
}

#[test]
fn two_hundred_kilobytes_of_arguments_are_cut_and_their_true_size_is_told() {
    let command = "for i in {10..29}; do printf -v x \"$i%10238s\" ''; a+=(\"${x// /-}\"); done; /bin/true big \"${a[@]}\"; exit 0";
    let exec = exec_of("args-200k", "big", command);
    let mut argv = b"/bin/true\0big\0".to_vec();
    for number in 10..30 {
        argv.extend(format!("{number}{}\0", "-".repeat(10_238)).into_bytes());
    }
    assert_eq!(exec.number("sensor.original_size"), Some(argv.len() as u64));
    assert_eq!(exec.number("process.args_count"), Some(22));
    assert_eq!(exec.list("sensor.truncated"), ["process.args", "process.command_line"]);
    // What is recorded is the beginning, not a selection.
    let recorded = exec.list("process.args").join("\0");
    assert_eq!(recorded.len(), ARGS_MAX);
    assert!(argv.starts_with(recorded.as_bytes()));
}

#[test]
fn arguments_that_are_not_text_can_be_had_back() {
    // Bytes that are no UTF-8; a backslash and an escape that somebody wrote themselves, beside them.
    let exec = exec_of("args-bytes", "bytes", "/bin/true bytes $'a\\377b' 'c\\d' '\\x41' 'grün'; exit 0");
    assert_eq!(exec.list("process.args"), ["/bin/true", "bytes", "a\\xffb", "c\\\\d", "\\\\x41", "grün"]);
    assert_eq!(exec.list("sensor.escaped"), ["process.args", "process.command_line"]);
    assert_eq!(exec.text("process.command_line"), "/bin/true bytes a\\xffb c\\\\d \\\\x41 grün");
}

#[test]
fn arguments_that_are_text_are_told_as_they_are() {
    let exec = exec_of("args-text", "text", "/bin/true text 'c\\d' '' $'two\\nlines' 'grün'; exit 0");
    assert_eq!(exec.list("process.args"), ["/bin/true", "text", "c\\d", "", "two\nlines", "grün"]);
    assert_eq!(exec.get("sensor.escaped"), None);
}

/// Programs that take secrets; here they do nothing.
fn programs(folder: &Path) -> String {
    let path = folder.join("bin");
    fs::create_dir(&path).unwrap();
    for name in ["mysql", "curl", "docker", "git"] {
        fs::copy("/bin/true", path.join(name)).unwrap();
    }
    path.display().to_string()
}

#[test]
fn a_secret_in_a_command_line_is_in_no_record_and_in_no_recording() {
    const SECRET: &str = "hunter2-mWq8";
    let _machine = Machine::take();
    let folder = Folder::new("secret");
    let account = Account::create("sensor-test");
    let recording = folder.join("recording");
    let trace = Trace::start(&folder, &["--all", "--record", recording.to_str().unwrap()]);
    let sshd = Sshd::start(&folder);
    let bin = programs(&folder);
    let command = format!(
        "PATH={bin}:$PATH; mysql -u root -p{SECRET} db; curl -u admin:{SECRET} http://localhost/; \
         env API_TOKEN={SECRET} /bin/true with-a-token; sh -c 'docker login -p \"{SECRET}\" registry'; \
         git clone https://me:{SECRET}@example.org/x.git; curl -H 'Authorization: Bearer {SECRET}' http://localhost/; exit 0"
    );
    assert_eq!(sshd.session(&account.name, &command).code(), 0);
    trace.until_sessions_end(sshd.port, 1);
    let (records, _) = trace.stop();

    for (program, shown) in [("mysql", 1), ("curl", 2), ("docker", 1), ("git", 1)] {
        let redacted = |r: &&Record| r.args_contain("[REDACTED]") && r.list("sensor.redacted") == ["process.args"];
        let recorded = records.of("process-started").filter(|r| r.text("process.name") == program);
        assert_eq!(recorded.filter(redacted).count(), shown, "{program}");
    }
    records.exec(&["mysql", "-u", "root", "-p[REDACTED]", "db"]);
    records.exec(&["env", "API_TOKEN=[REDACTED]", "/bin/true", "with-a-token"]);
    records.exec(&["sh", "-c", "docker login -p \"[REDACTED]\" registry"]);
    for (what, file) in [("a record", folder.join("trace.json")), ("the recording", recording)] {
        let bytes = fs::read(&file).unwrap();
        assert!(bytes.len() > 1000, "{what}: nothing was written");
        let at = bytes.windows(SECRET.len()).position(|window| window == SECRET.as_bytes());
        let around = at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..at + 20]).into_owned());
        assert_eq!(around, None, "the secret is in {what}");
    }
}
