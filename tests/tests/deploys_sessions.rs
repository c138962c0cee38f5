//! Deploys and the SSH sessions around them: two users at once, and one who came through a jump host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::Stdio;

use sensor_tests::{
    Account, Folder, Machine, Record, Running, Sensor,
    project::{Hosts, assert_steps},
    running, wait,
};

#[test]
fn two_users_deploy_two_services_at_once_and_each_tree_is_its_own() {
    let _machine = Machine::take();
    let folder = Folder::new("deploy-two");
    let hosts = Hosts::start(&folder);
    let users = [Account::create("sensor-one"), Account::create("sensor-two")];
    let projects = [hosts.project("myapp", Some(&users[0])), hosts.project("other", Some(&users[1]))];
    let mut sensor = Sensor::run(&folder, "");
    let lines = projects.each_ref().map(|project| project.line("deploy -d production"));
    let running = [0, 1].map(|n| {
        let mut ssh = hosts.sshd.ssh(&users[n].name, &[]);
        Running::start(ssh.arg(&lines[n]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
    });
    for client in running {
        let ended = client.output();
        assert_eq!(ended.code(), 0, "{ended:?}");
    }
    let logs = projects.each_ref().map(sensor_tests::project::Project::take_log);
    sensor.until_sessions_end(hosts.sshd.port, 2 + 6);
    let records = sensor.stop();
    records.assert_nothing_lost();
    assert_eq!((records.count("deploy-started"), records.count("deploy-finished")), (2, 2));
    for n in [0, 1] {
        let own = |record: &Record| record.text("deploy.service") == projects[n].service;
        let (started, finished) = (records.one("deploy-started", own), records.one("deploy-finished", own));
        assert_eq!(finished.text("event.outcome"), "success", "{}", finished.0);
        let user = users[n].name.as_str();
        assert_eq!((started.text("user.name"), started.text("user.audit.name")), (user, user));
        assert_eq!(finished.text("deploy.version"), projects[n].revision());
        let id = started.text("deploy.id");
        assert_steps(&records, id, &logs[n]);
        // The session that it was started from is the user's own.
        let session = records.one("ssh-session-started", |record| record.session() == started.session());
        assert_eq!(session.text("destination.user.name"), user);
        assert_eq!(session.text("ssh.role"), "server");
        // Nothing of the one is in the other.
        let mixed = records.iter().filter(|record| record.text("deploy.id") == id);
        let other = &projects[1 - n].service;
        let mixed: Vec<&Record> =
            mixed.filter(|record| record.text("deploy.step.line").contains(other.as_str())).collect();
        assert!(mixed.is_empty(), "{:#?}", mixed[0]);
    }
}

#[test]
fn a_deploy_from_a_session_through_a_jump_host_names_that_session() {
    let _machine = Machine::take();
    let folder = Folder::new("deploy-jump");
    let hosts = Hosts::start(&folder);
    let user = Account::create("sensor-one");
    let project = hosts.project("myapp", Some(&user));
    let mut sensor = Sensor::run(&folder, "");
    let config = hosts.sshd.file("ssh_config");
    let jump = format!("ProxyCommand=ssh -F {} -W 127.0.0.2:{} {}@test", config.display(), hosts.sshd.port, user.name);
    let mut ssh = hosts.sshd.ssh(&user.name, &["-o", &jump]);
    let ended = running::finish(ssh.arg(project.line("deploy -d production -P")));
    assert_eq!(ended.code(), 0, "{ended:?}");
    let log = project.take_log();
    sensor.until_sessions_end(hosts.sshd.port, 2 + 3);
    wait::until("the deploy's end", || (sensor.records().count("deploy-finished") == 1).then_some(()));
    let records = sensor.stop();
    records.assert_nothing_lost();
    let started = records.one("deploy-started", |_| true);
    assert_steps(&records, started.text("deploy.id"), &log);
    // Two sessions of the user's: the outer one only forwards. The deploy was started in the inner one, which came from
    // the jump host.
    let sessions: Vec<&Record> = records
        .of("ssh-session-started")
        .filter(|record| record.text("ssh.role") == "server" && record.text("destination.user.name") == user.name)
        .collect();
    assert_eq!(sessions.len(), 2);
    let inner = sessions.iter().find(|record| record.text("destination.ip") == "127.0.0.2").unwrap();
    assert_eq!(started.session(), inner.session());
    assert_ne!(
        started.session(),
        sessions.iter().find(|record| record.text("destination.ip") != "127.0.0.2").unwrap().session()
    );
    assert_eq!(started.text("process.entry_leader.entry_meta.source.ip"), inner.text("source.ip"));
    assert_eq!(started.text("user.audit.name"), user.name);
}
