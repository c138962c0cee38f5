//! Deploys by Net::SSH and SSHKit to three hosts, each compared with the log of what was really sent: who, what, where
//! to, every step with its exit status, and how it ended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use sensor_tests::{
    Folder, Machine, Record, Records, Sensor,
    project::{BEFORE, HOSTS, Hosts, Log, NOBODY, Project, assert_steps},
    running::Ended,
};

/// Hosts, a project, and a sensor that watches.
struct Test {
    project: Project,
    hosts: Hosts,
    sensor: Sensor,
    _folder: Folder,
    _machine: Machine,
}

/// One run of kamal.
struct Run {
    ended: Ended,
    log: Log,
}

impl Test {
    fn new(name: &str) -> Self {
        let machine = Machine::take();
        let folder = Folder::new(name);
        let hosts = Hosts::start(&folder);
        let project = hosts.project("myapp", None);
        let sensor = Sensor::run(&folder, "");
        Self { project, hosts, sensor, _folder: folder, _machine: machine }
    }

    fn kamal(&self, args: &[&str]) -> Run {
        let (ended, log) = self.project.kamal(args);
        Run { ended, log }
    }

    /// The records, when so many deploys are over.
    fn records(&mut self, deploys: usize) -> Records {
        let over = || (self.sensor.records().count("deploy-finished") == deploys).then_some(());
        sensor_tests::wait::until(&format!("the end of {deploys} deploys"), over);
        let records = self.sensor.stop();
        records.assert_nothing_lost();
        records
    }
}

/// The deploys, in order: how they began and how they ended.
fn deploys(records: &Records) -> Vec<(&Record, &Record)> {
    let pair = |started| {
        let of = |finished: &&Record| finished.text("deploy.id") == Record::text(started, "deploy.id");
        (started, records.of("deploy-finished").find(of).expect("a deploy without an end"))
    };
    records.of("deploy-started").map(pair).collect()
}

fn ended(finished: &Record) -> (&str, &str) {
    (finished.text("event.outcome"), finished.text("deploy.reason"))
}

#[test]
fn a_deploy_is_told_from_both_sides_as_it_was() {
    let mut test = Test::new("deploy");
    let run = test.kamal(&["deploy", "-d", "production"]);
    assert_eq!(run.ended.code(), 0, "{:?}", run.ended);
    assert_eq!(run.log.hosts(), HOSTS);
    let revision = test.project.revision();
    let records = test.records(1);
    let all = deploys(&records);
    assert_eq!(all.len(), 1);
    let (started, finished) = all[0];
    for record in [started, finished] {
        for (field, expected) in [
            ("deploy.tool", "kamal"),
            ("deploy.tool_version", "2.12.0"),
            ("deploy.action", "deploy"),
            ("deploy.verb", "deploy"),
            ("deploy.service", "myapp"),
            ("deploy.destination", "production"),
            ("user.name", "root"),
            ("user.effective.name", "root"),
            ("process.name", "ruby3.1"),
        ] {
            assert_eq!(record.text(field), expected, "{field} of {}", record.action());
        }
        let hosts = ["127.0.0.4", "127.0.0.2", "127.0.0.3"];
        assert_eq!((record.list("deploy.hosts"), record.list("deploy.roles")), (hosts.to_vec(), vec!["job", "web"]));
        let files = ["config/deploy.yml", "config/deploy.production.yml", ".kamal/secrets.production"];
        assert_eq!(record.list("deploy.config.files"), files);
        assert_eq!(record.list("process.args")[2..], ["deploy", "-d", "production"]);
    }
    assert_eq!(ended(finished), ("success", ""));
    assert_eq!(finished.number("process.exit_code"), Some(0));
    // What the hosts were seen to do confirms what configuration, arguments and hooks said, but for who it is for.
    assert_eq!(finished.text("deploy.evidence"), "traffic-switched");
    assert_eq!(finished.list("deploy.claimed"), ["deploy.performer", "deploy.secrets", "deploy.tool_version"]);
    assert!(started.list("deploy.claimed").contains(&"deploy.service") && started.get("deploy.evidence").is_none());
    let mut contacted = finished.list("deploy.contacted");
    contacted.sort_unstable();
    assert_eq!(contacted, HOSTS);
    assert_eq!(finished.text("deploy.version"), revision);
    assert_eq!(finished.text("deploy.previous_version"), BEFORE);
    assert_eq!(finished.text("deploy.performer"), "dev@example.test");
    let secrets = ["BUILD_TOKEN", "DATABASE_URL", "KAMAL_REGISTRY_PASSWORD", "RAILS_MASTER_KEY"];
    assert_eq!(finished.list("deploy.secrets"), secrets);
    assert!(finished.number("event.duration").is_some_and(|duration| duration > 1_000_000_000));

    let id = started.text("deploy.id");
    assert_steps(&records, id, &run.log);
    let sent: usize = HOSTS.iter().map(|host| run.log.sent(host).len()).sum();
    let own = |record: &&Record| record.text("deploy.id") == id;
    let local = records.of("deploy-step").filter(own).filter(|record| record.get("ssh").is_none()).count();
    assert_eq!(finished.number("deploy.steps"), Some((sent + local) as u64));
    // Both ends of its connections, and all its processes, bear its id.
    let ends = |role: &str| {
        let mut ids: Vec<&str> = records
            .of("ssh-connection")
            .filter(|record| record.text("ssh.role") == role && record.text("deploy.id") == id)
            .map(|record| record.text("ssh.connection.id"))
            .collect();
        ids.sort_unstable();
        ids
    };
    let mut connections = finished.list("deploy.connections");
    connections.sort_unstable();
    assert_eq!((connections.len(), &connections, &connections), (3, &ends("client"), &ends("server")));
    let root = started.text("process.entity_id");
    let children: Vec<&Record> =
        records.of("process-started").filter(|r| r.text("process.parent.entity_id") == root).collect();
    assert!(children.len() >= 8 && children.iter().all(|record| record.text("deploy.id") == id), "{}", children.len());

    // What the steps are: local ones, and the same remote ones at both ends.
    let kinds = |kind: &str| -> Vec<&Record> {
        records.of("deploy-step").filter(|record| record.text("deploy.step.kind") == kind).collect()
    };
    for (kind, role, count) in [
        ("switch", "server", 3),
        ("boot", "server", 3),
        ("pull", "server", 3),
        ("env", "server", 3),
        ("lock", "server", 1),
        ("unlock", "server", 1),
        ("build", "", 1),
        ("hook", "", 3),
    ] {
        let by = |role: &str| kinds(kind).iter().filter(|record| record.text("ssh.role") == role).count();
        let recorded = (by("client"), by("server"), by(""));
        assert_eq!(recorded, if role.is_empty() { (0, 0, count) } else { (count, count, 0) }, "{kind}");
    }
    let boot = kinds("boot").into_iter().find(|record| record.text("deploy.step.host") == "127.0.0.4").unwrap();
    assert_eq!(boot.text("deploy.step.role"), "job");
    assert_eq!(boot.text("container.name"), format!("myapp-job-production-{revision}"));
    assert_eq!(boot.text("container.image.name"), "registry.example.test/acme/myapp");
    assert_eq!(boot.text("container.image.tag"), revision);
    assert_eq!(kinds("env")[0].list("deploy.step.secrets"), secrets);
    assert_eq!(kinds("build")[0].list("deploy.step.secrets"), ["BUILD_TOKEN"]);
    for login in kinds("registry-login") {
        assert_eq!(login.list("deploy.step.secrets"), ["KAMAL_REGISTRY_PASSWORD"]);
        assert!(login.text("deploy.step.line").ends_with("-p \"[REDACTED]\"") || login.get("ssh").is_none());
    }
}

#[test]
fn a_failure_has_its_step_its_reason_and_its_host() {
    let mut test = Test::new("deploy-failures");
    let mut runs = Vec::new();
    for (order, reason, part) in [
        ("pull", "image-missing", "docker pull"),
        ("kamal-proxy deploy", "unhealthy", "kamal-proxy deploy myapp-web-production"),
        ("run --detach", "boot-failed", "docker run --detach"),
        ("login", "registry-login-failed", "docker login"),
        ("buildx build", "build-failed", "docker buildx build"),
    ] {
        test.hosts.order(order);
        runs.push((test.kamal(&["deploy", "-d", "production"]), reason, part));
        test.hosts.order("");
        test.hosts.clean();
    }
    // Somebody holds the lock.
    test.hosts.lock("myapp-production");
    runs.push((test.kamal(&["deploy", "-d", "production", "-P"]), "lock-held", "mkdir .kamal/lock-myapp-production"));
    test.hosts.clean();
    test.project.hook("pre-deploy", 7);
    runs.push((test.kamal(&["deploy", "-d", "production", "-P"]), "hook-failed", ".kamal/hooks/pre-deploy"));
    test.project.hook("pre-deploy", 0);
    test.project.edit(HOSTS[2], NOBODY);
    runs.push((test.kamal(&["audit", "-d", "production"]), "unreachable", NOBODY));

    let records = test.records(runs.len());
    let all = deploys(&records);
    assert_eq!(all.len(), runs.len());
    for ((started, finished), (run, reason, part)) in all.iter().zip(&runs) {
        assert_eq!(run.ended.code(), 1, "{reason}: {:?}", run.ended);
        assert_eq!(ended(finished), ("failure", *reason), "{}", finished.0);
        let message = finished.text("error.message");
        assert!(message.contains(part), "{reason}: {message}");
        assert_ne!(finished.text("deploy.evidence"), "traffic-switched", "{reason}");
        assert_eq!(finished.number("process.exit_code"), Some(1));
        assert_steps(&records, started.text("deploy.id"), &run.log);
    }
}

#[test]
fn a_rollback_is_what_it_did_and_not_what_it_exits_with() {
    let mut test = Test::new("deploy-rollback");
    let back = test.kamal(&["rollback", "5f95e7b", "-d", "production"]);
    let missing = test.kamal(&["rollback", "missing", "-d", "production"]);
    assert_eq!((back.ended.code(), missing.ended.code()), (0, 0));
    let records = test.records(2);
    let all = deploys(&records);
    let recorded: Vec<_> = all.iter().map(|(_, finished)| (ended(finished), finished.text("deploy.version"))).collect();
    assert_eq!(recorded, [(("success", ""), "5f95e7b"), (("failure", "version-not-found"), "missing")]);
    for ((started, finished), run) in all.iter().zip([&back, &missing]) {
        assert_eq!(finished.text("deploy.action"), "rollback");
        assert_steps(&records, started.text("deploy.id"), &run.log);
    }
    assert_eq!(all[0].1.text("deploy.previous_version"), BEFORE);
}

#[test]
fn every_other_verb_has_its_action_and_its_steps() {
    let mut test = Test::new("deploy-verbs");
    let table: &[(&[&str], &str, &str)] = &[
        (&["app", "exec", "bin/rails about", "-d", "production", "--version", "1"], "exec", "app exec"),
        (&["server", "exec", "uptime", "-d", "production", "-h", "127.0.0.2"], "exec", "server exec"),
        (&["env", "push", "-d", "production"], "secret", "env push"),
        (&["registry", "login", "-d", "production"], "secret", "registry login"),
        (&["secrets", "print", "-d", "production"], "secret", "secrets print"),
        (&["audit", "-d", "production"], "inspect", "audit"),
        (&["frobnicate", "-d", "production"], "unknown", "frobnicate"),
    ];
    let runs: Vec<Run> = table.iter().map(|(args, ..)| test.kamal(args)).collect();
    // No deploys: help, and the tool's own version.
    for args in [&["version"][..], &["help", "deploy"], &["deploy", "--help"], &["-d", "production", "deploy"]] {
        test.kamal(args);
    }
    let records = test.records(table.len());
    let all = deploys(&records);
    assert_eq!(all.len(), table.len());
    for (((started, finished), (args, action, verb)), run) in all.iter().zip(table).zip(&runs) {
        assert_eq!((started.text("deploy.action"), started.text("deploy.verb")), (*action, *verb));
        // What the tool does not know it does not do: it ended with 1, and that is all.
        let (outcome, evidence) = if *verb == "frobnicate" { ("unknown", "none") } else { ("success", "commands") };
        let recorded = (finished.text("event.outcome"), finished.text("deploy.evidence"));
        assert_eq!(recorded, (outcome, evidence), "{args:?}: {:?}", run.ended);
        assert_steps(&records, started.text("deploy.id"), &run.log);
    }
    let performer = |n: usize| all[n].1.text("deploy.performer");
    assert_eq!(
        (performer(0), performer(1), performer(2)),
        ("dev@example.test", "dev@example.test", "dev@example.test")
    );
}
