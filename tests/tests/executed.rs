//! `exec -a`: a name that a user gives a program hides nothing that it does, and lets no secret through.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sensor_tests::{Account, Folder, Machine, Record, Records, Sshd, Trace};

const SECRET: &str = "hunter2-nWq8";

/// What a session of an ordinary user ran; `{bin}` in the command is a folder of that user's programs.
fn session(name: &str, command: &str) -> (Folder, Records) {
    let _machine = Machine::take();
    let folder = Folder::new(name);
    let account = Account::create("sensor-test");
    let trace = Trace::start(&folder, &["--all"]);
    let sshd = Sshd::start(&folder);
    let bin = programs(&folder);
    let command = command.replace("{bin}", bin.to_str().unwrap());
    assert_eq!(sshd.session(&account.name, &command).code(), 0);
    trace.until_sessions_end(sshd.port, 1);
    let (records, _) = trace.stop();
    records.assert_nothing_lost();
    (folder, records.of_server(sshd.port))
}

/// Programs under the names of others, and a script.
fn programs(folder: &Path) -> PathBuf {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::copy("/bin/true", bin.join("mysql")).unwrap();
    fs::copy("/usr/bin/python3", bin.join("snmpget")).unwrap();
    let script = bin.join("kamal");
    fs::write(&script, "#!/usr/bin/python3\nimport time\ntime.sleep(0.2)\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

fn exec<'a>(records: &'a Records, args: &[&str], name: &str, title: Option<&str>) -> &'a Record {
    let record = records.exec(args);
    assert!(record.text("process.name").starts_with(name), "{}", record.0);
    assert!(record.text("process.executable").ends_with(record.text("process.name")), "{}", record.0);
    assert_eq!(record.get("process.title").and_then(|title| title.as_str()), title, "{}", record.0);
    let end = records.end_of(record);
    assert_eq!(end.text("process.title"), record.text("process.title"), "its end says the same");
    record
}

#[test]
fn code_stays_whatever_its_interpreter_is_called() {
    let command = "bash -c 'exec -a snmpget python3 -c \"print(1); SECRETWORD_IS_CODE\"'; \
                   {bin}/snmpget -c 'print(2); SECRETWORD_IS_CODE'; \
                   python3 -c 'TOKEN=1;SECRETWORD_IS_CODE'; exit 0";
    let (folder, records) = session("title-code", command);
    let code = "print(1); SECRETWORD_IS_CODE";
    let record = exec(&records, &["snmpget", "-c", code], "python3", Some("snmpget"));
    assert_eq!(record.get("sensor.redacted"), None);
    let copy = folder.join("bin/snmpget").display().to_string();
    exec(&records, &[&copy, "-c", "print(2); SECRETWORD_IS_CODE"], "snmpget", None);
    exec(&records, &["python3", "-c", "TOKEN=1;SECRETWORD_IS_CODE"], "python3", Some("python3"));
}

#[test]
fn a_secret_goes_whatever_its_program_is_called() {
    let command = format!(
        "bash -c 'exec -a notmysql {{bin}}/mysql -p{SECRET}'; bash -c 'exec -a \"\" {{bin}}/mysql -p {SECRET}'; exit 0"
    );
    let (folder, records) = session("title-secret", &command);
    let record = exec(&records, &["notmysql", "-p[REDACTED]"], "mysql", Some("notmysql"));
    assert_eq!(record.list("sensor.redacted"), ["process.args"]);
    exec(&records, &["", "-p", "[REDACTED]"], "mysql", Some(""));
    let bytes = fs::read(folder.join("trace.json")).unwrap();
    let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    assert!(!found, "the secret is in a record");
}

#[test]
fn a_name_is_no_deploy_and_a_script_is_one_under_any_name() {
    let command = "bash -c 'exec -a kamal sleep 0.2 deploy'; bash -c 'exec -a kamal sleep 0.2'; \
                   bash -c 'exec -a x {bin}/kamal deploy'; exit 0";
    let (folder, records) = session("title-deploy", command);
    let script = folder.join("bin/kamal").display().to_string();
    // The kernel puts the interpreter where `exec -a` had its name.
    let expected = ["/usr/bin/python3", &script, "deploy"];
    let started: Vec<_> = records.of("deploy-started").map(|record| record.list("process.args")).collect();
    assert_eq!(started, [expected]);
    exec(&records, &["kamal", "0.2"], "sleep", Some("kamal"));
}
