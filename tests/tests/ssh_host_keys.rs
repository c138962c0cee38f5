//! Real ssh and the host keys that it knows, does not know, or must not believe: what the records say against what ssh
//! did.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    process::Command,
};

use sensor_tests::{
    Folder, Machine, Sensor,
    clients::App,
    lab::{self, Lab},
    running, wait,
};

/// `{K}`: the server's key. `{O}`: another one. `{P}`: the server's port. `{H}`: the home.
struct Case {
    what: &'static str,
    known_hosts: &'static str,
    options: &'static [&'static str],
    /// A file to write before.
    file: Option<(&'static str, &'static str)>,
    status: &'static str,
    checking: &'static str,
    /// Does ssh log in?
    goes_on: bool,
    named: Option<bool>,
}

const NO_FILE: Option<(&str, &str)> = None;

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { what: "known", known_hosts: "[127.0.0.1]:{P} {K}", options: &[], file: NO_FILE, status: "known", checking: "ask", goes_on: true, named: Some(true) },
    Case { what: "by a pattern", known_hosts: "[127.0.0.*]:{P},!x {K}", options: &["-oStrictHostKeyChecking=yes"], file: NO_FILE, status: "known", checking: "strict", goes_on: true, named: Some(true) },
    Case { what: "under another name", known_hosts: "elsewhere.test {K}\n# x\n# x\n\nx.test {O}\ny.test {O}\nz.test {O}", options: &["-oStrictHostKeyChecking=no"], file: NO_FILE, status: "known", checking: "off", goes_on: true, named: Some(false) },
    Case { what: "revoked", known_hosts: "[127.0.0.1]:{P} {K}\n@revoked * {K}", options: &[], file: NO_FILE, status: "revoked", checking: "ask", goes_on: false, named: None },
    Case { what: "changed", known_hosts: "[127.0.0.1]:{P} {O}", options: &[], file: NO_FILE, status: "changed", checking: "ask", goes_on: false, named: None },
    Case { what: "changed, and not checked", known_hosts: "[127.0.0.1]:{P} {O}", options: &["-oStrictHostKeyChecking=no"], file: NO_FILE, status: "changed", checking: "off", goes_on: true, named: None },
    Case { what: "unknown to a strict client", known_hosts: "", options: &["-o", "StrictHostKeyChecking=yes"], file: NO_FILE, status: "unknown", checking: "strict", goes_on: false, named: None },
    Case { what: "unknown, no terminal to ask at", known_hosts: "", options: &[], file: NO_FILE, status: "unknown", checking: "ask", goes_on: false, named: None },
    Case { what: "unknown and added", known_hosts: "", options: &["-o", "stricthostkeychecking accept-new"], file: NO_FILE, status: "unknown", checking: "accept-new", goes_on: true, named: None },
    Case { what: "unknown and ignored", known_hosts: "", options: &["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"], file: NO_FILE, status: "unknown", checking: "off", goes_on: true, named: None },
    Case { what: "in a file of its own", known_hosts: "", options: &["-oUserKnownHostsFile=~/mine ~/none"], file: Some(("mine", "[127.0.0.1]:{P} {K}\n")), status: "known", checking: "ask", goes_on: true, named: Some(true) },
    Case { what: "by an alias", known_hosts: "db {K}", options: &["-oHostKeyAlias=db"], file: NO_FILE, status: "known", checking: "ask", goes_on: true, named: Some(true) },
    Case { what: "by the configuration", known_hosts: "db {K}", options: &[], file: Some((".ssh/config", "Host 127.*\n  HostKeyAlias db\n  StrictHostKeyChecking yes\n")), status: "known", checking: "strict", goes_on: true, named: Some(true) },
    Case { what: "by another configuration", known_hosts: "", options: &["-F", "{H}/other"], file: Some(("other", "Host *\n  UserKnownHostsFile {H}/mine\n  StrictHostKeyChecking accept-new\n")), status: "known", checking: "accept-new", goes_on: true, named: Some(true) },
    Case { what: "by an included configuration", known_hosts: "db {O}", options: &[], file: Some((".ssh/config", "Include conf*d\nInclude nothing/*.conf\n")), status: "changed", checking: "ask", goes_on: false, named: None },
    Case { what: "under a condition that is not followed", known_hosts: "", options: &["-oStrictHostKeyChecking=no"], file: Some((".ssh/config", "Match exec true\n  UserKnownHostsFile {H}/mine\n")), status: "", checking: "off", goes_on: true, named: None },
];

#[test]
fn the_status_is_what_ssh_finds() {
    let _machine = Machine::take();
    let folder = Folder::new("host-keys");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[]);
    let mut sensor = Sensor::run(&folder, "");
    let public = |path| {
        let text = fs::read_to_string(path).unwrap();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    };
    let (own, other) = (public(lab.sshd.file("host_key.pub")), public(lab.key("ca").with_extension("pub")));
    let fill = |text: &str| {
        let text = text.replace("{K}", own.trim()).replace("{O}", other.trim());
        text.replace("{P}", &lab.sshd.port.to_string()).replace("{H}", &app.account.home.display().to_string())
    };
    app.give(".ssh/conf.d", "Host 127.0.0.1\n  HostKeyAlias db\n");
    let ssh = |case: &Case| {
        app.known_hosts(&fill(case.known_hosts));
        let _ = fs::remove_file(app.home(".ssh/config"));
        if let Some((name, text)) = case.file {
            app.give(name, fill(text));
        }
        let mut ssh = Command::new("ssh");
        ssh.uid(app.account.uid).gid(fs::metadata(&app.account.home).unwrap().gid()).current_dir("/");
        ssh.args(["-p", &lab.sshd.port.to_string(), "-oBatchMode=yes", "-oIdentitiesOnly=yes", "-i"]);
        ssh.arg(app.home("ed25519")).args(case.options.iter().map(|option| fill(option)));
        let ended = running::Running::start(
            ssh.arg(format!("{}@127.0.0.1", lab.one.name))
                .arg("exit 7")
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped()),
        );
        let pid = ended.pid();
        let ended = ended.output();
        assert_eq!(ended.code(), if case.goes_on { 7 } else { 255 }, "{}: {}", case.what, ended.stderr);
        // Read beside the stream: the files must stay until it is recorded.
        wait::until(case.what, || {
            let records = sensor.records();
            records.iter().find(|record| record.is("ssh-host-key") && record.pid() == pid).cloned()
        })
    };
    let fingerprint = lab::fingerprint(&lab.sshd.file("host_key.pub"));
    for case in CASES {
        let record = ssh(case);
        let recorded = |field: &str| record.text(&format!("ssh.host_key.{field}")).to_owned();
        assert_eq!(recorded("status"), case.status, "{}: {record:?}", case.what);
        assert_eq!(recorded("checking"), case.checking, "{}", case.what);
        assert_eq!(recorded("fingerprint"), fingerprint, "{}", case.what);
        assert_eq!(record.get("ssh.host_key.host_matched"), case.named.map(Into::into).as_ref(), "{}", case.what);
        let outcome = if case.goes_on { "success" } else { "failure" };
        assert_eq!(record.text("event.outcome"), outcome, "{}", case.what);
    }
    // Names that ssh-keygen has hashed.
    app.known_hosts(&fill("[127.0.0.1]:{P} {K}\n"));
    running::succeed(Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(app.home(".ssh/known_hosts")));
    let hashed = fs::read_to_string(app.home(".ssh/known_hosts")).unwrap();
    assert!(hashed.starts_with("|1|"), "{hashed}");
    let hashed: &'static str = hashed.leak();
    let case = Case { what: "hashed", known_hosts: hashed, ..CASES[0] };
    let record = ssh(&case);
    assert_eq!(record.text("ssh.host_key.status"), "known");
    assert_eq!(record.get("ssh.host_key.host_matched"), Some(&true.into()));
    sensor.stop().assert_nothing_lost();
    println!("{} ways to know a host", CASES.len() + 1);
}
