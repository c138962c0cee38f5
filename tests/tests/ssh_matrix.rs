//! Real ssh and sshd, every cipher and MAC and every way to log in: what the records of both ends say against what ssh
//! (-v), sshd (VERBOSE) and ssh-keygen say.
//!
//! Each cipher meets each case; MACs take turns over them. A login is found by its client's process, and from there by
//! `ssh.connection.id`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{process::Command, sync::Mutex, thread};

use sensor_tests::{
    Ended, Folder, Machine, Record, Records, Sensor,
    attempts::{Attempt, by_records, by_sshd},
    lab::{self, Lab},
    running,
};

/// Logins at a time.
const AT_ONCE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Key(&'static str),
    Certificate,
    Password,
    Interactive,
    TwoFactors,
    WrongKey,
    WrongPassword,
    WrongAnswer,
    InvalidUser,
    TooManyFailures,
}

const CASES: &[Case] = &[
    Case::Key("ed25519"),
    Case::Key("rsa"),
    Case::Key("ecdsa"),
    Case::Certificate,
    Case::Password,
    Case::Interactive,
    Case::TwoFactors,
    Case::WrongKey,
    Case::WrongPassword,
    Case::WrongAnswer,
    Case::InvalidUser,
    Case::TooManyFailures,
];

impl Case {
    fn succeeds(self) -> bool {
        use Case::{Certificate, Interactive, Key, Password, TwoFactors};
        matches!(self, Key(_) | Certificate | Password | Interactive | TwoFactors)
    }

    fn command(self, lab: &Lab, options: &[String]) -> Command {
        let with = |methods: &str| {
            let mut all = vec!["-o".into(), format!("PreferredAuthentications={methods}")];
            all.extend_from_slice(options);
            all
        };
        let (one, two) = (lab.one.name.as_str(), lab.two.name.as_str());
        match self {
            Self::Key(key) => lab.ssh(one, key, true, &with("publickey")),
            Self::Certificate => lab.ssh(one, "certified", true, &with("publickey")),
            Self::Password => lab.ssh(one, "stranger", true, &with("password")),
            Self::Interactive => lab.ssh(one, "stranger", true, &with("keyboard-interactive")),
            Self::TwoFactors => lab.ssh(two, "ed25519", true, &with("publickey,password")),
            Self::WrongKey => lab.ssh(one, "stranger", true, &with("publickey")),
            Self::WrongPassword => lab.ssh(one, "stranger", false, &with("password")),
            Self::WrongAnswer => lab.ssh(one, "stranger", false, &with("keyboard-interactive")),
            Self::InvalidUser => lab.ssh("sensor-nobody", "ed25519", true, &with("publickey")),
            Self::TooManyFailures => {
                let mut all = with("password");
                all.extend(["-o".into(), "NumberOfPasswordPrompts=6".into()]);
                lab.ssh(one, "stranger", false, &all)
            }
        }
    }
}

fn listed(what: &str) -> Vec<String> {
    running::succeed(Command::new("ssh").args(["-Q", what])).text().lines().map(str::to_owned).collect()
}

/// What `ssh -v` says of a login, message by message.
fn by_ssh(log: &str, user: &str) -> Vec<Attempt> {
    let mut recorded = Vec::new();
    let (mut method, mut fingerprint, mut partial) = ("none".to_owned(), String::new(), false);
    let key = |line: &str| line.split(' ').find(|word| word.starts_with("SHA256:")).unwrap_or_default().to_owned();
    for line in log.lines() {
        let mut tell =
            |outcome: &str, fingerprint: &str| recorded.push(Attempt::new(user, &method, outcome, fingerprint));
        if let Some(next) = line.strip_prefix("debug1: Next authentication method: ") {
            (method, fingerprint) = (next.into(), String::new());
        } else if line.starts_with("debug1: Offering public key: ") {
            fingerprint = key(line);
        } else if line.starts_with("debug1: Server accepts key: ") {
            tell("success", &fingerprint);
        } else if line.contains("with partial success.") {
            tell("partial", &fingerprint);
            partial = true;
        } else if line.starts_with("debug1: Authentications that can continue: ") {
            if !std::mem::take(&mut partial) {
                tell("failure", &fingerprint);
            }
        } else if line.contains("Too many authentication failures") {
            tell("failure", &fingerprint);
        } else if line.starts_with("Authenticated to ") {
            tell("success", &fingerprint);
        }
    }
    recorded
}

struct Login {
    case: Case,
    cipher: String,
    client: Ended,
    /// The client's process.
    pid: u32,
}

#[test]
fn every_attempt_is_told_as_it_was_by_both_ends() {
    let machine = Machine::take();
    let folder = Folder::new("matrix");
    let lab = Lab::start(&folder);
    let mut sensor = Sensor::run(&folder, "");
    let (ciphers, macs) = (listed("cipher"), listed("mac"));
    let mut plan: Vec<(Case, &String, &String)> = Vec::new();
    for (n, cipher) in ciphers.iter().enumerate() {
        for (m, case) in CASES.iter().enumerate() {
            plan.push((*case, cipher, &macs[(n * CASES.len() + m) % macs.len()]));
        }
    }
    let plan = Mutex::new(plan);
    let logins = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((case, cipher, mac)) = plan.lock().unwrap().pop() else { return };
                    let login = login(&lab, case, cipher, mac);
                    logins.lock().unwrap().push(login);
                }
            });
        }
    });
    let logins = logins.into_inner().unwrap();
    let succeeded = logins.iter().filter(|login| login.case.succeeds()).count();
    sensor.until_sessions_end(lab.sshd.port, succeeded);
    let records = sensor.stop();
    records.assert_nothing_lost();
    let (server, client) = (records.of_server(lab.sshd.port), records.of_clients(lab.sshd.port));
    let log = lab.sshd.log();
    let host_key = lab::fingerprint(&lab.sshd.file("host_key.pub"));
    for login in &logins {
        check(login, &server, &client, &log, &host_key);
    }
    // Nothing was invented: every connection recorded is one of these.
    for (who, records) in [("server", &server), ("client", &client)] {
        assert_eq!(records.count("ssh-connection"), logins.len(), "connections of the {who}");
        assert_eq!(records.count("ssh-session-started"), succeeded, "sessions of the {who}");
        assert_eq!(records.count("ssh-session-ended"), succeeded, "sessions of the {who}");
        assert_eq!(records.count("ssh-command-ended"), succeeded, "commands of the {who}");
        assert_eq!(
            records.count("ssh-protocol-error"),
            logins.iter().filter(|l| l.case == Case::TooManyFailures).count()
        );
    }
    let recorded = server.count("ssh-authentication") + server.count("ssh-key-offered");
    println!("{} logins, {} ciphers, {} MACs, {recorded} attempts and offers", logins.len(), ciphers.len(), macs.len());
    drop(machine);
}

fn login(lab: &Lab, case: Case, cipher: &str, mac: &str) -> Login {
    let mark = lab::random();
    let options = ["-v", "-c", cipher, "-m", mac].map(str::to_owned);
    let mut command = case.command(lab, &options);
    command.arg(format!("echo {mark} $SSH_CONNECTION; exit 7"));
    let running =
        running::Running::start(command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()));
    let pid = running.pid();
    let client = running.output();
    assert_eq!(client.code(), if case.succeeds() { 7 } else { 255 }, "{case:?} {cipher} {mac}: {}", client.stderr);
    Login { case, cipher: cipher.into(), client, pid }
}

fn check(login: &Login, server: &Records, client: &Records, log: &str, host_key: &str) {
    let shown = format!("{:?} with {}", login.case, login.cipher);
    let own = client.one("ssh-connection", |record| record.pid() == login.pid);
    let id = own.text("ssh.connection.id");
    assert_eq!(id.len(), 32, "{shown}");
    let is_own = |record: &&Record| record.text("ssh.connection.id") == id;
    let far = server.one("ssh-connection", |record| is_own(&record));
    let port = own.number("source.port").unwrap();
    let user = match login.case {
        Case::TwoFactors => "sensor-two",
        Case::InvalidUser => "sensor-nobody",
        _ => "sensor-one",
    };
    let truth = by_ssh(&login.client.stderr, user);
    assert!(truth.len() > 1, "{shown}: {}", login.client.stderr);
    let (near_told, far_told) = (by_records(client.iter().filter(is_own)), by_records(server.iter().filter(is_own)));
    assert_eq!(far_told, truth, "{shown}: the server's records and what ssh says");
    assert_eq!(near_told, truth, "{shown}: the client's records and what ssh says");
    // sshd writes neither the attempt without a method nor those of users that it does not know.
    if login.case != Case::InvalidUser {
        let (_none, rest) = truth.split_first().unwrap();
        // A port can serve twice in a test.
        let logged = by_sshd(log, port);
        let fits = |one: &Vec<Attempt>| {
            one.len() == rest.len() && one.iter().zip(rest).all(|(logged, recorded)| recorded.is_logged_as(logged))
        };
        assert!(logged.iter().any(fits), "{shown}: sshd says {logged:#?}, ssh {rest:#?}");
    }
    let shown_key = client.one("ssh-host-key", |record| is_own(&record));
    assert_eq!(shown_key.text("ssh.host_key.status"), "known", "{shown}");
    assert_eq!((shown_key.text("event.outcome"), shown_key.text("ssh.host_key.fingerprint")), ("success", host_key));
    for record in [own, far] {
        assert_eq!(record.text("ssh.capture"), "full", "{shown}");
        assert_eq!(record.text("ssh.host_key.fingerprint"), host_key, "{shown}");
        assert_eq!(record.text("ssh.kex"), lab::agreed(&login.client, "algorithm:"), "{shown}");
        assert_eq!(record.text("source.ip"), "127.0.0.1");
        assert!(record.text("ssh.client.software").starts_with("OpenSSH_"), "{shown}");
        assert!(record.text("ssh.server.software").starts_with("OpenSSH_"), "{shown}");
        for (field, way) in [("client_to_server", "client->server"), ("server_to_client", "server->client")] {
            // `cipher: X MAC: Y compression: Z`
            let words = lab::agreed(&login.client, way);
            let words: Vec<&str> = words.split(' ').collect();
            assert_eq!(record.text(&format!("ssh.cipher.{field}")), words[1], "{shown}");
            let mac = record.text(&format!("ssh.mac.{field}"));
            assert_eq!(if mac.is_empty() { "<implicit>" } else { mac }, words[3], "{shown}");
            assert_eq!(record.text(&format!("ssh.compression.{field}")), words[5], "{shown}");
        }
    }
    for (who, records) in [("client", client), ("server", server)] {
        let of = |action: &str| records.of(action).filter(is_own).count();
        let expected = usize::from(login.case.succeeds());
        for action in ["ssh-session-started", "ssh-session-ended", "ssh-command-started", "ssh-command-ended"] {
            assert_eq!(of(action), expected, "{shown}: {action} of the {who}");
        }
        if login.case.succeeds() {
            let ended = records.one("ssh-command-ended", |record| is_own(&record));
            assert_eq!(ended.number("ssh.command.exit_status"), Some(7), "{shown}: {who}");
            let printed = login.client.text();
            let mark = printed.split(' ').next().unwrap();
            assert_eq!(
                ended.text("ssh.command.line"),
                format!("echo {mark} $SSH_CONNECTION; exit 7"),
                "{shown}: {who}"
            );
            assert_eq!(printed.split(' ').nth(2), Some(port.to_string().as_str()), "{shown}");
            let end = records.one("ssh-session-ended", |record| is_own(&record));
            assert_eq!(end.text("ssh.disconnect.by"), "client", "{shown}: {who}");
            assert_eq!(end.number("ssh.session.commands"), Some(1), "{shown}: {who}");
        }
        if login.case == Case::Certificate {
            let success = records.one("ssh-authentication", |r| is_own(&r) && r.text("event.outcome") == "success");
            assert_eq!(success.text("ssh.auth.certificate.key_id"), "a certificate");
            assert_eq!(success.number("ssh.auth.certificate.serial"), Some(77));
        }
    }
}
