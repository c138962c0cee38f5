//! A deploy that runs when the sensor starts, or starts again: recorded as inferred, under one id, and seen from then
//! on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::Stdio;

use sensor_tests::{
    Folder, Machine, Records, Running, Sensor,
    project::{Hosts, Project, assert_steps},
    running, sensor, wait,
};

/// A deploy that stops in a hook until it may go on.
fn deploy_up_to(project: &Project, hook: &str) -> Running {
    project.hook_that_waits(hook);
    let mut kamal = project.command(&["deploy", "-d", "production"]);
    let kamal = Running::start(kamal.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    wait::until("the hook", || project.is_waiting().then_some(()));
    kamal
}

fn to_the_end(mut kamal: Running, project: &Project, sensor: &mut Sensor) -> Records {
    project.go_on();
    assert!(kamal.wait().success());
    wait::until("the deploy's end", || (sensor.records().count("deploy-finished") == 1).then_some(()));
    let records = sensor.stop();
    records.assert_nothing_lost();
    records
}

#[test]
fn a_deploy_that_runs_when_the_sensor_starts_is_told_with_everything_after() {
    let _machine = Machine::take();
    let folder = Folder::new("deploy-running");
    let hosts = Hosts::start(&folder);
    let project = hosts.project("myapp", None);
    let kamal = deploy_up_to(&project, "pre-connect");
    let pid = kamal.pid();
    let mut sensor = Sensor::run(&folder, "");
    let recorded = |sensor: &Sensor| {
        sensor.until("the deploy", |record| record.is("deploy-started") && record.text("deploy.tool") == "kamal")
    };
    let first = recorded(&sensor);
    // A restart in the middle: the same deploy, under the same id.
    sensor.stop();
    let mut sensor = Sensor::run(&folder, "");
    let started = recorded(&sensor);
    for record in [&first, &started] {
        assert_eq!((record.pid(), record.get("sensor.inferred")), (pid, Some(&true.into())), "{}", record.0);
        for (field, expected) in [
            ("deploy.id", started.text("deploy.id")),
            ("deploy.action", "deploy"),
            ("deploy.service", "myapp"),
            ("deploy.destination", "production"),
            ("deploy.tool_version", "2.12.0"),
            ("user.name", "root"),
            ("process.working_directory", project.folder.to_str().unwrap()),
        ] {
            assert_eq!(record.text(field), expected, "{field}");
        }
        assert_eq!(record.list("process.args")[2..], ["deploy", "-d", "production"]);
        // When the tool began, and not when it was found. The kernel's own record of that is in ticks of 10 ms.
        assert_eq!(record.text("@timestamp"), record.text("process.start"));
    }
    let records = to_the_end(kamal, &project, &mut sensor);
    let finished = records.one("deploy-finished", |_| true);
    assert_eq!((finished.text("event.outcome"), finished.text("deploy.id")), ("success", started.text("deploy.id")));
    assert_eq!(finished.text("deploy.version"), project.revision());
    // Also the hook in which it was found.
    assert_steps(&records, started.text("deploy.id"), &project.take_log());
    let listed = running::succeed(sensor::command(&["deploys", "--tool", "kamal"]).arg(sensor.path())).text();
    assert_eq!(listed.lines().count(), 2, "a head, and one deploy: {listed}");
    let shown = running::succeed(sensor::command(&["deploys", "show", "last"]).arg(sensor.path())).text();
    assert!(shown.contains("it was running when the sensor started"), "{shown}");
}

#[test]
fn what_a_deploy_did_before_the_sensor_is_no_failure_and_no_success() {
    let _machine = Machine::take();
    let folder = Folder::new("deploy-ran");
    let hosts = Hosts::start(&folder);
    let project = hosts.project("myapp", None);
    // Everything was switched; its connections are open, and older than the sensor.
    let kamal = deploy_up_to(&project, "post-deploy");
    let mut sensor = Sensor::run(&folder, "");
    let records = to_the_end(kamal, &project, &mut sensor);
    let finished = records.one("deploy-finished", |_| true);
    // It is no success that was seen either: a script could wait for a sensor in the tool's name.
    assert_eq!((finished.text("event.outcome"), finished.text("deploy.reason")), ("unknown", ""), "{}", finished.0);
    assert_eq!(finished.get("deploy.evidence"), None, "nothing seen is not nothing done: {}", finished.0);
    assert!(finished.text("error.message").contains("before the sensor"), "{}", finished.0);
    assert_eq!(finished.get("sensor.inferred"), Some(&true.into()));
    let hooks: Vec<&str> = records.of("deploy-step").map(|record| record.text("deploy.step.line")).collect();
    assert!(hooks.len() == 1 && hooks[0].ends_with(".kamal/hooks/post-deploy"), "{hooks:?}");
}
