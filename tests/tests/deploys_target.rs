//! The target's side alone: a recorded deploy, replayed without anything of the deployer, as a host sees it that only
//! takes the connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::HashSet,
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
};

use sensor::{
    decode::recording::{Reader, Writer},
    event::stream::{Event, EventKind},
};
use sensor_tests::{
    Folder, Machine, Record, Records, Trace,
    project::{HOSTS, Hosts, steps},
    running, sensor as program, wait,
};

/// The events of a recording without those of this process, what descends from it, and their ends of connections.
fn without(recording: &Path, root: u32, to: &Path) -> usize {
    let mut out = Writer::new(BufWriter::new(File::create(to).unwrap())).unwrap();
    let (mut family, mut sockets, mut dropped) = (HashSet::from([root]), HashSet::new(), 0);
    for event in Reader::new(BufReader::new(File::open(recording).unwrap())).unwrap() {
        let event: Event = event.unwrap();
        let own = match &event.what {
            EventKind::Fork(fork) => {
                let own = family.contains(&fork.creator.tgid);
                if own {
                    family.insert(fork.task.id.tgid);
                }
                own
            }
            EventKind::Exec(exec) => family.contains(&exec.task.id.tgid),
            EventKind::Exit(exit) => family.contains(&exit.task.id.tgid),
            EventKind::Deploy(facts) => family.contains(&facts.process.tgid),
            EventKind::Connect(connect) => {
                let own = family.contains(&connect.task.id.tgid);
                if own {
                    sockets.insert(connect.socket);
                }
                own
            }
            EventKind::Ssh(packet) => sockets.contains(&packet.connection),
            EventKind::SshOwner(bound) => sockets.contains(&bound.connection),
            EventKind::Tcp(change) => sockets.contains(&change.socket),
            _ => false,
        };
        if own {
            dropped += 1;
        } else {
            out.write(&event).unwrap();
        }
    }
    out.flush().unwrap();
    dropped
}

fn replay(recording: &Path) -> Records {
    let mut command = program::command(&["replay", "--format", "json"]);
    Records::parse(&running::succeed(command.arg(recording)).stdout)
}

#[test]
fn a_host_that_does_not_see_the_deployer_knows_the_deploy_all_the_same() {
    let _machine = Machine::take();
    let folder = Folder::new("deploy-target");
    let hosts = Hosts::start(&folder);
    let project = hosts.project("myapp", None);
    let recording = folder.join("recording");
    let trace = Trace::start(&folder, &["--record", recording.to_str().unwrap()]);
    let mut runs = Vec::new();
    for args in [
        &["deploy", "-d", "production", "-P"][..],
        &["rollback", "5f95e7b", "-d", "production"],
        &["registry", "login", "-d", "production"],
    ] {
        let mut command = project.command(args);
        let mut kamal = running::Running::start(&mut command);
        let pid = kamal.pid();
        assert!(kamal.wait().success(), "{args:?}");
        runs.push((pid, project.take_log()));
    }
    // What only looks like it: a person at the same host.
    running::succeed(
        hosts
            .sshd
            .ssh(&hosts.account.name, &[])
            .arg("docker ps; docker login -u me -p x registry.example.test; uptime"),
    );
    trace.until_sessions_end(hosts.sshd.port, runs.len() * HOSTS.len() + 1);
    let by_kamal = |records: &Records, action: &str| {
        records.of(action).filter(|record| record.text("deploy.tool") == "kamal").count()
    };
    wait::until("three deploys", || (by_kamal(&trace.records(), "deploy-finished") == runs.len()).then_some(()));
    let (whole, _) = trace.stop();
    whole.assert_nothing_lost();
    // The recording replays into the same deploys.
    assert_eq!(replay(&recording).count("deploy-step"), whole.count("deploy-step"));

    let mut stream = recording;
    for (n, (pid, _)) in runs.iter().enumerate() {
        let next = folder.join(format!("without-{n}"));
        assert!(without(&stream, *pid, &next) > 20);
        stream = next;
    }
    let records = replay(&stream);
    assert_eq!((by_kamal(&records, "deploy-started"), by_kamal(&records, "deploy-finished")), (0, 0));
    let mut ids: Vec<&str> = records.of("deploy-step").map(|record| record.text("deploy.id")).collect();
    ids.dedup();
    assert!(ids.iter().all(|id| !id.is_empty()));
    // Two deploys of two versions, and a login of which nothing more is known.
    for (host, (_, log)) in HOSTS.iter().flat_map(|host| runs.iter().map(move |run| (host, run))) {
        let sent = log.sent(host);
        let found = ids.iter().filter(|id| steps(&records, id, "server", host) == sent).count();
        assert_eq!(found.min(1), 1, "nothing on {host} has the steps {sent:#?}");
    }
    let revision = project.revision();
    for version in [revision.as_str(), "5f95e7b"] {
        let of: HashSet<&str> = records
            .of("deploy-step")
            .filter(|record| record.text("deploy.version") == version && record.text("deploy.step.kind") == "switch")
            .map(|record| record.text("deploy.id"))
            .collect();
        // One deploy, though it came over three connections to three addresses.
        assert_eq!(of.len(), 1, "{version}");
    }
    for record in records.of("deploy-step").filter(|record| record.text("deploy.step.kind") == "switch") {
        assert_eq!(record.text("deploy.tool"), "kamal");
        assert_eq!((record.text("deploy.service"), record.text("deploy.destination")), ("myapp", "production"));
        assert_eq!(record.text("deploy.performer"), "dev@example.test");
        assert!(["web", "job"].contains(&record.text("deploy.step.role")));
        assert_eq!(record.number("deploy.step.exit_status"), Some(0));
        assert_eq!(record.text("user.name"), hosts.account.name);
        assert!(!record.text("ssh.connection.id").is_empty());
    }
    let uptime =
        |record: &Record| record.text("ssh.command.line").contains("uptime") && record.text("ssh.role") == "server";
    let person = records.one("ssh-command-started", uptime);
    assert_eq!(records.session(person.session()).count("deploy-step"), 0);
    // It is what it is: a login to a registry, by docker itself.
    let login = records.one("deploy-started", |record| record.text("deploy.tool") == "docker");
    assert_eq!((login.session(), login.text("deploy.action")), (person.session(), "secret"));
}
