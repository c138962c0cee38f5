//! Definitions of the user's own: in force after SIGHUP, refused with a sentence where they are wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use rustix::process::Signal;
use sensor_tests::{Folder, Machine, Sensor, running, wait};

const OWN: &str = "name = \"shipit\"\n[recognise]\nprograms = [\"shipit\"]\n[arguments]\nvalues = [\"--to\"]\nsecret = [\"--code\"]\n[verbs]\ngo = \"deploy\"\n[from]\ndestination = [\"option:--to\"]\n";

#[test]
fn a_definition_is_in_force_after_sighup_and_a_wrong_one_changes_nothing() {
    let _machine = Machine::take();
    let folder = Folder::new("deploy-tools");
    let tools = folder.join("tools");
    fs::create_dir(&tools).unwrap();
    let program = folder.write("shipit", "#!/bin/sh\nexit 3\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let ship = || {
        let mut command = Command::new(&program);
        assert_eq!(running::finish(command.args(["go", "--to", "prod", "--code", "s3cr3t-code"])).code(), 3);
    };
    let mut sensor = Sensor::run(&folder, &format!("[deploy]\ntools = \"{}\"\n", tools.display()));
    ship();
    let again = |n: usize| {
        sensor.signal(Signal::HUP);
        let recorded = |action: &str| sensor.records().count(action);
        wait::until("the answer to SIGHUP", || {
            (recorded("sensor-config-reloaded") + recorded("sensor-degraded") >= n).then_some(())
        });
    };
    let before = sensor.records().count("sensor-degraded");
    fs::write(tools.join("own.toml"), OWN).unwrap();
    again(before + 1);
    ship();
    fs::write(tools.join("own.toml"), OWN.replace("option:--to", "options:to")).unwrap();
    again(before + 2);
    ship();
    wait::until("two deploys", || (sensor.records().count("deploy-finished") == 2).then_some(()));
    let records = sensor.stop();
    // Not before it was known; and the one in use stayed in use.
    assert_eq!((records.count("deploy-started"), records.count("sensor-config-reloaded")), (2, 1));
    for record in records.of("deploy-finished") {
        assert_eq!((record.text("deploy.tool"), record.text("deploy.destination")), ("shipit", "prod"));
        // A script of that name that does nothing: no success, and no failure of a deploy either.
        assert_eq!((record.text("event.outcome"), record.number("process.exit_code")), ("unknown", Some(3)));
        assert_eq!(record.text("deploy.evidence"), "none");
        assert_eq!(record.list("process.args").last(), Some(&"[REDACTED]"));
    }
    let refused = records.one("sensor-degraded", |record| record.text("sensor.degraded.what") == "new configuration");
    let why = refused.text("sensor.degraded.why");
    assert!(why.contains("own.toml") && why.contains("from.destination") && why.contains("option:--name"), "{why}");
    // `secret` is the definition's word: without it nothing shows that this option is one.
    assert!(!records.of("deploy-started").any(|record| record.0.to_string().contains("s3cr3t-code")));
}
