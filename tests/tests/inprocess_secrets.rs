//! What applications hand to Paramiko and Net::SSH must not leave the kernel: passwords, passphrases, what is typed
//! into a terminal, the contents of files.
//!
//! As in `ssh_secrets`: every secret begins with the same unguessable mark, which is looked for in the records, the
//! log, the recording and all memory of the daemon, where the ring lies that nothing of these sessions is overwritten
//! in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs, path::Path, process::Command};

use sensor_tests::{
    Folder, Machine, Record, Records, Trace,
    clients::{App, Library},
    lab::{Lab, set_password},
    running,
    secrets::{Mark, memory},
    sensor,
};

/// Logins of each library with passwords; `SENSOR_SECRET_LOGINS` for more.
const LOGINS: usize = 6;
const RING_BYTES: &str = "67108864";

#[test]
fn no_secret_of_an_application_is_anywhere() {
    let logins = std::env::var("SENSOR_SECRET_LOGINS").map_or(LOGINS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-secrets");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &Library::ALL);
    let recording = folder.join("recording");
    let trace = Trace::start(&folder, &["--all", "--ring-bytes", RING_BYTES, "--record", recording.to_str().unwrap()]);
    let (secret, plain) = (Mark::new("Zk"), Mark::new("Pk"));
    let mut attempts = 0;
    for library in Library::ALL {
        for n in 0..logins {
            let password = secret.secret();
            set_password(&lab.one.name, &password);
            // A failure costs seconds: sshd's PAM waits.
            let wrong = n == 0;
            app.give("password", if wrong { secret.secret() } else { password });
            let done = app.run(&mut app.command(library, &["--password", "password"], &["exec=exit 6"]));
            let outcome = if wrong { "failure" } else { "success" };
            assert_eq!(done.one("connect")["outcome"], outcome, "{library:?}: {done:?}");
            attempts += 1;
        }
        with_passphrase(&lab, &app, library, &secret);
    }
    let recorded = format!("/bin/true {}", plain.secret());
    let done =
        app.run(&mut app.command(Library::ParamikoNewest, &["--key", "ed25519"], &[&format!("exec={recorded}")]));
    assert_eq!(done.one("exec")["status"], 0);
    trace.until("the last command", |r| r.is("ssh-command-ended") && r.text("ssh.command.line") == recorded);

    let daemon = memory(trace.pid(), |_| true);
    assert!(plain.is_in(&daemon), "the search does not find what is there");
    let found = secret.is_in(&daemon);
    let (records, log) = trace.stop();
    records.assert_nothing_lost();
    let (written, recorded) = (fs::read(folder.join("trace.json")).unwrap(), fs::read(&recording).unwrap());
    for (what, bytes) in [("records", &written), ("recording", &recorded)] {
        assert!(plain.is_in(bytes), "the search does not find what is in the {what}");
        assert!(!secret.is_in(bytes), "a secret is in the {what}");
    }
    assert!(!secret.is_in(log.as_bytes()), "a secret is in the log");
    assert!(!found, "a secret is in the daemon's memory");
    // They were looked at, not missed.
    for (who, side) in [("server", records.of_server(lab.sshd.port)), ("client", records.of_clients(lab.sshd.port))] {
        assert_eq!(side.count("ssh-connection"), attempts + Library::ALL.len() + 1, "connections of the {who}");
        let seen = side.of("ssh-authentication").filter(|r| r.text("ssh.auth.method") == "password").count();
        assert_eq!(seen, attempts, "attempts of the {who}");
    }
    assert_replays(&recording, &records);
    println!("{attempts} passwords, {} MiB of memory searched", daemon.len() >> 20);
}

/// What was read beside the stream (known hosts, names) is in the recording: it replays into the same records.
fn assert_replays(recording: &Path, records: &Records) {
    let replayed = running::succeed(sensor::command(&["replay", "--all", "--format", "json"]).arg(recording));
    let replayed = Records::parse(&replayed.stdout);
    let plain = |record: &Record| {
        let mut value = record.0.clone();
        value["event"].as_object_mut().unwrap().remove("id").unwrap();
        // What became of the records is the writer's account, and a replay has another writer.
        value["sensor"].as_object_mut().unwrap().remove("records");
        value
    };
    assert_eq!(replayed.len(), records.len());
    for (replayed, record) in replayed.iter().zip(records.iter()) {
        assert_eq!(plain(replayed), plain(record));
    }
    let known = records.of("ssh-host-key").filter(|record| record.text("ssh.host_key.status") == "known").count();
    assert!(known > 0, "no host key was recorded with what the files say");
}

/// A key with a passphrase, the contents of a file, and a line typed into a terminal.
fn with_passphrase(lab: &Lab, app: &App, library: Library, secret: &Mark) {
    let passphrase = secret.secret();
    let key = app.give("locked", fs::read(lab.key("ed25519")).unwrap());
    // Through standard input it would want a terminal; this process is not one whose arguments anybody records.
    let askpass = app.give("askpass", "#!/bin/sh\ncat \"$SENSOR_TEST_ANSWER\"\n");
    running::succeed(Command::new("chmod").arg("755").arg(&askpass));
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-p", "-f"]).arg(&key).env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force");
    running::succeed(keygen.env("SENSOR_TEST_ANSWER", app.give("passphrase", &passphrase)).env("DISPLAY", "none"));
    app.give("locked", fs::read(&key).unwrap());
    app.give("contents", (0..2000).map(|_| secret.secret() + "\n").collect::<String>());
    app.give("typed", format!(": {}; exit 4", secret.secret()));
    let sftp = format!("sftp={}:/tmp/sensor-test-contents", app.home("contents").display());
    let shell = format!("shell=@{}", app.home("typed").display());
    let options = ["--key", "locked", "--passphrase", "passphrase"];
    let done = app.run(&mut app.command(library, &options, &[&sftp, &shell]));
    assert_eq!((&done.one("sftp")["same"], &done.one("shell")["status"]), (&true.into(), &4.into()), "{library:?}");
}
