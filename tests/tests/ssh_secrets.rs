//! What must never leave the kernel: passwords, answers, passphrases, private keys, what is typed into a terminal, the
//! contents of files.
//!
//! Every other secret of this test begins with the same unguessable mark, so one search finds any of them and any piece
//! with the beginning: as it is, in base64 (at each of its three alignments) and in hexadecimal. Searched: the records,
//! the log, the recording, and all memory of the daemon, which maps the ring: what the kernel sent lies there until it
//! is overwritten, and the ring is large enough that nothing is: the first of what was sent is still there at the end.
//! That the search can find is shown with text that is no secret, and with the public halves of the keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use sensor_tests::{
    Account, Folder, Machine, Running, Sshd, Trace,
    lab::set_password,
    running,
    secrets::{Mark, memory},
};

/// Logins with passwords and answers; `SENSOR_SECRET_LOGINS` for more.
const LOGINS: usize = 40;
/// Who logs in.
const PEOPLE: [&str; 4] = ["sensor-secret-a", "sensor-secret-b", "sensor-secret-c", "sensor-secret-d"];
/// The ring holds all that a login sends. *Measured*: some 65 KiB, with what else went on.
const RING_BYTES_OF_LOGIN: usize = 192 << 10;
/// For what comes besides the logins.
const RING_BYTES_MORE: usize = 32 << 20;

struct Answers {
    script: PathBuf,
    file: PathBuf,
}

impl Answers {
    fn new(folder: &Folder, whose: &str) -> Self {
        let script = folder.write(&format!("askpass-{whose}"), "#!/bin/sh\ncat \"$SENSOR_TEST_ANSWER\"\n");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { script, file: folder.join(format!("answer-{whose}")) }
    }

    /// Whatever is asked, this is the answer. Never an argument, never a variable's value.
    fn give(&self, command: &mut Command, answer: &str) {
        fs::write(&self.file, answer).unwrap();
        fs::set_permissions(&self.file, fs::Permissions::from_mode(0o600)).unwrap();
        command.env("SSH_ASKPASS", &self.script).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none");
        command.env("SENSOR_TEST_ANSWER", &self.file).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    }
}

/// Logs in with ever another password, by one method and the other, and now and then with a wrong one.
fn log_in(sshd: &Sshd, account: &Account, answers: &Answers, secret: &Mark, logins: usize) {
    for n in 0..logins {
        let password = secret.secret();
        set_password(&account.name, &password);
        let (method, wrong) = (["password", "keyboard-interactive"][n % 2], n % 8 > 5);
        let mut ssh = sshd.program("ssh");
        ssh.args(["-o", "BatchMode=no", "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"]);
        ssh.arg("-o").arg(format!("PreferredAuthentications={method}")).arg(format!("{}@test", account.name));
        answers.give(&mut ssh, &if wrong { secret.secret() } else { password });
        assert_eq!(running::finish(ssh.arg("exit 6")).code(), if wrong { 255 } else { 6 }, "{method}");
    }
}

#[test]
fn no_secret_of_a_session_is_anywhere() {
    let logins = std::env::var("SENSOR_SECRET_LOGINS").map_or(LOGINS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("secrets");
    let people = PEOPLE.map(|name| (Account::create(name), Answers::new(&folder, name)));
    let (account, answers) = &people[0];
    let before = "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\n";
    let sshd = Sshd::start_with(&folder, before, "");
    let recording = folder.join("recording");
    let ring_bytes = (logins * RING_BYTES_OF_LOGIN + RING_BYTES_MORE).next_power_of_two().to_string();
    let trace = Trace::start(&folder, &["--ring-bytes", &ring_bytes, "--record", recording.to_str().unwrap()]);
    let (secret, first, plain) = (Mark::new("Zk"), Mark::new("Fk"), Mark::new("Pk"));
    running::succeed(sshd.ssh(&account.name, &[]).arg(format!("/bin/true {}", first.secret())));

    // Side by side: PAM lets who was wrong wait.
    thread::scope(|scope| {
        for (account, answers) in &people {
            let (sshd, secret) = (&sshd, &secret);
            scope.spawn(move || log_in(sshd, account, answers, secret, logins / PEOPLE.len()));
        }
    });
    let locked = key_with_passphrase(&sshd, &folder, account, answers, &secret.secret());
    // sshd keeps its own encrypted in memory, by the function that is probed.
    let keys = [locked, KeyPair::read(&sshd.file("host_key")), KeyPair::read(&sshd.file("user_key"))];
    files(&sshd, &folder, account, &secret);
    typed(&sshd, account, &secret);
    let recorded = format!("/bin/true {}", plain.secret());
    running::succeed(sshd.ssh(&account.name, &[]).arg(&recorded));
    trace.until("the last command", |r| r.is("ssh-command-ended") && r.text("ssh.command.line") == recorded);

    let ring = memory(trace.pid(), |name| name.ends_with("bpf-map"));
    assert!(first.is_in(&ring), "the beginning of the ring has been overwritten");
    assert!(plain.is_in(&ring), "the search does not find what is in the ring");
    assert!(keys.iter().all(|key| holds(&ring, &key.public)), "the search does not find public keys in the ring");
    let daemon = memory(trace.pid(), |_| true);
    assert!(daemon.len() > ring.len());
    let found = secret.is_in(&daemon) || keys.iter().any(|key| holds(&daemon, &key.secret));
    let (records, log) = trace.stop();
    records.assert_nothing_lost();
    let (written, recorded) = (fs::read(folder.join("trace.json")).unwrap(), fs::read(&recording).unwrap());
    for (what, bytes) in [("records", &written), ("recording", &recorded)] {
        assert!(plain.is_in(bytes), "the search does not find what is in the {what}");
        assert!(!secret.is_in(bytes), "a secret is in the {what}");
        assert!(!keys.iter().any(|key| holds(bytes, &key.secret)), "a private key is in the {what}");
    }
    assert!(!secret.is_in(log.as_bytes()), "a secret is in the log");
    assert!(!found, "a secret is in the daemon's memory");
    let attempts = records.of_server(sshd.port);
    let attempts = attempts.of("ssh-authentication").filter(|r| r.text("ssh.auth.method") != "none").count();
    assert!(attempts >= logins, "{attempts} attempts of {logins} logins were seen");
    let kernel = records.one("sensor-stopped", |_| true).programs().iter().map(|(_, _, sent, ..)| sent).sum::<u64>();
    println!("{logins} logins, {kernel} records of the kernel, {} MiB of memory searched", daemon.len() >> 20);
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(bytes, what).is_some()
}

/// The two halves of an Ed25519 key, as they are.
struct KeyPair {
    secret: Vec<u8>,
    public: Vec<u8>,
}

impl KeyPair {
    /// From a file of ssh-keygen without a passphrase (OpenSSH's PROTOCOL.key).
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let mut decode = Running::start(Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()));
        decode.child().stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        decode.child().stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
        // The private half is a string of 64 bytes: the seed, then the public half once more.
        let at = memchr::memmem::rfind(&bytes, &[0, 0, 0, 64]).expect("a key without a passphrase") + 4;
        Self { secret: bytes[at..at + 32].into(), public: bytes[at + 32..at + 64].into() }
    }
}

fn key_with_passphrase(
    sshd: &Sshd,
    folder: &Folder,
    account: &Account,
    answers: &Answers,
    passphrase: &str,
) -> KeyPair {
    let key = folder.join("locked");
    running::succeed(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-C", "", "-f"]).arg(&key));
    let pair = KeyPair::read(&key);
    let mut lock = Command::new("ssh-keygen");
    answers.give(lock.args(["-q", "-p", "-f"]).arg(&key), passphrase);
    running::succeed(&mut lock);
    let unlocked = Command::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(&key).output().unwrap();
    assert!(!unlocked.status.success(), "the key has no passphrase");
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let mut authorized = File::options().append(true).open(sshd.file("authorized_keys")).unwrap();
    authorized.write_all(public.as_bytes()).unwrap();
    let mut ssh = sshd.program("ssh");
    ssh.args(["-o", "BatchMode=no", "-i"]).arg(&key).arg("-o").arg("IdentityFile=none");
    answers.give(ssh.arg(format!("{}@test", account.name)), passphrase);
    assert_eq!(running::finish(ssh.arg("exit 8")).code(), 8);
    pair
}

fn files(sshd: &Sshd, folder: &Folder, account: &Account, secret: &Mark) {
    let text: String = (0..2000).map(|_| secret.secret() + "\n").collect();
    let file = folder.write("contents", &text);
    for old in [&["-O"][..], &[]] {
        let to = account.home.join("contents");
        let mut scp = sshd.program("scp");
        running::succeed(scp.args(old).arg(&file).arg(format!("{}@test:{}", account.name, to.display())));
        let mut back = sshd.program("scp");
        running::succeed(
            back.args(old).arg(format!("{}@test:{}", account.name, to.display())).arg(folder.join("back")),
        );
        assert_eq!(fs::read(folder.join("back")).unwrap(), text.as_bytes());
    }
}

fn typed(sshd: &Sshd, account: &Account, secret: &Mark) {
    let mut ssh = sshd.ssh(&account.name, &["-tt"]);
    let mut client = Running::start(ssh.arg("cat > /dev/null").stdin(Stdio::piped()).stdout(Stdio::null()));
    let mut input = client.child().stdin.take().unwrap();
    for _ in 0..50 {
        writeln!(input, "{}", secret.secret()).unwrap();
    }
    input.write_all(b"\x04").unwrap();
    drop(input);
    assert!(client.wait().success());
}
