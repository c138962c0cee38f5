//! Paramiko and Net::SSH, every way to use them against a real sshd: what the records of both ends say against what the
//! programs, their libraries' debug logs and sshd's log say.
//!
//! A client's connection is found by its process and port, and from there the server's by `ssh.connection.id`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod checks;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    thread,
};

use sensor_tests::{
    Folder, Machine, Running, Sensor,
    clients::{App, Done, Library, other_python},
    lab::Lab,
    wait,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Password,
    WrongPassword,
    Key,
    WrongKey,
    Agent,
    UnknownHost,
    UnknownHostAdded,
    UnknownHostIgnored,
    ChangedHost,
    Commands,
    Shell,
    Files,
    Direct,
    Jump,
    Reverse,
    Vanish,
    RefusedPort,
}

const CASES: &[Case] = &[
    Case::Password,
    Case::WrongPassword,
    Case::Key,
    Case::WrongKey,
    Case::Agent,
    Case::UnknownHost,
    Case::UnknownHostAdded,
    Case::UnknownHostIgnored,
    Case::ChangedHost,
    Case::Commands,
    Case::Shell,
    Case::Files,
    Case::Direct,
    Case::Jump,
    Case::Reverse,
    Case::Vanish,
    Case::RefusedPort,
];

impl Case {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Password => &["--password", "password"],
            Self::WrongPassword => &["--password", "wrong"],
            Self::WrongKey => &["--key", "stranger"],
            Self::Agent => &["--agent"],
            Self::UnknownHostAdded => &["--key", "ed25519", "--policy", "auto"],
            Self::UnknownHostIgnored => &["--key", "ed25519", "--policy", "warn"],
            _ => &["--key", "ed25519"],
        }
    }

    /// Is there a login?
    fn succeeds(self) -> bool {
        !matches!(self, Self::WrongPassword | Self::WrongKey | Self::UnknownHost | Self::ChangedHost)
    }

    fn knows_host(self) -> bool {
        !matches!(self, Self::UnknownHost | Self::UnknownHostAdded | Self::UnknownHostIgnored | Self::ChangedHost)
    }
}

struct Run {
    library: Library,
    case: Case,
    done: Done,
}

struct Stage {
    lab: Lab,
    app: App,
    folder: Folder,
    /// Where a forwarded connection comes to.
    echo: u16,
    /// Where no server listens.
    nobody: u16,
}

impl Stage {
    fn acts(&self, case: Case, jump: bool) -> Vec<String> {
        let text = |acts: &[&str]| acts.iter().map(|act| (*act).to_owned()).collect();
        match case {
            Case::Commands => text(&["exec=echo one; exit 3", "exec=/bin/true two", "exec=exit 5"]),
            Case::Shell => text(&["shell=exit 4"]),
            Case::Files => vec![format!("sftp={}:/tmp/sensor-test-sftp", self.app.home("file").display())],
            Case::Direct => {
                vec![format!("direct=127.0.0.1:{}", self.echo), format!("direct=127.0.0.1:{}", self.nobody)]
            }
            Case::Jump if jump => text(&["jump=echo inner; exit 6"]),
            Case::Reverse => text(&["reverse"]),
            Case::Vanish => text(&["start=echo begun; sleep 20", "vanish"]),
            Case::RefusedPort => vec![format!("again={}", self.nobody)],
            _ => text(&["exec=exit 7"]),
        }
    }

    fn run(&self, sensor: &Sensor, library: Library, case: Case) -> Run {
        match case {
            Case::ChangedHost => {
                let other = fs::read_to_string(self.lab.key("ca").with_extension("pub")).unwrap();
                self.app.known_hosts(&format!("[127.0.0.1]:{} {other}", self.lab.sshd.port));
            }
            _ if case.knows_host() => self.app.knows(&self.lab),
            _ => self.app.known_hosts("# nobody\n"),
        }
        let acts = self.acts(case, true);
        let acts: Vec<&str> = acts.iter().map(String::as_str).collect();
        let mut options = case.options().to_vec();
        if case == Case::Jump && !library.is_python() {
            options.extend(["--jump", "jump.conf"]);
        }
        let mut command = self.app.command(library, &options, &acts);
        let socket = self.app.home("agent");
        let _agent = (case == Case::Agent).then(|| self.agent(&socket));
        let done = self.app.run(command.env("SSH_AUTH_SOCK", &socket));
        assert_eq!(done.ended.code(), if case == Case::Vanish { 9 } else { 0 }, "{library:?} {case:?}: {done:?}");
        // Its known_hosts are read beside the stream: the next case must not change them before.
        let (action, pid) = ("\"action\":\"ssh-host-key\"", format!("\"pid\":{},", done.pid));
        wait::until("the host key's record", || {
            let written = fs::read_to_string(sensor.path()).unwrap();
            written.lines().any(|line| line.contains(action) && line.contains(&pid)).then_some(())
        });
        Run { library, case, done }
    }

    /// The application's own agent, with its key.
    fn agent(&self, socket: &std::path::Path) -> Running {
        let _ = fs::remove_file(socket);
        let mut agent = Command::new("setpriv");
        agent.arg(format!("--reuid={}", self.app.account.name)).args(["--clear-groups", "ssh-agent", "-D", "-a"]);
        let agent = Running::start(agent.arg(socket).stdout(Stdio::null()));
        wait::until("the agent", || socket.exists().then_some(()));
        let mut add = Command::new("setpriv");
        add.arg(format!("--reuid={}", self.app.account.name)).args(["--clear-groups", "ssh-add", "-q"]);
        sensor_tests::running::succeed(add.arg(self.app.home("ed25519")).env("SSH_AUTH_SOCK", socket));
        agent
    }
}

/// Sends back what it gets.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            let mut bytes = [0; 5];
            if peer.read_exact(&mut bytes).is_ok() {
                let _ = peer.write_all(&bytes);
            }
        }
    });
    port
}

#[test]
fn every_client_and_case_is_told_as_it_was_by_both_ends() {
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-matrix");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &Library::ALL);
    let mut sensor = Sensor::run(&folder, "");
    app.give("file", vec![7u8; 300_000]);
    app.give(
        "jump.conf",
        format!(
            "Host jump\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  BatchMode yes\n",
            lab.sshd.port,
            lab.one.name,
            app.home("ed25519").display()
        ),
    );
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let stage = Stage { lab, app, folder, echo: echo(), nobody };
    let mut runs = Vec::new();
    for library in Library::ALL {
        for case in CASES {
            runs.push(stage.run(&sensor, library, *case));
        }
    }
    let inner = runs.iter().filter(|run| run.case == Case::Jump).count();
    // Net::SSH jumps through an ssh of its own.
    let logins = runs.iter().filter(|run| run.case.succeeds()).count() + inner + 1;
    sensor.until_sessions_end(stage.lab.sshd.port, logins);
    let records = sensor.stop();
    records.assert_nothing_lost();
    for run in &runs {
        checks::check(&stage, run, &records);
    }
    // Nothing was invented: a connection for each run, one more for what is inside a jump, and the one through which
    // Net::SSH has ssh jump.
    let connections = records.of_server(stage.lab.sshd.port).count("ssh-connection");
    assert_eq!(connections, runs.len() + inner + 1);
    println!("{} runs, {logins} logins, {} records", runs.len(), records.len());
}

#[test]
fn another_python_is_no_different() {
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-python");
    let Some(python) = other_python(&folder) else {
        println!("PATH has no other CPython than the distribution's");
        return;
    };
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[]);
    let mut sensor = Sensor::run(&folder, "");
    let done = app.run(&mut app.program(&python, true, &["--key", "ed25519", "--policy", "auto"], &["exec=exit 7"]));
    assert_eq!(done.one("exec")["status"], 7, "{done:?}");
    sensor.until_sessions_end(lab.sshd.port, 1);
    let records = sensor.stop();
    records.assert_nothing_lost();
    let (server, client) = (records.of_server(lab.sshd.port), records.of_clients(lab.sshd.port));
    let own = client.one("ssh-connection", |record| record.pid() == done.pid);
    assert_eq!(own.text("ssh.capture"), "full");
    let far = server.one("ssh-connection", |_| true);
    assert_eq!(own.text("ssh.connection.id"), far.text("ssh.connection.id"));
    let ended = client.one("ssh-command-ended", |_| true);
    assert_eq!((ended.text("ssh.command.line"), ended.number("ssh.command.exit_status")), ("exit 7", Some(7)));
    println!("{}: {}", python.display(), own.text("process.executable"));
}
