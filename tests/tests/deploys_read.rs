//! Deploys by Net::SSH and SSHKit, read back: `sensor deploys` from the daemon's own log, while it runs, compared with
//! what was really sent; and their configuration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::Command;

use sensor_tests::{
    Ended, Folder, Machine, Record, Sensor,
    project::{HOSTS, Hosts, Log},
    running, sensor, wait,
};
use serde_json::Value;

fn deploys(args: &[&str], log: &std::path::Path) -> Ended {
    running::finish(sensor::command(&["deploys"]).args(args).arg(log).env("TZ", "UTC"))
}

fn json(args: &[&str], log: &std::path::Path) -> Value {
    serde_json::from_slice(&deploys(&[args, &["--format", "json"]].concat(), log).stdout).unwrap()
}

/// Commands with their status, by host, as the tree has them.
fn commands(shown: &Value, host: &str) -> Vec<(String, u64)> {
    let nodes = shown["tree"].as_array().unwrap();
    let node =
        nodes.iter().find(|node| node["kind"] == "host" && node["host"] == host).unwrap_or_else(|| panic!("no {host}"));
    let command = |node: &Value| (node["line"].as_str().unwrap().to_owned(), node["exit_status"].as_u64().unwrap());
    node["children"].as_array().unwrap().iter().filter(|node| node["kind"] == "remote").map(command).collect()
}

fn assert_all_sent(shown: &Value, log: &Log) {
    for host in log.hosts() {
        assert_eq!(commands(shown, host), log.sent(host), "{host}");
    }
}

#[test]
fn a_real_deploy_is_listed_and_drawn_as_it_was() {
    let _machine = Machine::take();
    let folder = Folder::new("deploys-read");
    let hosts = Hosts::start(&folder);
    let project = hosts.project("myapp", None);
    let mut sensor = Sensor::run(&folder, "");
    let (ended, first) = project.kamal(&["deploy", "-d", "production"]);
    assert_eq!(ended.code(), 0, "{ended:?}");
    hosts.order("run --detach");
    let (ended, second) = project.kamal(&["deploy", "-d", "production"]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    wait::until("two deploys", || (sensor.records().count("deploy-finished") == 2).then_some(()));

    // From the running daemon's log.
    let log = sensor.path().to_owned();
    let listed = json(&["--tool", "kamal"], &log);
    let outcomes: Vec<&str> =
        listed["deploys"].as_array().unwrap().iter().map(|d| d["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["success", "failure"]);
    let ids: Vec<&str> = listed["deploys"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect();
    for (id, sent) in ids.iter().zip([&first, &second]) {
        assert_eq!(sent.hosts(), HOSTS);
        assert_all_sent(&json(&["show", id], &log), sent);
    }
    let table = deploys(&["show", "last"], &log).text();
    let failing: Vec<&str> = table.lines().filter(|line| line.contains("FAILED HERE")).collect();
    assert!(failing.len() == 1 && failing[0].contains("docker run --detach"), "{table}");
    assert!(table.starts_with("root (uid 0) tried to deploy version"), "{table}");
    assert!(table.split("\n\n").next().unwrap().ends_with("Claims: performer dev@example.test."), "{table}");
    for hook in ["pre-connect", "pre-deploy"] {
        let is_hook = |line: &str| line.contains("hook ") && line.contains(&format!(".kamal/hooks/{hook}"));
        assert!(table.lines().any(is_hook), "{hook}: {table}");
    }
    assert!(table.contains("taken on") && table.contains("released on"), "{table}");
    sensor.stop();
}

#[test]
fn configuration_that_differs_is_told_at_the_deploy_and_when_it_changes() {
    let _machine = Machine::take();
    let folder = Folder::new("deploys-config");
    let hosts = Hosts::start(&folder);
    let project = hosts.project("myapp", None);
    let mut sensor = Sensor::run(&folder, "");
    let deploy = || {
        let (ended, _) = project.kamal(&["deploy", "-d", "production"]);
        assert_eq!(ended.code(), 0, "{ended:?}");
    };
    deploy();
    let config = project.folder.join("config/deploy.yml");
    running::succeed(Command::new("sed").args(["-i", "s/amd64/arm64/"]).arg(&config));
    let changed = |record: &Record| {
        record.is("deploy-config-changed") && record.text("file.path") == config.display().to_string()
    };
    let change = sensor.until("the change", changed);
    assert_eq!((change.text("process.name"), change.text("deploy.id")), ("sed", ""));
    project.secrets(&[("KAMAL_REGISTRY_PASSWORD", "another")]);
    deploy();
    wait::until("two deploys", || (sensor.records().count("deploy-finished") == 2).then_some(()));
    let records = sensor.stop();
    let second = records.of("deploy-started").last().unwrap().text("deploy.id").to_owned();
    let at_deploy: Vec<&Record> =
        records.of("deploy-config-changed").filter(|r| r.text("deploy.id") == second).collect();
    let paths: Vec<&str> =
        at_deploy.iter().map(|record| record.text("file.path").rsplit('/').next().unwrap()).collect();
    assert_eq!(paths, ["deploy.yml", "secrets.production"]);
    assert_eq!(at_deploy[0].text("file.hash.sha256"), change.text("file.hash.sha256"));
    assert_eq!(at_deploy[0].text("deploy.config.previous_sha256"), change.text("deploy.config.previous_sha256"));
    assert!(
        at_deploy.iter().all(|record| record.get("sensor.inferred").is_none()),
        "both changes were seen: {at_deploy:#?}"
    );
    assert_eq!(at_deploy[1].get("deploy.config.keyed"), Some(&true.into()));
    let table = deploys(&["show", "last"], sensor.path()).text();
    assert!(table.contains("config/deploy.yml  (changed: sha256"), "{table}");
}
