//! Sessions without the audit log as a witness: what must hold on every kernel, also in an emulated guest. `cargo xtask
//! vm` runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::thread;

use rustix::process::Signal;
use sensor_tests::{Record, Stage, lab::fingerprint, running, terminal::Terminal, wait};

#[test]
fn a_session_has_its_commands_and_its_survivors() {
    let mut stage = Stage::new("vm-command", "");
    let file = stage.folder.open_to_all("out").join("file");
    let job = format!("nohup setsid sh -c 'sleep 1; touch {}' >/dev/null 2>&1 </dev/null &", file.display());
    assert_eq!(stage.session(&format!("id; {job} exit 3")).code(), 3);
    wait::until("the file of the survivor", || file.exists().then_some(()));
    stage.until("the end of touch", |r| r.is("process-ended") && r.text("process.name") == "touch");

    let records = stage.records();
    records.assert_nothing_lost();
    let session = records.session_of(&["id"]);
    let touch = session.exec(&["touch", &file.display().to_string()]);
    assert_eq!(touch.text("user.name"), "sensor-test");
    assert_eq!(touch.text("process.executable"), "/usr/bin/touch");
    let start = session.one("ssh-session-started", |_| true);
    assert_eq!(start.text("destination.user.name"), "sensor-test");
    assert_eq!(start.text("source.ip"), "127.0.0.1");
    let end = session.one("ssh-session-ended", |_| true);
    assert_eq!(end.number("ssh.session.commands"), Some(1));
    assert!(end.number("ssh.session.bytes_in").is_some_and(|bytes| bytes > 1000), "{end:?}");
    let shell = session.one("process-ended", |r| r.number("process.exit_code") == Some(3));
    assert_eq!(shell.text("process.name"), "bash");
}

#[test]
fn a_login_is_read_in_clear_on_both_ends() {
    let mut stage = Stage::new("vm-clear", "");
    // One of each way in which OpenSSH calls the cipher function.
    let ciphers = ["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes128-ctr"];
    for (n, cipher) in ciphers.iter().enumerate() {
        let mut ssh = stage.ssh(&["-c", cipher, "-m", "hmac-sha2-256"]);
        assert_eq!(running::finish(ssh.arg(format!("/bin/true clear-{n}; exit {}", n + 5))).code(), n as i32 + 5);
    }
    stage.until_sessions_end(ciphers.len());
    let port = stage.sshd.port;
    let ended = || stage.sensor.records().of_clients(port).count("ssh-session-ended") == ciphers.len();
    wait::until("the ends of the clients", || ended().then_some(()));

    let (key, host_key) = ["user_key.pub", "host_key.pub"].map(|name| fingerprint(&stage.sshd.file(name))).into();
    let records = stage.sensor.stop();
    records.assert_nothing_lost();
    for (n, cipher) in ciphers.iter().enumerate() {
        let line = format!("/bin/true clear-{n}; exit {}", n + 5);
        let of_role = |role| {
            let is = |r: &Record| r.text("ssh.command.line") == line && r.text("ssh.role") == role;
            let ended = records.one("ssh-command-ended", is);
            assert_eq!(ended.number("ssh.command.exit_status"), Some(n as u64 + 5), "{cipher} {role}");
            records.session(ended.session())
        };
        let ends = ["client", "server"].map(of_role);
        for end in &ends {
            let connection = end.one("ssh-connection", |_| true);
            assert_eq!(connection.text("ssh.capture"), "full");
            assert_eq!(connection.text("ssh.cipher.client_to_server"), *cipher);
            assert_eq!(connection.text("ssh.host_key.fingerprint"), host_key);
            let login = end.one("ssh-authentication", |r| r.text("event.outcome") == "success");
            assert_eq!(login.text("ssh.auth.method"), "publickey");
            assert_eq!(login.text("ssh.auth.key.fingerprint"), key);
            assert_eq!(login.text("destination.user.name"), "sensor-test");
            for action in ["ssh-session-started", "ssh-command-started", "ssh-session-ended"] {
                assert_eq!(end.count(action), 1, "{cipher} {action}");
            }
        }
        let [client, server] = ends.map(|end| end.one("ssh-connection", |_| true).text("ssh.connection.id").to_owned());
        assert!(client.len() == 32 && client == server, "{client} {server}");
        let process = records.exec(&["/bin/true", &format!("clear-{n}")]);
        assert!(!process.text("ssh.command.id").is_empty(), "the process is the command's");
    }
}

#[test]
fn ten_sessions_at_once_are_kept_apart() {
    let mut stage = Stage::new("vm-ten", "");
    thread::scope(|scope| {
        for n in 0..10 {
            let (sshd, user) = (&stage.sshd, &stage.account.name);
            scope.spawn(move || {
                let ended = sshd.session(user, &format!("/bin/true first-{n}; /bin/true second-{n}; exit {n}"));
                assert_eq!(ended.code(), n);
            });
        }
    });
    stage.until_sessions_end(10);

    let records = stage.records();
    records.assert_nothing_lost();
    assert_eq!(records.count("ssh-session-started"), 10);
    assert_eq!(records.count("ssh-session-ended"), 10);
    for n in 0..10 {
        let session = records.session_of(&["/bin/true", &format!("first-{n}")]);
        session.exec(&["/bin/true", &format!("second-{n}")]);
        assert_eq!(session.of("process-started").filter(|r| r.text("process.name") == "true").count(), 2);
        session.one("process-ended", |r| r.text("process.name") == "bash" && r.number("process.exit_code") == Some(n));
    }
}

#[test]
fn a_terminal_is_a_session() {
    let mut stage = Stage::new("vm-terminal", "");
    let mut terminal = Terminal::open(&mut stage.ssh(&["-tt"]));
    terminal.run("/bin/true in-a-terminal");
    assert_eq!(terminal.leave("exit 4").code(), Some(4));
    stage.until_sessions_end(1);

    let records = stage.records();
    records.assert_nothing_lost();
    records.session_of(&["/bin/true", "in-a-terminal"]).one("ssh-session-ended", |_| true);
}

#[test]
fn a_ring_that_is_too_small_loses_by_numbers() {
    let mut stage = Stage::new("vm-small-ring", "[kernel]\nring_bytes = 4096\n");
    // Stopped, it cannot keep up.
    stage.sensor.signal(Signal::STOP);
    assert_eq!(stage.session("for n in $(seq 100); do /bin/true $n; done").code(), 0);
    stage.sensor.signal(Signal::CONT);

    let records = stage.sensor.stop();
    let stopped = records.one("sensor-stopped", |_| true);
    let programs = stopped.get("sensor.programs").and_then(|value| value.as_array()).unwrap();
    let mut lost = 0;
    for program in programs {
        let count = |name: &str| program[name].as_u64().unwrap();
        assert_eq!(count("seen"), count("sent") + count("lost"), "{program}");
        lost += count("lost");
    }
    let recorded: u64 = records.of("sensor-events-lost").filter_map(|r| r.number("sensor.lost.count")).sum();
    assert!(lost >= 100, "a ring of one page holds two execs");
    assert_eq!(recorded, lost);
}
