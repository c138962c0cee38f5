//! The sensor inside namespaces of its own, as in a container with the host's /proc mounted aside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, fs, process::Command};

use sensor_tests::{Records, Stage, Trace, sensor};

/// What must be the same inside and outside: who did what where.
fn recorded(records: &Records) -> BTreeSet<String> {
    let own = records.iter().filter(|record| !record.session().is_empty());
    own.map(|record| {
        let user = [record.text("user.name"), record.text("user.audit.name"), record.text("destination.user.name")];
        let parent = record.number("process.parent.pid");
        let entity = record.text("process.entity_id");
        format!("{} {user:?} {entity} parent {parent:?}", record.brief().split_once(' ').unwrap().1)
    })
    .collect()
}

#[test]
fn inside_its_own_namespaces_it_tells_the_same_with_the_hosts_pids() {
    let mut stage = Stage::new("namespaces", "");
    let proc = stage.folder.join("host-proc");
    fs::create_dir(&proc).unwrap();
    let proc = proc.display();
    // The host's /proc goes aside, then its place is taken by that of the new pid namespace.
    let script = format!(
        "mount --rbind /proc {proc} && mount -t proc proc /proc && [ $$ = 1 ] && exec {} trace --format json --proc {proc}",
        sensor::binary().display()
    );
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--mount", "--fork", "--kill-child", "bash", "-c", &script]);
    let trace = Trace::start_as(&stage.folder, &mut inside);
    assert_eq!(stage.session("/bin/true within; sh -c '/bin/true deeper; exit 3'").code(), 3);
    stage.until_sessions_end(1);
    trace.until_sessions_end(stage.sshd.port, 1);

    let (inside, _) = trace.stop_inner();
    inside.assert_nothing_lost();
    let (inside, outside) = (inside.of_server(stage.sshd.port), stage.records());
    assert!(recorded(&outside).len() > 10);
    assert_eq!(recorded(&inside), recorded(&outside));
    assert_eq!(inside.exec(&["/bin/true", "within"]).pid(), outside.exec(&["/bin/true", "within"]).pid());
    assert_eq!(inside.count("sensor-degraded"), outside.count("sensor-degraded"));
}
