//! Do no harm: logins of every kind, by ssh and by applications, go on while the sensor comes, goes and is killed at
//! any moment. None may fail, none may lose a byte.
//!
//! `SENSOR_HARM_LOGINS` says how many.
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
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use sensor_tests::{
    Folder, Machine, Running,
    clients::{App, Library},
    lab::Lab,
    running, sensor, wait,
};

const LOGINS: usize = 60;
const AT_ONCE: usize = 3;
const PAYLOAD: usize = 200_000;
/// One login in so many is an application's.
const APPLICATIONS: usize = 5;
const LIBRARIES: [Library; 3] = [Library::ParamikoDebian, Library::NetSsh, Library::ParamikoNewest];

#[test]
fn no_login_fails_while_the_sensor_comes_and_goes() {
    let logins = std::env::var("SENSOR_HARM_LOGINS").map_or(LOGINS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("harm");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &LIBRARIES);
    let before = warnings();
    let next = AtomicUsize::new(0);
    let running = AtomicUsize::new(AT_ONCE);
    let output = folder.join("trace.json");
    let (mut starts, mut attached, mut kills) = (0, 0, 0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                // Counted down whatever happens, or the other thread would go on for ever.
                let _done = Done(&running);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= logins {
                        return;
                    }
                    match n % APPLICATIONS {
                        0 => application(&app, n / APPLICATIONS),
                        _ => login(&lab, n),
                    }
                }
            });
        }
        let mut random = 12_345u32;
        while running.load(Ordering::Relaxed) > 0 {
            let mut sensor = Running::start(
                sensor::command(&["trace", "--format", "json", "-q"])
                    .stdin(Stdio::null())
                    .stdout(File::create(&output).unwrap()),
            );
            starts += 1;
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Half of them end while they start, the others after they have reported that all is attached.
            if random & 0x200 == 0 {
                wait::until("the sensor's start", || fs::metadata(&output).unwrap().len().gt(&0).then_some(()));
                attached += 1;
            }
            thread::sleep(Duration::from_millis(u64::from(random >> 22)));
            if random & 0x100 == 0 {
                sensor.signal(Signal::TERM);
                // Before it is ready it is simply gone.
                sensor.wait();
            } else {
                sensor.signal(Signal::KILL);
                sensor.wait();
                kills += 1;
            }
        }
    });
    assert_eq!(warnings(), before, "the kernel complains");
    assert!(attached > 0, "in {starts} starts");
    println!(
        "{logins} logins, one in {APPLICATIONS} by an application; the sensor started {starts} times, {attached} times to the end, and was killed {kills} times"
    );
}

struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A login by one method with one cipher, and bytes there and back.
fn login(lab: &Lab, n: usize) {
    const CIPHERS: &[&str] =
        &["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes128-ctr", "aes128-cbc"];
    const KEYS: &[(&str, &str)] = &[
        ("publickey", "ed25519"),
        ("password", "stranger"),
        ("publickey", "rsa"),
        ("keyboard-interactive", "stranger"),
        ("publickey", "certified"),
        ("publickey", "ecdsa"),
    ];
    let (method, key) = KEYS[n % KEYS.len()];
    let mac = if n.is_multiple_of(2) { "hmac-sha2-256" } else { "hmac-sha2-256-etm@openssh.com" };
    let options = ["-c", CIPHERS[n % CIPHERS.len()], "-m", mac, "-o", &format!("PreferredAuthentications={method}")];
    let mut ssh = lab.ssh(&lab.one.name, key, true, &options.map(str::to_owned));
    let payload: Vec<u8> = (0..PAYLOAD).map(|i| (i.wrapping_mul(31) ^ n) as u8).collect();
    let mut client = running::Running::start(
        ssh.arg("cat; exit 5").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()),
    );
    let mut input = client.child().stdin.take().unwrap();
    let sent = payload.clone();
    let writer = thread::spawn(move || input.write_all(&sent));
    let ended = client.output();
    assert_eq!(ended.code(), 5, "login {n} by {method} with {options:?}: {}", ended.stderr);
    writer.join().unwrap().unwrap();
    assert!(ended.stdout == payload, "login {n}: what came back is not what was sent");
}

/// A login by a library, a file there and back, and a command.
fn application(app: &App, n: usize) {
    let library = LIBRARIES[n % LIBRARIES.len()];
    let own: Vec<u8> = (0..PAYLOAD).map(|i| (i.wrapping_mul(31) ^ n) as u8).collect();
    let file = app.give(&format!("file-{n}"), own);
    let method = if n.is_multiple_of(2) { ["--key", "ed25519"] } else { ["--password", "password"] };
    let files = format!("sftp={}:/tmp/sensor-test-harm-{n}", file.display());
    let done = app.run(&mut app.command(library, &method, &[&files, "exec=exit 5"]));
    assert_eq!(done.ended.code(), 0, "{library:?} {n}: {done:?}");
    assert_eq!(done.one("sftp")["same"], true, "{library:?} {n}: what came back is not what was sent");
    assert_eq!(done.one("exec")["status"], 5, "{library:?} {n}: {done:?}");
    for name in [file.clone(), file.with_extension("back")] {
        let _ = fs::remove_file(name);
    }
}

/// Warnings in the kernel's log.
fn warnings() -> usize {
    let log = running::succeed(std::process::Command::new("dmesg").args(["--level", "emerg,alert,crit,err,warn"]));
    log.text()
        .lines()
        .filter(|line| line.contains("uprobe") || line.contains("BUG") || line.contains("WARNING"))
        .count()
}
