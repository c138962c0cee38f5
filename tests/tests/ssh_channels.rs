//! What happens on a connection after the login: commands, terminals, file transfers, forwardings, rekeying,
//! compression; by real ssh, on both ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
};

use sensor_tests::{Folder, Machine, Record, Records, Running, Sensor, lab::Lab, running, wait};

/// A lab, a sensor, and the records of both ends when it is over.
struct Test {
    lab: Lab,
    sensor: Sensor,
    folder: Folder,
    _machine: Machine,
}

impl Test {
    fn new(name: &str) -> Self {
        Self::with(name, "")
    }

    fn with(name: &str, config: &str) -> Self {
        let machine = Machine::take();
        let folder = Folder::new(name);
        let lab = Lab::start(&folder);
        let sensor = Sensor::run(&folder, config);
        Self { lab, sensor, folder, _machine: machine }
    }

    fn ssh(&self, options: &[&str]) -> Command {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        self.lab.ssh(&self.lab.one.name, "ed25519", true, &options)
    }

    /// An option by which ssh speaks over two pipes, and another ssh over the connection.
    fn jump(&self) -> String {
        let (config, key) = (self.lab.sshd.file("ssh_config"), self.lab.key("rsa"));
        format!("ProxyCommand=ssh -F {} -i {} -W %h:%p {}@test", config.display(), key.display(), self.lab.one.name)
    }

    /// (the server's, the client's)
    fn records(&mut self, sessions: usize) -> (Records, Records) {
        self.sensor.until_sessions_end(self.lab.sshd.port, sessions);
        let records = self.sensor.stop();
        records.assert_nothing_lost();
        (records.of_server(self.lab.sshd.port), records.of_clients(self.lab.sshd.port))
    }
}

fn command<'a>(records: &'a Records, line: &str) -> &'a Record {
    records.one("ssh-command-ended", |record| record.text("ssh.command.line") == line)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn commands_have_their_line_status_and_processes() {
    let mut test = Test::new("channels-commands");
    assert_eq!(running::finish(test.ssh(&[]).arg("/bin/true first; exit 3")).code(), 3);
    assert_eq!(running::finish(test.ssh(&[]).arg("kill -TERM $$")).code(), 255);
    assert_eq!(running::finish(test.ssh(&["-tt"]).arg("exit 5")).code(), 5);
    // Longer than what is recorded of it, and than what a packet's record holds.
    let long = format!("/bin/true {}", "x".repeat(100 << 10));
    assert_eq!(running::finish(test.ssh(&[]).arg(&long)).code(), 0);
    let (server, client) = test.records(4);
    for records in [&server, &client] {
        let first = command(records, "/bin/true first; exit 3");
        assert_eq!(first.number("ssh.command.exit_status"), Some(3));
        assert_eq!((first.text("event.outcome"), first.text("ssh.command.kind")), ("failure", "exec"));
        assert_eq!(first.get("ssh.command.pty").unwrap(), false);
        assert_eq!(command(records, "kill -TERM $$").text("ssh.command.exit_signal"), "TERM");
        assert_eq!(command(records, "exit 5").get("ssh.command.pty").unwrap(), true);
        let cut = records.one("ssh-command-started", |r| r.text("ssh.command.line").starts_with("/bin/true xxx"));
        assert_eq!(cut.text("ssh.command.line"), &long[..4096]);
        assert_eq!(cut.list("sensor.truncated"), ["ssh.command.line"]);
    }
    // On the server the processes are known.
    let first = command(&server, "/bin/true first; exit 3");
    let process = server.exec(&["/bin/true", "first"]);
    assert_eq!(process.text("ssh.command.id"), first.text("ssh.command.id"));
    assert_eq!(process.session(), first.session());
    let shell = server.one("process-started", |r| r.list("process.args").contains(&"/bin/true first; exit 3"));
    assert_eq!(shell.text("process.entity_id"), first.text("process.entity_id"), "the command's first process");
}

#[test]
fn commands_bear_the_labels_of_the_patterns_that_they_match() {
    let mut test = Test::with("channels-labels", "[commands]\ndeploy = ['^/bin/true deploy', 'unused']\n");
    for (line, code) in [("sudo -n -k; exit 3", 3), ("/bin/true deploy; rm -rf /nothing/x", 0), ("/bin/true x", 0)] {
        assert_eq!(running::finish(test.ssh(&[]).arg(line)).code(), code, "{line}");
    }
    let (server, client) = test.records(3);
    for records in [&server, &client] {
        for (line, labels) in [
            ("sudo -n -k; exit 3", &["sensitive"][..]),
            ("/bin/true deploy; rm -rf /nothing/x", &["deploy", "sensitive"]),
            ("/bin/true x", &[]),
        ] {
            for action in ["ssh-command-started", "ssh-command-ended"] {
                let recorded = records.one(action, |record| record.text("ssh.command.line") == line);
                assert_eq!(recorded.list("ssh.command.labels"), labels, "{line}");
            }
        }
    }
}

#[test]
fn files_move_by_subsystem_and_by_command() {
    let mut test = Test::new("channels-files");
    let file = test.folder.write("file", vec![7u8; 300_000]);
    let key = test.lab.key("ed25519");
    let name = &test.lab.one.name;
    let to = format!("{name}@test:/tmp/sensor-test-{}", std::process::id());
    for old in [false, true] {
        let mut scp = test.lab.sshd.program("scp");
        if old {
            scp.arg("-O");
        }
        running::succeed(scp.arg("-i").arg(&key).arg(&file).arg(&to));
    }
    let _ = std::fs::remove_file(to.split_once(':').unwrap().1);
    let (server, client) = test.records(2);
    for records in [&server, &client] {
        let sftp = records.one("ssh-command-ended", |r| r.text("ssh.command.kind") == "subsystem");
        assert_eq!(sftp.text("ssh.command.line"), "sftp");
        let scp = records.one("ssh-command-ended", |r| r.text("ssh.command.line").starts_with("scp -t"));
        assert_eq!(scp.text("event.outcome"), "success");
        for closed in records.of("ssh-channel-closed") {
            let way =
                if closed.text("ssh.role") == "server" { "ssh.channel.bytes_in" } else { "ssh.channel.bytes_out" };
            let bytes = closed.number(way).unwrap();
            assert!((300_000..320_000).contains(&bytes), "{bytes} bytes of a file of 300,000");
        }
    }
}

#[test]
fn forwardings_are_told_with_their_ends() {
    let mut test = Test::new("channels-forward");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = target.local_addr().unwrap();
    let (local, remote) = (free_port(), free_port());
    let (left, right) = (format!("127.0.0.1:{local}:{to}"), format!("127.0.0.1:{remote}:{to}"));
    let mut client = Running::start(&mut test.ssh(&["-N", "-A", "-L", &left, "-R", &right]));
    for port in [local, remote] {
        let mut through = wait::until("the forwarded port", || TcpStream::connect(("127.0.0.1", port)).ok());
        let (mut accepted, _) = target.accept().unwrap();
        through.write_all(b"12345").unwrap();
        let mut bytes = [0; 5];
        accepted.read_exact(&mut bytes).unwrap();
        drop(accepted);
        let mut rest = Vec::new();
        through.read_to_end(&mut rest).unwrap();
    }
    // The goodbye of a channel must reach the client before it is ended.
    wait::until("the ends of two channels at both ends", || {
        (test.sensor.records().count("ssh-channel-closed") == 4).then_some(())
    });
    client.signal(rustix::process::Signal::TERM);
    client.wait();
    // To a port where no server listens, through -W.
    let nobody = free_port();
    let refused = running::finish(&mut test.ssh(&["-W", &format!("127.0.0.1:{nobody}")]));
    assert_ne!(refused.code(), 0);
    let (server, client) = test.records(2);
    for records in [&server, &client] {
        for kind in ["direct-tcpip", "forwarded-tcpip"] {
            let open = |r: &Record| r.text("ssh.channel.type") == kind && r.text("event.outcome") == "success";
            let opened = records.one("ssh-channel-opened", open);
            let port = if kind == "direct-tcpip" { to.port() } else { remote };
            assert_eq!(opened.number("ssh.channel.destination.port"), Some(port.into()), "{kind}");
            let closed = records.one("ssh-channel-closed", |r| r.text("ssh.channel.type") == kind);
            let bytes = [closed.number("ssh.channel.bytes_in"), closed.number("ssh.channel.bytes_out")];
            assert!(bytes.contains(&Some(5)) && bytes.contains(&Some(0)), "{kind}: {bytes:?}");
        }
        let asked = records.one("ssh-forward-requested", |r| r.text("ssh.forward.type") == "tcpip-forward");
        assert_eq!(asked.text("event.outcome"), "success");
        assert_eq!(asked.number("ssh.forward.bind_port"), Some(remote.into()));
        let refused = records.one("ssh-channel-opened", |r| r.text("event.outcome") == "failure");
        assert_eq!(refused.text("ssh.channel.reason"), "connect_failed");
        assert_eq!(refused.number("ssh.channel.destination.port"), Some(nobody.into()));
    }
}

#[test]
fn a_connection_that_breaks_off_has_the_bytes_of_its_channels() {
    let mut test = Test::new("channels-killed");
    // Over a socket, and over pipes.
    let jump = test.jump();
    for options in [&[][..], &["-o", &jump]] {
        let mut ssh = test.ssh(options);
        let mut client = Running::start(
            ssh.arg("head -c 1000000 >/dev/null; echo ready; exec sleep 60")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let mut input = client.child().stdin.take().unwrap();
        input.write_all(&vec![b'x'; 1_000_000]).unwrap();
        let mut ready = [0; 6];
        client.child().stdout.take().unwrap().read_exact(&mut ready).unwrap();
        client.signal(rustix::process::Signal::KILL);
        client.wait();
    }
    test.sensor.until_sessions_end(test.lab.sshd.port, 3);
    test.sensor.until("the end over pipes", |r| {
        r.is("ssh-session-ended") && r.text("ssh.role") == "client" && r.get("source").is_none()
    });
    let records = test.sensor.stop();
    records.assert_nothing_lost();
    let session = |r: &&Record| r.text("ssh.channel.type") == "session";
    let closed: Vec<_> = records.of("ssh-channel-closed").filter(session).collect();
    assert_eq!(closed.len(), 4, "both ends of both");
    for record in closed {
        let bytes = ["ssh.channel.bytes_in", "ssh.channel.bytes_out"].map(|name| record.number(name));
        let expected = if record.text("ssh.role") == "server" { [1_000_000, 6] } else { [6, 1_000_000] };
        assert_eq!(bytes, expected.map(Some), "{record:?}");
    }
}

#[test]
fn an_agent_is_asked_for_and_a_shared_connection_has_many_commands() {
    let mut test = Test::new("channels-shared");
    let control = test.folder.join("control").display().to_string();
    let path = format!("ControlPath={control}");
    let mut agent = Command::new("ssh-agent");
    let socket = test.folder.join("agent");
    let _agent = Running::start(agent.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()));
    wait::until("the agent", || socket.exists().then_some(()));
    let mut master = test.ssh(&["-M", "-N", "-A", "-o", &path]);
    let mut master = Running::start(master.env("SSH_AUTH_SOCK", &socket));
    wait::until("the shared connection", || std::path::Path::new(&control).exists().then_some(()));
    for n in 0..3 {
        let mut one = test.ssh(&["-A", "-o", &path]);
        assert_eq!(running::finish(one.env("SSH_AUTH_SOCK", &socket).arg(format!("exit {n}"))).code(), n);
    }
    master.signal(rustix::process::Signal::TERM);
    master.wait();
    let (server, client) = test.records(1);
    for records in [&server, &client] {
        assert_eq!(records.count("ssh-connection"), 1);
        for n in 0..3u64 {
            assert_eq!(command(records, &format!("exit {n}")).number("ssh.command.exit_status"), Some(n));
        }
        let end = records.one("ssh-session-ended", |_| true);
        assert_eq!(end.number("ssh.session.commands"), Some(3));
        let agents = records.of("ssh-forward-requested").filter(|r| r.text("ssh.forward.type") == "agent").count();
        assert!(agents >= 1, "agent forwarding was asked for");
    }
}

#[test]
fn rekeying_does_not_interrupt_what_is_told() {
    let mut test = Test::new("channels-rekey");
    for cipher in ["chacha20-poly1305@openssh.com", "aes128-ctr", "aes256-gcm@openssh.com"] {
        let mut ssh = test.ssh(&["-c", cipher, "-o", "RekeyLimit=1M"]);
        let mut client = Running::start(ssh.arg("cat | wc -c; exit 9").stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut input = client.child().stdin.take().unwrap();
        let writer = thread::spawn(move || input.write_all(&vec![b'x'; 6 << 20]).unwrap());
        assert_eq!(client.wait().code(), Some(9), "{cipher}");
        writer.join().unwrap();
    }
    let (server, client) = test.records(3);
    for (records, way) in [(&server, "ssh.channel.bytes_in"), (&client, "ssh.channel.bytes_out")] {
        let ended: Vec<_> = records.of("ssh-command-ended").collect();
        assert_eq!(ended.len(), 3);
        assert!(ended.iter().all(|record| record.number("ssh.command.exit_status") == Some(9)));
        for closed in records.of("ssh-channel-closed") {
            assert_eq!(closed.number(way), Some(6 << 20));
        }
    }
}

#[test]
fn compression_is_said_and_nothing_is_invented_after_it() {
    let mut test = Test::new("channels-compression");
    running::succeed(test.ssh(&["-C"]).arg("head -c 300000 /dev/urandom | base64 | tee /dev/null"));
    let (server, client) = test.records(1);
    for records in [&server, &client] {
        let connection = records.one("ssh-connection", |_| true);
        assert_eq!(connection.text("ssh.compression.client_to_server"), "zlib@openssh.com");
        let success = records.one("ssh-authentication", |r| r.text("event.outcome") == "success");
        assert_eq!(success.text("ssh.auth.method"), "publickey");
        for action in ["ssh-channel-opened", "ssh-command-started", "ssh-forward-requested", "ssh-protocol-error"] {
            assert_eq!(records.count(action), 0, "{action} out of compressed bytes");
        }
        assert_eq!(records.count("ssh-session-ended"), 1);
    }
    // What the processes show is seen all the same.
    assert_eq!(server.one("ssh-session-ended", |_| true).text("ssh.capture"), "full");
}

#[test]
fn a_jump_is_three_connections_of_which_the_inner_one_is_told_by_both_ends() {
    let mut test = Test::new("channels-jump");
    let jump = test.jump();
    assert_eq!(running::finish(test.ssh(&["-o", &jump]).arg("/bin/true inner; exit 4")).code(), 4);
    test.sensor.until_sessions_end(test.lab.sshd.port, 2);
    let records = test.sensor.stop();
    records.assert_nothing_lost();
    let ended: Vec<_> =
        records.of("ssh-command-ended").filter(|r| r.text("ssh.command.line").contains("inner")).collect();
    let roles: Vec<&str> = ended.iter().map(|record| record.text("ssh.role")).collect();
    assert!(ended.len() == 2 && roles.contains(&"client") && roles.contains(&"server"), "{roles:?}");
    assert!(ended.iter().all(|record| record.number("ssh.command.exit_status") == Some(4)));
    // The client that speaks over pipes has no addresses; it has its process, its user and its authentication.
    let piped = ended.iter().find(|record| record.text("ssh.role") == "client").unwrap();
    assert_eq!(piped.get("source"), None);
    let session = piped.session();
    let login = records.one("ssh-authentication", |r| r.session() == session && r.text("event.outcome") == "success");
    assert_eq!(login.text("ssh.auth.key.fingerprint"), test.lab.fingerprint("ed25519"));
    assert_eq!(records.session(session).count("ssh-session-ended"), 1);
}
