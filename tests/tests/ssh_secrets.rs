//! What must never leave the kernel: passwords, answers, passphrases, what is typed into a terminal, the contents of files.
//!
//! Every secret of this test begins with the same unguessable mark, so one search finds any of them and any piece with the beginning: as it is, in base64 (at each of its
//! three alignments) and in hexadecimal. Searched: the records, the log, the recording, and all memory of the daemon, which maps the ring: what the kernel
//! sent lies there until it is overwritten, and the ring is large enough that nothing is. That the search can find is shown with text that is no secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use sensor_tests::{
    Account, Folder, Machine, Running, Sshd, Trace,
    lab::set_password,
    running,
    secrets::{Mark, memory},
};

/// Logins with passwords and answers; `SENSOR_SECRET_LOGINS` for more.
const LOGINS: usize = 40;
/// The ring holds all that these logins send.
const RING_BYTES: &str = "67108864";

struct Answers {
    script: PathBuf,
    file: PathBuf,
}

impl Answers {
    fn new(folder: &Folder) -> Self {
        let script = folder.write("askpass", "#!/bin/sh\ncat \"$SENSOR_TEST_ANSWER\"\n");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { script, file: folder.join("answer") }
    }

    /// Whatever is asked, this is the answer. Never an argument, never a variable's value.
    fn give(&self, command: &mut Command, answer: &str) {
        fs::write(&self.file, answer).unwrap();
        fs::set_permissions(&self.file, fs::Permissions::from_mode(0o600)).unwrap();
        command.env("SSH_ASKPASS", &self.script).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none");
        command.env("SENSOR_TEST_ANSWER", &self.file).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    }
}

#[test]
fn no_secret_of_a_session_is_anywhere() {
    let logins = std::env::var("SENSOR_SECRET_LOGINS").map_or(LOGINS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("secrets");
    let account = Account::create("sensor-secret");
    let answers = Answers::new(&folder);
    let before = "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\n";
    let sshd = Sshd::start_with(&folder, before, "");
    let recording = folder.join("recording");
    let trace = Trace::start(&folder, &["--ring-bytes", RING_BYTES, "--record", recording.to_str().unwrap()]);
    let (secret, plain) = (Mark::new("Zk"), Mark::new("Pk"));

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
    key_with_passphrase(&sshd, &folder, &account, &answers, &secret.secret());
    files(&sshd, &folder, &account, &secret);
    typed(&sshd, &account, &secret);
    let told = format!("/bin/true {}", plain.secret());
    running::succeed(sshd.ssh(&account.name, &[]).arg(&told));
    trace.until("the last command", |r| r.is("ssh-command-ended") && r.text("ssh.command.line") == told);

    let daemon = memory(trace.pid());
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
    let attempts = records.of_server(sshd.port);
    let attempts = attempts.of("ssh-authentication").filter(|r| r.text("ssh.auth.method") != "none").count();
    assert!(attempts >= logins, "{attempts} attempts of {logins} logins were seen");
    println!("{logins} logins, {} MiB of memory searched", daemon.len() >> 20);
}

fn key_with_passphrase(sshd: &Sshd, folder: &Folder, account: &Account, answers: &Answers, passphrase: &str) {
    let key = folder.join("locked");
    let mut keygen = Command::new("ssh-keygen");
    answers.give(keygen.args(["-q", "-t", "ed25519", "-C", "", "-f"]).arg(&key), passphrase);
    running::succeed(&mut keygen);
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let mut authorized = File::options().append(true).open(sshd.file("authorized_keys")).unwrap();
    authorized.write_all(public.as_bytes()).unwrap();
    let mut ssh = sshd.program("ssh");
    ssh.args(["-o", "BatchMode=no", "-i"]).arg(&key).arg("-o").arg("IdentityFile=none");
    answers.give(ssh.arg(format!("{}@test", account.name)), passphrase);
    assert_eq!(running::finish(ssh.arg("exit 8")).code(), 8);
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
