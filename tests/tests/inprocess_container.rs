//! Applications in containers. Where the libraries are files of the container's own, the first connection is recorded
//! whole or says that it is not, and the second is recorded whole; where containers share the files of an image, each
//! thing is recorded once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use sensor_tests::{
    Container, Folder, Machine, Records, Sensor,
    clients::{App, Library},
    container::OWN_LIBRARIES,
    lab::Lab,
};

#[test]
fn in_a_container_the_second_connection_is_whole_at_the_latest() {
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-container");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[Library::ParamikoDebian, Library::NetSsh]);
    let own = folder.join("made");
    std::fs::create_dir(&own).unwrap();
    let made = Library::ParamikoNewest.interpreter(&own);
    let environment = made.ancestors().nth(2).unwrap().display().to_string();
    let mut sensor = Sensor::run(&folder, "");
    // A virtual environment that only the container has.
    let prepare = format!("mkdir $ROOT/opt/app; cp -a {environment} $ROOT/opt/app/venv\n{OWN_LIBRARIES}");
    let container = Container::start(&folder, &prepare);
    let mut sessions = 0;
    let kinds = [
        (Library::ParamikoNewest, Path::new("/opt/app/venv/bin/python"), "/opt/app/venv"),
        (Library::ParamikoDebian, Path::new("/usr/bin/python3"), ""),
        (Library::NetSsh, Path::new("/usr/bin/ruby"), ""),
    ];
    for (library, interpreter, _) in kinds {
        for status in [5, 6] {
            let act = format!("exec=echo {library:?}; exit {status}");
            let inner = app.program(interpreter, library.is_python(), &["--key", "ed25519"], &[&act]);
            let done = app.run(&mut container.command(&inner));
            assert_eq!(done.one("exec")["status"], status, "{library:?}: {done:?}");
            sessions += 1;
            sensor.until_sessions_end(lab.sshd.port, sessions);
        }
    }
    let id = container.id.clone();
    drop(container);
    let records = sensor.stop();
    records.assert_nothing_lost();
    let client = records.of_clients(lab.sshd.port);
    let connections: Vec<_> = client.of("ssh-connection").collect();
    assert_eq!(connections.len(), sessions);
    for (pair, (library, interpreter, venv)) in connections.chunks(2).zip(kinds) {
        let captures = [pair[0].text("ssh.capture"), pair[1].text("ssh.capture")];
        println!("{library:?} ({}): {captures:?}", interpreter.display());
        assert!(matches!(captures, ["full" | "partial", "full"]), "{library:?}: {captures:?}");
        for (connection, status) in pair.iter().zip([5, 6]) {
            let own: Vec<_> = client.iter().filter(|record| record.pid() == connection.pid()).cloned().collect();
            let own = Records(own);
            assert!(own.iter().all(|record| record.text("container.id") == id), "{library:?}: {connection:?}");
            assert_eq!(connection.text("ssh.application.venv"), venv, "{library:?}");
            if connection.text("ssh.capture") == "full" {
                let line = format!("echo {library:?}; exit {status}");
                let ended = own.one("ssh-command-ended", |_| true);
                assert_eq!(ended.text("ssh.command.line"), line);
                assert_eq!(ended.number("ssh.command.exit_status"), Some(status), "{line}");
            }
        }
    }
}

#[test]
fn containers_of_one_image_are_told_once() {
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-image");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[]);
    let mut sensor = Sensor::run(&folder, "");
    // The host's own files through two overlays: one inode each, and three numbers.
    let containers = [Container::start(&folder, "true"), Container::start(&folder, "true")];
    let mut sessions = 0;
    for (library, interpreter) in [(Library::ParamikoDebian, "/usr/bin/python3"), (Library::NetSsh, "/usr/bin/ruby")] {
        // Each of them is known before the host's own is run.
        for container in [Some(&containers[0]), Some(&containers[1]), Some(&containers[0]), None] {
            let mut command =
                app.program(interpreter.as_ref(), library.is_python(), &["--key", "ed25519"], &["exec=exit 7"]);
            if let Some(container) = container {
                command = container.command(&command);
            }
            let done = app.run(&mut command);
            assert_eq!(done.one("exec")["status"], 7, "{library:?}: {done:?}");
            sessions += 1;
            sensor.until_sessions_end(lab.sshd.port, sessions);
        }
    }
    drop(containers);
    let records = sensor.stop();
    records.assert_nothing_lost();
    let client = records.of_clients(lab.sshd.port);
    assert_eq!(client.count("ssh-connection"), sessions);
    for connection in client.of("ssh-connection") {
        let own = Records(client.iter().filter(|record| record.pid() == connection.pid()).cloned().collect());
        let success = own.of("ssh-authentication").filter(|record| record.text("event.outcome") == "success").count();
        let counts =
            ["ssh-session-started", "ssh-command-started", "ssh-command-ended"].map(|action| own.count(action));
        assert_eq!((success, counts), (1, [1; 3]), "{connection:?}");
    }
}
