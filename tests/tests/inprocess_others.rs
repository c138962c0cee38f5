//! How far every other implementation is read: the rows of the table in `sensor/docs/coverage.md`, each a real program
//! against a real sshd.
//!
//! `Full`: the login with its key, the command with line and exit status, the end. `Handshake`: what is in clear, whose
//! it is, and the end; and nothing that could only have been guessed. A connection is found by the one that the server
//! has meanwhile: clients fork (Ansible), and some have no log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::HashSet,
    fs,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sensor_tests::{
    Folder, Machine, Record, Records, Running, Sensor,
    clients::{App, python_with},
    lab::{self, Lab},
    running, wait,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Far {
    Full,
    /// The login; then it compresses.
    Login,
    Handshake,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// `exit 7`, with a mark.
    Command,
    Sftp,
    /// A file through scp.
    Scp,
}

struct Row {
    name: &'static str,
    /// How its identification begins.
    software: &'static str,
    process: &'static str,
    asks: Asks,
    far: Far,
    command: Box<Client>,
}

/// Its program, with the line that it is to run.
type Client = dyn Fn(&Stage, &str) -> Command;

struct Stage {
    lab: Lab,
    app: App,
    folder: Folder,
    /// With the wheels of the others.
    python: PathBuf,
}

const WHEELS: &[&str] =
    &["ssh2-python", "ssh-python", "ansible-pylibssh", "fabric", "paramiko", "ansible-core>=2.14,<2.20"];
const CHACHA: &str = "chacha20-poly1305@openssh.com";
const GCM: &str = "aes256-gcm@openssh.com";
const CTR: &str = "aes256-ctr";

impl Stage {
    fn key(&self) -> PathBuf {
        self.app.home("ed25519")
    }

    fn script(&self, python: &Path, library: &str, line: &str, options: &[&str]) -> Command {
        let mut command = Command::new(python);
        command.arg(self.folder.join("ssh_clients.py")).arg(library);
        command.args(["--user", &self.lab.one.name, "--port", &self.lab.sshd.port.to_string(), "--command", line]);
        command.arg("--key").arg(self.key()).args(options);
        command
    }

    fn curl(&self, scheme: &str, path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--insecure", "--user", &format!("{}:", self.lab.one.name)]);
        command.arg("--key").arg(self.key());
        command.arg(format!("{scheme}://127.0.0.1:{}{path}", self.lab.sshd.port));
        command
    }

    /// The key in the form that another implementation reads.
    fn converted(&self, name: &str, convert: &mut Command) -> PathBuf {
        let path = self.app.home(name);
        if !path.exists() {
            running::succeed(convert.arg(&path));
            chown(&path, Some(self.app.account.uid), None).unwrap();
        }
        path
    }
}

/// Through `fixtures/ssh_clients.py`.
fn python(
    name: &'static str,
    software: &'static str,
    own: bool,
    library: &'static str,
    options: &'static [&'static str],
    far: Far,
) -> Row {
    let command = move |stage: &Stage, line: &str| {
        let python = if own { &stage.python } else { Path::new("/usr/bin/python3") };
        stage.script(python, library, line, options)
    };
    Row { name, software, process: "python3", asks: Asks::Command, far, command: Box::new(command) }
}

fn rows() -> Vec<Row> {
    let curl = |name, scheme: &'static str, asks| Row {
        name,
        software: "libssh2_",
        process: "curl",
        asks,
        far: Far::Full,
        command: Box::new(move |stage, _| stage.curl(scheme, "/etc/hostname")),
    };
    vec![
        curl("libssh2 (curl), sftp", "sftp", Asks::Sftp),
        curl("libssh2 (curl), scp", "scp", Asks::Scp),
        python("libssh, chacha20-poly1305", "libssh_", false, "libssh", &["--cipher", CHACHA], Far::Full),
        python("libssh, aes-gcm", "libssh_", false, "libssh", &["--cipher", GCM], Far::Full),
        python("libssh, aes-ctr", "libssh_", false, "libssh", &["--cipher", CTR], Far::Full),
        python("ssh2-python", "libssh2_", true, "ssh2_python", &[], Far::Handshake),
        python("ssh2-python, aes-ctr", "libssh2_", true, "ssh2_python", &["--cipher", CTR], Far::Full),
        python("ssh2-python, aes-gcm", "libssh2_", true, "ssh2_python", &["--cipher", GCM], Far::Handshake),
        python("ssh-python", "libssh_", true, "ssh_python", &[], Far::Full),
        python("ssh-python, aes-ctr", "libssh_", true, "ssh_python", &["--cipher", CTR], Far::Full),
        python("pylibssh", "libssh_", true, "pylibssh", &[], Far::Handshake),
        python("asyncssh", "AsyncSSH_", false, "asyncssh", &[], Far::Handshake),
        python("asyncssh, aes-ctr", "AsyncSSH_", false, "asyncssh", &["--cipher", CTR], Far::Login),
        python("asyncssh, aes-ctr, no zlib", "AsyncSSH_", false, "asyncssh", &["--plain", "--cipher", CTR], Far::Full),
        python("asyncssh, aes-gcm, no zlib", "AsyncSSH_", false, "asyncssh", &["--plain", "--cipher", GCM], Far::Full),
        python("Fabric", "paramiko_", true, "fabric", &[], Far::Full),
        Row {
            name: "Ansible's paramiko",
            software: "paramiko_",
            process: "",
            asks: Asks::Command,
            far: Far::Full,
            command: Box::new(|stage, line| {
                let mut command = Command::new(&stage.python);
                command.args([
                    "-m",
                    "ansible.cli.adhoc",
                    "all",
                    "-i",
                    "127.0.0.1,",
                    "-c",
                    "paramiko",
                    "-m",
                    "raw",
                    "-a",
                    line,
                ]);
                command.args(["-e", &format!("ansible_port={}", stage.lab.sshd.port), "-u", &stage.lab.one.name]);
                command.arg("--private-key").arg(stage.key()).env("ANSIBLE_HOST_KEY_CHECKING", "false");
                command
            }),
        },
        Row {
            name: "dropbear",
            software: "dropbear_",
            process: "dbclient",
            asks: Asks::Command,
            far: Far::Handshake,
            command: Box::new(|stage, line| {
                let mut convert = Command::new("dropbearconvert");
                let key = stage.converted("key.dropbear", convert.args(["openssh", "dropbear"]).arg(stage.key()));
                let mut command = Command::new("dbclient");
                command.args(["-y", "-y", "-i"]).arg(key).args(["-p", &stage.lab.sshd.port.to_string()]);
                command.arg(format!("{}@127.0.0.1", stage.lab.one.name)).arg(line);
                command
            }),
        },
        Row {
            name: "PuTTY",
            software: "PuTTY_",
            process: "plink",
            asks: Asks::Command,
            far: Far::Handshake,
            command: Box::new(|stage, line| {
                let mut convert = Command::new("puttygen");
                let key = stage.converted("key.ppk", convert.arg(stage.key()).args(["-O", "private", "-o"]));
                let mut command = Command::new("plink");
                command.args(["-batch", "-P", &stage.lab.sshd.port.to_string(), "-i"]).arg(key);
                command.arg("-hostkey").arg(lab::fingerprint(&stage.lab.sshd.file("host_key.pub")));
                command.arg(format!("{}@127.0.0.1", stage.lab.one.name)).arg(line);
                command
            }),
        },
    ]
}

#[test]
fn each_implementation_is_read_as_far_as_the_table_says() {
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-others");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[]);
    let python = python_with(&folder, "others", WHEELS);
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ssh_clients.py"), folder.join("ssh_clients.py"))
        .unwrap();
    for package in ["curl", "putty-tools plink", "dropbear-bin dbclient"] {
        let program = package.rsplit(' ').next().unwrap();
        assert!(Path::new("/usr/bin").join(program).exists(), "{program} is not here: apt-get install {package}");
    }
    let stage = Stage { lab, app, folder, python };
    let mut sensor = Sensor::run(&stage.folder, "");
    // The first connections of a fresh environment have a test of their own.
    let mut seen = HashSet::new();
    while !wait_warm(&stage, &sensor, &mut seen) {
        assert!(seen.len() < 5, "the wheels' libraries are not probed");
    }
    let mut ran = Vec::new();
    for row in rows() {
        let line = format!("echo {}; exit 7", lab::random());
        run(&stage, &row, &line);
        let id = ended(&stage, &sensor, &mut seen);
        ran.push((row, line, id));
    }
    let records = sensor.stop();
    records.assert_nothing_lost();
    let client = records.of_clients(stage.lab.sshd.port);
    assert_eq!(client.count("ssh-connection"), seen.len());
    for (row, line, id) in &ran {
        let own = Records(client.iter().filter(|record| record.text("ssh.connection.id") == id).cloned().collect());
        let recorded: Vec<&str> = own.iter().map(Record::action).collect();
        println!("{}: {:?}, {recorded:?}", row.name, row.far);
        in_clear(
            &stage,
            row,
            &own,
            records.of_server(stage.lab.sshd.port).one("ssh-connection", |r| r.text("ssh.connection.id") == id),
        );
        in_secret(&stage, row, &own, line);
    }
}

/// The session that has ended since the last one: its connection's id.
fn ended(stage: &Stage, sensor: &Sensor, seen: &mut HashSet<String>) -> String {
    let id = wait::until("the end of its session", || {
        let server = sensor.records().of_server(stage.lab.sshd.port);
        server
            .of("ssh-session-ended")
            .map(|record| record.text("ssh.connection.id").to_owned())
            .find(|id| !seen.contains(id))
    });
    seen.insert(id.clone());
    id
}

/// A connection by the wheels' Python: is it recorded whole?
fn wait_warm(stage: &Stage, sensor: &Sensor, seen: &mut HashSet<String>) -> bool {
    let row = python("warm", "", true, "ssh_python", &[], Far::Full);
    run(stage, &row, "exit 7");
    let id = ended(stage, sensor, seen);
    let own = sensor.until("its records", |r| {
        r.is("ssh-connection") && r.text("ssh.role") == "client" && r.text("ssh.connection.id") == id
    });
    own.text("ssh.capture") == "full"
}

/// Runs a row's program, as the app's user. What it said.
fn run(stage: &Stage, row: &Row, line: &str) {
    let mut command = (row.command)(stage, line);
    let account = &stage.app.account;
    command.uid(account.uid).gid(fs::metadata(&account.home).unwrap().gid());
    command.current_dir("/").env_remove("SSH_AUTH_SOCK").env("HOME", &account.home).stdin(Stdio::null());
    let ended = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())).output();
    println!("{}: {} {:?} {:?}", row.name, ended.status, ended.text(), ended.stderr);
}

/// What every row has: who speaks to whom, and with what.
fn in_clear(stage: &Stage, row: &Row, own: &Records, server: &Record) {
    let (name, connection) = (row.name, own.one("ssh-connection", |_| true));
    let capture = if row.far == Far::Handshake { "handshake" } else { "full" };
    assert_eq!((connection.text("ssh.capture"), connection.text("event.outcome")), (capture, "success"), "{name}");
    assert!(connection.text("ssh.client.software").starts_with(row.software), "{name}: {connection:?}");
    assert!(connection.text("ssh.server.software").starts_with("OpenSSH_"), "{name}");
    assert_eq!(connection.text("ssh.hassh").len(), 32, "{name}");
    for field in [
        "ssh.hassh",
        "ssh.kex",
        "ssh.cipher.client_to_server",
        "source.ip",
        "destination.ip",
        "ssh.host_key.fingerprint",
    ] {
        assert!(!connection.text(field).is_empty(), "{name}: {field}");
        assert_eq!(connection.text(field), server.text(field), "{name}: {field}");
    }
    for field in ["source.port", "destination.port"] {
        assert_eq!(connection.number(field), server.number(field), "{name}: {field}");
    }
    let fingerprint = lab::fingerprint(&stage.lab.sshd.file("host_key.pub"));
    assert_eq!(connection.text("ssh.host_key.fingerprint"), fingerprint, "{name}");
    assert_eq!(own.one("ssh-host-key", |_| true).text("ssh.host_key.fingerprint"), fingerprint, "{name}");
    assert!(own.iter().all(|record| record.text("process.name").starts_with(row.process)), "{name}: {own:?}");
    assert!(own.iter().all(|record| record.text("user.name") == stage.app.account.name), "{name}");
}

/// What only some have.
fn in_secret(stage: &Stage, row: &Row, own: &Records, line: &str) {
    let (name, count) = (row.name, |action: &str| own.count(action));
    if row.far == Far::Handshake {
        let closed = own.one("connection-closed", |_| true);
        assert_eq!((closed.text("ssh.capture"), closed.text("event.outcome")), ("handshake", "unknown"), "{name}");
        for bytes in ["source.bytes", "destination.bytes"] {
            assert!(closed.number(bytes).is_some_and(|bytes| bytes > 1000), "{name}: {closed:?}");
        }
        assert_eq!(own.len(), 3, "{name}: more is recorded than is known: {own:?}");
        return;
    }
    let login = own.one("ssh-authentication", |record| record.text("event.outcome") == "success");
    assert_eq!(login.text("ssh.auth.method"), "publickey", "{name}");
    assert_eq!(login.text("ssh.auth.key.fingerprint"), stage.lab.fingerprint("ed25519"), "{name}");
    assert_eq!(login.text("destination.user.name"), stage.lab.one.name, "{name}");
    let whole = usize::from(row.far == Far::Full);
    let expected = [
        ("ssh-session-started", 1),
        ("ssh-session-ended", 1),
        ("ssh-channel-opened", whole),
        ("ssh-channel-closed", whole),
        ("ssh-command-started", whole),
        ("ssh-command-ended", whole),
        ("connection-closed", 0),
    ];
    for (action, expected) in expected {
        assert_eq!(count(action), expected, "{name}: {action}");
    }
    if row.far == Far::Login {
        assert_eq!(
            own.one("ssh-connection", |_| true).text("ssh.compression.client_to_server"),
            "zlib@openssh.com",
            "{name}"
        );
        return;
    }
    let ended = own.one("ssh-command-ended", |_| true);
    let recorded =
        (ended.text("ssh.command.kind"), ended.text("ssh.command.line"), ended.number("ssh.command.exit_status"));
    let expected = match row.asks {
        Asks::Command => ("exec", line, Some(7)),
        // curl may leave before the server has said all.
        Asks::Sftp => ("subsystem", "sftp", recorded.2.filter(|status| *status == 0)),
        // Nor has scp.
        Asks::Scp => ("exec", "scp -pf '/etc/hostname'", recorded.2.filter(|status| *status <= 1)),
    };
    assert_eq!(recorded, expected, "{name}");
}
