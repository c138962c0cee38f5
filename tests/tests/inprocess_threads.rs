//! Many connections in one process, their commands interleaved: every command is recorded with its own connection.
//!
//! sshd gives each command the connection's ports in `SSH_CONNECTION`, and the command prints them: what it printed,
//! the port of the thread's own socket and the records must agree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{HashMap, HashSet};

use sensor_tests::{
    Folder, Machine, Record, Records, Sensor,
    clients::{App, Done, Library},
    lab::{Lab, random},
};

/// `SENSOR_THREAD_RUNS` for more.
const RUNS: usize = 1;
/// Commands of each thread.
const EACH: usize = 5;

#[test]
fn threads_do_not_mix() {
    let runs = std::env::var("SENSOR_THREAD_RUNS").map_or(RUNS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-threads");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &Library::ALL);
    for (library, threads) in [(Library::ParamikoNewest, 50), (Library::ParamikoDebian, 50), (Library::NetSsh, 30)] {
        for run in 0..runs {
            let mut sensor = Sensor::run(&folder, "");
            let (mark, count, each) = (random(), threads.to_string(), EACH.to_string());
            let options = ["--key", "ed25519", "--threads", &count, "--each", &each, "--mark", &mark];
            let done = app.run(&mut app.command(library, &options, &[]));
            assert_eq!(done.ended.code(), 0, "{library:?}: {}", done.ended.stderr);
            sensor.until_sessions_end(lab.sshd.port, threads);
            let records = sensor.stop();
            records.assert_nothing_lost();
            // The file has the records of earlier runs too.
            let begun = records.iter().rposition(|record| record.is("sensor-started")).unwrap();
            check(library, threads, &done, &Records(records[begun..].to_vec()), lab.sshd.port);
            println!("{library:?} run {run}: {threads} threads, {} commands", threads * EACH);
        }
    }
}

fn check(library: Library, threads: usize, done: &Done, records: &Records, port: u16) {
    let (server, client) = (records.of_server(port), records.of_clients(port));
    let connections: HashMap<u64, &Record> =
        client.of("ssh-connection").map(|record| (record.number("source.port").unwrap(), record)).collect();
    assert_eq!((client.count("ssh-connection"), connections.len()), (threads, threads), "{library:?}");
    assert!(connections.values().all(|record| record.pid() == done.pid), "{library:?}");
    let ids: HashSet<&str> = connections.values().map(|record| record.text("ssh.connection.id")).collect();
    assert_eq!(ids.len(), threads, "{library:?}");
    assert_eq!(done.of("exec").count(), threads * EACH, "{library:?}: {}", done.ended.stderr);
    for act in done.of("exec") {
        let (line, own) = (act["line"].as_str().unwrap(), act["port"].as_u64().unwrap());
        // By the command itself.
        let printed: Vec<&str> = act["out"].as_str().unwrap().split_whitespace().collect();
        assert_eq!(printed[2], own.to_string(), "{library:?}: {line}");
        let id = connections[&own].text("ssh.connection.id");
        for (who, side) in [("server", &server), ("client", &client)] {
            for action in ["ssh-command-started", "ssh-command-ended"] {
                let recorded = side.one(action, |record| record.text("ssh.command.line") == line);
                assert_eq!(recorded.text("ssh.connection.id"), id, "{library:?}: {action} of the {who}: {line}");
                assert_eq!(recorded.number("source.port"), Some(own), "{library:?}: {action} of the {who}: {line}");
            }
            let ended = side.one("ssh-command-ended", |record| record.text("ssh.command.line") == line);
            assert_eq!(ended.number("ssh.command.exit_status"), act["status"].as_u64(), "{library:?}: {line}");
        }
    }
    assert_eq!(client.count("ssh-command-ended"), threads * EACH, "{library:?}: commands that were not run");
}
