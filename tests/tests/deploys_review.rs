//! `sensor deploys`: lists and trees of deploys from logs of both sides.
//!
//! The logs are made by hand (`deploy_log`): they keep the contract of records, and no sensor wrote them.
//! `golden/deploys/NAME.txt` is what is shown of each; `SENSOR_GOLDEN=write cargo test -p sensor-tests --test
//! deploys_review` writes it anew: read the difference before you commit it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command as Program, Stdio},
};

use sensor_tests::{
    Ended, Folder, Records, Running,
    deploy_log::{Command, Deployer, Log, Target},
    running, sensor, wait,
};
use serde_json::{Value, json};

const VERSION: &str = "5f95e7b4c03123bf41a0321f1ba709d42d112fd8";
const BEFORE: &str = "aaaaaaa4c03123bf41a0321f1ba709d42d112fd8";

fn command(ms: i64, took: i64, line: &'static str, status: u8, runs: &'static [&'static str]) -> Command {
    Command { ms, took, line, status, runs }
}

/// What Kamal runs on a target, shortened; `healthy`: does the new container become healthy?
fn commands(healthy: bool) -> Vec<Command> {
    let login = r#"docker login registry.example.test -u "ciuser" -p "[REDACTED]""#;
    let pull = "docker pull registry.example.test/acme/myapp:5f95e7b4c03123bf41a0321f1ba709d42d112fd8";
    let lock =
        r#"/usr/bin/env mkdir .kamal/lock-myapp-production && echo "TG9ja2Vk" > .kamal/lock-myapp-production/details"#;
    let proxy = "docker exec kamal-proxy kamal-proxy deploy myapp-web-production --target=\"0123456789ab:80\" --health-check-path=\"/up\"";
    let mut commands = vec![
        command(2000, 300, login, 0, &["docker login registry.example.test -u ciuser -p [REDACTED]"]),
        command(2400, 4000, pull, 0, &[]),
        command(6500, 20, lock, 0, &["mkdir .kamal/lock-myapp-production"]),
        command(
            6600,
            90,
            "scp -t .kamal/apps/myapp-production/env/roles/web.env",
            0,
            &["scp -t .kamal/apps/myapp-production/env/roles/web.env"],
        ),
        command(
            6800,
            900,
            "docker run --detach --name myapp-web-production-5f95e7b registry.example.test/acme/myapp:5f95e7b",
            0,
            &["docker run --detach --name myapp-web-production-5f95e7b registry.example.test/acme/myapp:5f95e7b"],
        ),
        command(
            7800,
            if healthy { 1200 } else { 30_100 },
            proxy,
            u8::from(!healthy),
            &[
                "docker exec kamal-proxy kamal-proxy deploy myapp-web-production --target=0123456789ab:80 --health-check-path=/up",
            ],
        ),
    ];
    if !healthy {
        let logs = "docker container ls --all --filter name=^myapp-web-production-5f95e7b$ --quiet | xargs docker logs --timestamps 2>&1";
        commands.push(command(
            38_000,
            200,
            logs,
            0,
            &[
                "docker container ls --all --filter name=^myapp-web-production-5f95e7b$ --quiet",
                "xargs docker logs --timestamps",
            ],
        ));
    }
    let release = "/usr/bin/env rm .kamal/lock-myapp-production/details && rm -r .kamal/lock-myapp-production";
    commands.push(command(39_000, 30, release, 0, &[]));
    commands
}

fn of_target(performer: &str) -> Value {
    json!({ "id": format!("t-{performer}"), "tool": "kamal", "action": "deploy", "service": "myapp", "destination": "production", "version": VERSION, "performer": performer,
        "claimed": ["deploy.performer"] })
}

/// A deploy to two hosts, of which the second does not become healthy, and a third that cannot be reached.
fn failed() -> Vec<Log> {
    let mut targets = [("web1", "10.0.0.11", 1), ("web2", "10.0.0.12", 2)]
        .map(|(host, ip, number)| Target::new(host, ip, number, of_target("dev@example.test")));
    let connections: Vec<&str> = targets.iter().map(|target| target.connection.as_str()).collect();
    let deploy = json!({
        "tool": "kamal", "tool_version": "2.12.0", "action": "deploy", "verb": "deploy", "service": "myapp", "destination": "production",
        "version": VERSION, "previous_version": BEFORE, "hosts": ["10.0.0.11", "10.0.0.12", "10.0.0.13"], "roles": ["web"],
        "performer": "dev@example.test", "connections": connections,
        "config": { "files": ["config/deploy.yml", "config/deploy.production.yml", ".kamal/secrets.production"] },
    });
    let mut deployer = Deployer::start("dev1", "3f9a12c8d4e5", &deploy);
    deployer.log.record(
        20,
        "deploy-config-changed",
        "success",
        json!({
            "deploy": { "id": "3f9a12c8d4e5", "config": { "previous_sha256": "9c".repeat(32) } },
            "file": { "path": "/srv/myapp/config/deploy.yml", "hash": { "sha256": "1f".repeat(32) } },
        }),
    );
    deployer.local(100, 15, 4101, 4100, "git rev-parse HEAD", Some("local"));
    deployer.local(200, 300, 4102, 4100, ".kamal/hooks/pre-connect", Some("hook"));
    deployer.local(250, 200, 4103, 4102, "curl -sf https://chat.example.test/hook", None);
    deployer.local(600, 900, 4104, 4100, "docker buildx build --platform linux/amd64 --secret id=BUILD_TOKEN .", None);
    for (target, healthy) in targets.iter_mut().zip([true, false]) {
        for (number, command) in (1..).zip(commands(healthy)) {
            deployer.remote(target, number, &command);
            target.run(number, &command);
        }
    }
    deployer.log.record(
        1800,
        "connection-failed",
        "failure",
        json!({
            "deploy": { "id": "3f9a12c8d4e5" }, "process": { "pid": 4100, "entity_id": "e4100" },
            "destination": { "ip": "10.0.0.13", "port": 22 }, "error": { "code": "EHOSTUNREACH" },
        }),
    );
    deployer.finish(
        39_100,
        "failure",
        json!({
            "deploy": { "reason": "health-check-failed", "steps": 19, "evidence": "commands", "contacted": ["10.0.0.11", "10.0.0.12"],
                "claimed": ["deploy.hosts", "deploy.performer", "deploy.tool_version"] },
            "process": { "exit_code": 1 },
            "error": { "message": "target failed to become healthy within configured timeout (30s)" },
        }),
    );
    std::iter::once(deployer.log).chain(targets.map(|target| target.log)).collect()
}

/// Only targets have a sensor: two hosts, one deploy by its performer, version and time; and another's deploy at the
/// same time.
fn targets_only() -> Vec<Log> {
    let mut targets =
        [("web1", 21, "ci@example.test"), ("web2", 22, "ci@example.test"), ("web3", 23, "other@example.test")]
            .map(|(host, number, performer)| Target::new(host, "10.0.0.9", number, of_target(performer)));
    for target in &mut targets {
        for (number, command) in (1..).zip(commands(true)) {
            target.run(number, &command);
        }
    }
    targets.map(|target| target.log).into()
}

/// Names and command lines that want to write to the terminal.
fn hostile() -> Vec<Log> {
    let evil = "x\u{1b}]0;owned\u{7}\n\u{1b}[2Jfake line\u{202e}";
    let deploy = json!({
        "tool": "kamal", "action": "deploy", "service": format!("my{evil}app"), "version": evil, "hosts": [evil], "performer": evil,
        "config": { "files": [evil] }, "secrets": [evil], "claimed": [evil, "deploy.performer"], "contacted": [evil], "evidence": evil,
    });
    let mut deployer = Deployer::start("dev1", "d1", &deploy);
    deployer.local(100, 10, 4101, 4100, evil, Some("hook"));
    deployer.finish(
        200,
        "failure",
        json!({ "deploy": { "reason": evil }, "error": { "message": evil }, "process": { "exit_code": 1 } }),
    );
    vec![deployer.log]
}

/// Writes the logs and checks that they keep the contract.
fn write(folder: &Folder, logs: &[Log]) -> Vec<PathBuf> {
    let file = |(n, log): (usize, &Log)| {
        Records::parse(&log.bytes()).assert_contract();
        folder.write(&format!("log{n}.json"), log.bytes())
    };
    logs.iter().enumerate().map(file).collect()
}

fn deploys(args: &[&str], files: &[PathBuf]) -> Ended {
    running::finish(sensor::command(&["deploys"]).args(args).args(files).env("TZ", "UTC"))
}

/// Compares what is shown with what is in the file, line by line.
fn golden(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/deploys").join(name);
    if std::env::var_os("SENSOR_GOLDEN").is_some_and(|value| value == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, shown).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (n, (shown, expected)) in shown.lines().zip(expected.lines()).enumerate() {
        assert_eq!(shown, expected, "{} line {}", path.display(), n + 1);
    }
    assert_eq!(shown.lines().count(), expected.lines().count(), "{}", path.display());
}

#[test]
fn a_failed_deploy_is_drawn_from_the_logs_of_both_sides() {
    let folder = Folder::new("deploys-failed");
    let files = write(&folder, &failed());
    let shown = deploys(&["show", "last"], &files);
    assert_eq!(shown.code(), 0, "{shown:?}");
    golden("failed.txt", &shown.text());
    assert_eq!(deploys(&["show", "3f9a"], &files).text(), shown.text(), "by the beginning of its id");
    assert_eq!(deploys(&["show", "t-dev"], &files).text(), shown.text(), "by a target's id of it");
    let reversed: Vec<PathBuf> = files.iter().rev().cloned().collect();
    assert_eq!(deploys(&["show", "last"], &reversed).text(), shown.text(), "the order of files means nothing");
    golden("failed-deployer-only.txt", &deploys(&["show", "last"], &files[..1]).text());
}

#[test]
fn deploys_that_only_targets_saw_are_put_together() {
    let folder = Folder::new("deploys-targets");
    let files = write(&folder, &targets_only());
    golden("targets-only-list.txt", &deploys(&[], &files).text());
    let shown = deploys(&["show", "t-ci"], &files);
    golden("targets-only.txt", &shown.text());
}

#[test]
fn the_json_tells_the_same() {
    let folder = Folder::new("deploys-json");
    let files = write(&folder, &failed());
    let shown = deploys(&["show", "last", "--format", "json"], &files);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    golden("failed.json", &format!("{shown:#}\n"));
    let listed = deploys(&["--format", "json"], &files);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["format"], 1);
    assert_eq!(listed["deploys"].as_array().unwrap().len(), 1);
    assert_eq!(listed["deploys"][0]["seen_from"], json!(["deployer", "target"]));
    assert_eq!(listed["deploys"][0]["session"]["ip"], "203.0.113.7");
    assert_eq!(listed["read"]["broken_lines"], 0);
}

#[test]
fn filters_choose_and_exit_codes_tell() {
    let folder = Folder::new("deploys-filters");
    let files = write(&folder, &[failed(), targets_only()].concat_logs());
    let count = |args: &[&str]| {
        let ended = deploys(args, &files);
        (ended.code(), ended.text().lines().count().saturating_sub(1))
    };
    assert_eq!(count(&[]), (0, 3));
    assert_eq!(count(&["--failed"]), (0, 1));
    assert_eq!(count(&["--failed", "--check"]), (1, 1));
    assert_eq!(count(&["--user", "alice"]), (0, 1));
    assert_eq!(count(&["--user", "1001"]), (0, 1));
    assert_eq!(count(&["--user", "other@example.test", "--check"]), (0, 1));
    assert_eq!(count(&["--service", "myapp", "--destination", "production", "--tool", "kamal"]), (0, 3));
    assert_eq!(count(&["--service", "elsewhere"]), (1, 0));
    assert_eq!(count(&["--since", "2026-11-21T21:18:44Z"]), (0, 3));
    assert_eq!(count(&["--since", "2126-01-01"]), (1, 0));
    assert_eq!(deploys(&["show", "nothing"], &files).code(), 1);
    let ambiguous = deploys(&["show", "t-"], &files);
    assert_eq!((ambiguous.code(), ambiguous.stdout.len()), (2, 0), "{ambiguous:?}");
    assert!(ambiguous.stderr.contains("t-ci@example.test"), "{ambiguous:?}");
    assert_eq!(deploys(&["--since", "yesterday"], &files).code(), 2);
    let missing = deploys(&[], &[folder.join("missing")]);
    assert_eq!(missing.code(), 1);
    assert!(missing.stderr.contains("cannot read") && missing.stderr.lines().count() == 1, "{missing:?}");
}

#[test]
fn a_log_that_is_being_written_is_read_and_broken_lines_are_counted() {
    let folder = Folder::new("deploys-torn");
    let logs = failed();
    let mut bytes = logs[0].bytes();
    let whole = deploys(&[], &[folder.write("whole.json", &bytes)]);
    bytes.extend_from_slice(b"{\"@timestamp\":\"2026-11-21T21:19:30.0000");
    let torn = deploys(&[], &[folder.write("torn.json", &bytes)]);
    assert_eq!((torn.text(), torn.stderr.as_str()), (whole.text(), ""), "a torn last line is no fault");
    let mut damaged = b"\0\0\0\0\n{\"event\":{\"action\":\"deploy-started\"}}\n{\"half\n".to_vec();
    damaged.extend(logs[0].bytes());
    let damaged = deploys(&[], &[folder.write("damaged.json", &damaged)]);
    assert_eq!(damaged.text(), whole.text());
    assert!(damaged.stderr.contains("3 of "), "{damaged:?}");
}

#[test]
fn rotated_gzipped_and_piped_logs_are_read() {
    let folder = Folder::new("deploys-rotated");
    let logs = failed();
    let files = write(&folder, &logs);
    let shown = deploys(&["show", "last"], &files).text();
    // The daemon's own log, rotated in the middle of the deploy.
    let text = logs[0].text();
    let (first, second) = text.split_at(text.match_indices('\n').nth(20).unwrap().0 + 1);
    let output = folder.write("sensor.json", second);
    folder.write("sensor.json.1", first);
    let config = folder.write("sensor.toml", format!("[output]\npath = \"{}\"\n", output.display()));
    let config = config.display().to_string();
    let own = deploys(&["show", "last", "--config", &config], &[]);
    assert_eq!(own.text(), deploys(&["show", "last"], &files[..1]).text(), "{own:?}");
    running::succeed(Program::new("gzip").arg(folder.join("sensor.json.1")));
    assert_eq!(deploys(&["show", "last", "--config", &config], &[]).text(), own.text());
    // Cut inside compressed data: what came before is used, and it is said.
    let zipped = fs::read(folder.join("sensor.json.1.gz")).unwrap();
    let cut = deploys(&[], &[folder.write("cut.gz", &zipped[..zipped.len() / 2])]);
    assert!(cut.stderr.contains("not read to its end"), "{cut:?}");
    // All of them through a pipe.
    let mut piped = sensor::command(&["deploys", "show", "last", "-"]);
    let mut piped =
        Running::start(piped.env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdin = piped.child().stdin.take().unwrap();
    for log in &logs {
        stdin.write_all(&log.bytes()).unwrap();
    }
    drop(stdin);
    assert_eq!(piped.output().text(), shown);
}

#[test]
fn nothing_in_a_log_reaches_the_terminal_as_control() {
    let folder = Folder::new("deploys-hostile");
    let files = write(&folder, &hostile());
    for args in [&["show", "last"][..], &[]] {
        let shown = deploys(args, &files).text();
        let bad = shown.chars().find(|c| *c != '\n' && (c.is_control() || *c == '\u{202e}'));
        assert_eq!(bad, None, "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with("fake")), "{shown}");
    }
}

/// On a terminal of this many columns.
fn on_terminal(columns: u16, no_color: bool, files: &[PathBuf]) -> String {
    let program = sensor::binary().display().to_string();
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let line = format!(
        "stty cols {columns}; {program} deploys show last {}; {program} deploys {}",
        names.join(" "),
        names.join(" ")
    );
    let mut script = Program::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("TZ", "UTC").env("SHELL", "/bin/sh").env_remove("NO_COLOR");
    if no_color {
        script.env("NO_COLOR", "1");
    }
    running::succeed(&mut script).text().replace('\r', "")
}

#[test]
fn a_terminal_gets_colours_and_no_line_that_is_too_long() {
    let folder = Folder::new("deploys-terminal");
    let files = write(&folder, &failed());
    let plain = on_terminal(120, true, &files);
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    let long: Vec<&str> = plain.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(long.is_empty(), "{long:#?}");
    let failing = plain.split("FAILED HERE").nth(1).unwrap();
    let failing: String = failing.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    assert!(
        failing.contains("--target=\"0123456789ab:80\" --health-check-path=\"/up\""),
        "it is shown whole: {failing}"
    );
    let coloured = on_terminal(120, false, &files);
    assert!(coloured.lines().any(|line| line.contains("\u{1b}[1;31m") && line.contains("FAILED HERE")), "{coloured:?}");
    let bare: String = strip(&coloured);
    assert_eq!(bare, plain, "colours change nothing else");
}

/// Without SGR sequences.
fn strip(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn a_deploy_that_goes_on_is_shown_as_such() {
    let folder = Folder::new("deploys-running");
    let text = failed()[0].text();
    let lines: Vec<&str> = text.lines().collect();
    let half = [folder.write("half.json", lines[..lines.len() / 2].join("\n"))];
    let shown = deploys(&[], &half).text();
    assert!(shown.contains("running"), "{shown}");
    let mut file = fs::OpenOptions::new().append(true).open(&half[0]).unwrap();
    file.write_all(format!("\n{}\n", lines[lines.len() / 2..].join("\n")).as_bytes()).unwrap();
    wait::until("the end", || deploys(&[], &half).text().contains("failed: health-check-failed").then_some(()));
}

/// Logs of several scenarios.
trait Concat {
    fn concat_logs(self) -> Vec<Log>;
}

impl<const N: usize> Concat for [Vec<Log>; N] {
    fn concat_logs(self) -> Vec<Log> {
        self.into_iter().flatten().collect()
    }
}
