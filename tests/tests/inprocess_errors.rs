//! What goes wrong with an application's SSH, and where in the protocol; what changes between its connections; whose it
//! is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    process::Command,
    thread,
};

use sensor_tests::{
    Folder, Machine, Record, Records, Sensor, Sshd,
    clients::{App, Library},
    lab::Lab,
    running, wait,
};

fn set(name: &str) -> (Machine, Folder, Lab, App, Sensor) {
    let machine = Machine::take();
    let folder = Folder::new(name);
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &Library::ALL);
    let sensor = Sensor::run(&folder, "");
    (machine, folder, lab, app, sensor)
}

/// Accepts connections, says this after the peer's identification, and closes.
fn peer_that_says(text: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut byte = [0];
            while client.read(&mut byte).is_ok_and(|n| n > 0) && byte != *b"\n" {}
            let _ = client.write_all(text);
            let _ = client.shutdown(Shutdown::Write);
            // A close with unread bytes is a reset, which can overtake what was said.
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    port
}

#[test]
fn errors_say_where_in_the_protocol() {
    let (_machine, folder, lab, app, mut sensor) = set("inprocess-errors");
    let inner = Folder::new("inprocess-errors-kex");
    // Real sshd that has no method in common with the clients.
    let strange = Sshd::start_with(&inner, "KexAlgorithms sntrup761x25519-sha512@openssh.com\n", "");
    let silent = peer_that_says(b"");
    let brief = peer_that_says(b"SSH-2.0-brief\r\n");
    let cases = [
        ("no_common_algorithm", strange.port),
        ("eof_during_identification", silent),
        ("eof_during_negotiation", brief),
    ];
    let mut runs = Vec::new();
    for library in Library::ALL {
        for (code, port) in cases {
            let options = ["--key", "ed25519", "--policy", "auto", "--port", &port.to_string()];
            let done = app.run(&mut app.command(library, &options, &[]));
            assert_eq!(done.one("connect")["outcome"], "failure", "{library:?} {code}: {done:?}");
            runs.push((library, code, port, done.pid));
        }
    }
    // And where no server listens any more, though SSH was spoken there a moment ago.
    let port = lab.sshd.port;
    let gone = app.run(&mut app.command(Library::ParamikoNewest, &["--key", "ed25519"], &["exec=exit 7"]));
    assert_eq!(gone.one("exec")["status"], 7);
    drop(lab);
    let gone = app.run(&mut app.command(Library::ParamikoNewest, &["--key", "ed25519"], &[]));
    sensor.until("the refused connection", |record| record.is("connection-failed") && record.pid() == gone.pid);
    let records = sensor.stop();
    records.assert_nothing_lost();
    for (library, code, port, pid) in runs {
        let own = Records(records.iter().filter(|record| record.pid() == pid).cloned().collect());
        for action in ["ssh-connection", "connection-closed"] {
            let recorded = own.one(action, |_| true);
            let shown = format!("{library:?} {code}: {action}: {recorded:?}");
            assert_eq!((recorded.text("error.code"), recorded.text("event.outcome")), (code, "failure"), "{shown}");
            assert_eq!(
                (recorded.text("ssh.role"), recorded.number("destination.port")),
                ("client", Some(port.into())),
                "{shown}"
            );
            assert!(!recorded.text("error.message").is_empty(), "{shown}");
        }
        let connection = own.one("ssh-connection", |_| true);
        assert!(!connection.text("ssh.client.software").is_empty(), "{library:?} {code}");
        let said = connection.text("ssh.server.software");
        assert_eq!(said.is_empty(), code == "eof_during_identification", "{library:?} {code}: {said}");
    }
    let refused = records.one("connection-failed", |record| record.pid() == gone.pid);
    assert_eq!((refused.text("error.code"), refused.text("network.protocol")), ("ECONNREFUSED", "ssh"));
    assert_eq!(refused.number("destination.port"), Some(port.into()));
    drop(folder);
}

#[test]
fn other_failures_of_other_programs_are_not_told() {
    let (_machine, _folder, _lab, app, mut sensor) = set("inprocess-others");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let connect =
        format!("import socket\ntry: socket.create_connection(('127.0.0.1', {nobody}))\nexcept OSError: pass\n");
    running::succeed(Command::new("/usr/bin/python3").args(["-c", &connect]));
    // A process that speaks SSH and has another connection too: the refused one could be either.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let acts = [format!("plain={}", plain.local_addr().unwrap().port()), format!("again={nobody}")];
    let acts: Vec<&str> = acts.iter().map(String::as_str).collect();
    let done = app.run(&mut app.command(Library::ParamikoDebian, &["--key", "ed25519"], &acts));
    assert_eq!(done.of("connect").count(), 2, "{done:?}");
    let records = sensor.stop();
    let recorded: Vec<&Record> =
        records.of("connection-failed").filter(|r| r.number("destination.port") == Some(nobody.into())).collect();
    assert!(recorded.is_empty(), "{recorded:?}");
}

#[test]
fn what_differs_from_the_last_connection_is_named() {
    let (_machine, _folder, lab, app, mut sensor) = set("inprocess-changed");
    let kex = "kex=mlkem768x25519-sha256,curve25519-sha256@libssh.org";
    let ciphers = "ciphers=aes128-ctr";
    let run = |library, without: Option<&str>| {
        let mut options = vec!["--key", "ed25519"];
        options.extend(without.iter().flat_map(|without| ["--without", without]));
        let done = app.run(&mut app.command(library, &options, &["exec=exit 7"]));
        assert_eq!(done.one("exec")["status"], 7, "{done:?}");
        // Attempt a second after the keys: the order of the records is that of the comparisons.
        wait::until("the connection's record", || {
            let records = sensor.records().of_clients(lab.sshd.port);
            records.iter().find(|record| record.is("ssh-connection") && record.pid() == done.pid).cloned()
        })
    };
    let changed = |record: &Record| record.list("ssh.changed").join(" ");
    assert_eq!(changed(&run(Library::ParamikoNewest, None)), "");
    assert_eq!(changed(&run(Library::ParamikoNewest, None)), "");
    assert_eq!(changed(&run(Library::ParamikoNewest, Some(kex))), "ssh.kex");
    assert_eq!(changed(&run(Library::ParamikoNewest, Some(ciphers))), "ssh.kex ssh.cipher");
    // The same script, with another version of the library.
    assert_eq!(changed(&run(Library::ParamikoOld, Some(ciphers))), "ssh.client.software");
    // Another script.
    assert_eq!(changed(&run(Library::NetSsh, None)), "");
    sensor.stop().assert_nothing_lost();
}

#[test]
fn an_application_in_a_session_belongs_to_it() {
    let (_machine, folder, lab, app, mut sensor) = set("inprocess-parent");
    let key = lab.one.home.join("key");
    fs::copy(lab.key("ed25519"), &key).unwrap();
    running::succeed(Command::new("chown").arg(&lab.one.name).arg(&key));
    let inner = format!(
        "cd {} && exec /usr/bin/python3 ./paramiko_client.py --user {} --port {} --key {} --policy auto 'exec=exit 7'",
        folder.display(),
        lab.one.name,
        lab.sshd.port,
        key.display()
    );
    let ended = running::finish(lab.ssh(&lab.one.name, "ed25519", true, &[]).arg(&inner));
    assert!(ended.text().contains("\"status\": 7"), "{ended:?}");
    sensor.until_sessions_end(lab.sshd.port, 2);
    let records = sensor.stop();
    records.assert_nothing_lost();
    let started = records.one("process-started", |r| {
        r.args_contain("./paramiko_client.py") && r.text("process.name").starts_with("python3")
    });
    let own = records.of_clients(lab.sshd.port);
    let own = own.one("ssh-connection", |record| record.pid() == started.pid());
    assert!(!started.session().is_empty());
    assert_eq!(own.text("ssh.session.parent.id"), started.session());
    assert_eq!(own.text("ssh.application.script"), folder.join("paramiko_client.py").display().to_string());
    assert_eq!(own.text("ssh.capture"), "full");
    drop(app);
}
