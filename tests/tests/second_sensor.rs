//! A sensor beside another one: a daemon, and a `sensor trace` that is started and ended again and again to see what is
//! wrong. Neither takes anything from the other, and no login waits for them.
//!
//! The kernel attaches and releases uprobes under one lock, and a process that ends with many of them holds it for
//! long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sensor_tests::{
    Folder, Machine, Records, Running, Sensor,
    clients::{App, Library},
    hostile::{STOPPING, time_to_stop},
    lab::Lab,
    running, sensor,
};

/// Logins by fresh copies of ssh, and first connections of fresh environments; `SENSOR_SECOND_RUNS` for other numbers
/// of the first.
const LOGINS: usize = 25;
const ENVIRONMENTS: usize = 10;
/// Between two starts of the second sensor.
const EVERY: Duration = Duration::from_millis(1500);
/// No login takes longer.
const LOGIN: Duration = Duration::from_secs(2);

/// Starts and ends a second sensor until it is dropped.
struct Beside<'a>(&'a AtomicBool);

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// `sensor trace`, started, ended and started again. How often.
fn start_and_end(folder: &Path, going: &AtomicBool) -> usize {
    let mut count = 0;
    while going.load(Ordering::Relaxed) {
        let output = |name: &str| fs::File::create(folder.join(name)).unwrap();
        let mut command = sensor::command(&["trace", "--format", "json"]);
        let mut trace =
            Running::start(command.stdin(Stdio::null()).stdout(output("second.json")).stderr(output("second.err")));
        let started = Instant::now();
        while started.elapsed() < EVERY && going.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        trace.signal(Signal::INT);
        trace.wait();
        count += 1;
    }
    count
}

/// A login by a new copy of ssh: its process id, and how long it took.
fn login(lab: &Lab, copy: &Path) -> (u32, Duration) {
    // By a process of its own: what this one has open for writing, a second sensor that is just being started would
    // have too, and then the copy could not be executed (ETXTBSY).
    running::succeed(Command::new("cp").arg("/usr/bin/ssh").arg(copy));
    let ssh = lab.ssh(&lab.one.name, "ed25519", true, &[]);
    let mut command = Command::new(copy);
    command.args(ssh.get_args()).arg("exit 6").stdin(Stdio::null());
    let start = Instant::now();
    let mut client = Running::start(&mut command);
    let (pid, status) = (client.pid(), client.wait());
    assert_eq!(status.code(), Some(6));
    (pid, start.elapsed())
}

/// Is the connection of this client read in full, its login and its command with it?
fn is_full(client: &Records, pid: u32, status: u64) -> bool {
    let own = Records(client.iter().filter(|record| record.pid() == pid).cloned().collect());
    let success = own.of("ssh-authentication").any(|record| record.text("event.outcome") == "success");
    let ended = own.of("ssh-command-ended").any(|record| record.number("ssh.command.exit_status") == Some(status));
    success && ended && own.of("ssh-connection").all(|record| record.text("ssh.capture") == "full")
}

#[test]
fn a_second_sensor_that_comes_and_goes_takes_nothing_from_the_first() {
    let logins = std::env::var("SENSOR_SECOND_RUNS").map_or(LOGINS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("second");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[]);
    let copies = folder.open_to_all("copies");
    let mut sensor = Sensor::run(&folder, "");
    let going = AtomicBool::new(true);
    let (clients, environments, beside) = thread::scope(|scope| {
        let second = scope.spawn(|| start_and_end(&folder, &going));
        // A failed assertion must end it too.
        let end = Beside(&going);
        let mut clients = Vec::new();
        for run in 0..logins {
            clients.push(login(&lab, &copies.join(format!("ssh-{run}"))));
            // Spread over the life of the second one: from its start to its end.
            thread::sleep(Duration::from_millis(70 * (run as u64 % 20)));
        }
        let environments: Vec<u32> = (0..ENVIRONMENTS).map(|run| first_connection(&folder, &app, run)).collect();
        drop(end);
        (clients, environments, second.join().unwrap())
    });
    sensor.until_sessions_end(lab.sshd.port, logins + ENVIRONMENTS);
    let stopping = time_to_stop(&sensor);
    let records = sensor.stop();
    records.assert_nothing_lost();
    let client = records.of_clients(lab.sshd.port);
    let full = clients.iter().filter(|(pid, _)| is_full(&client, *pid, 6)).count();
    let first = environments.iter().filter(|pid| is_full(&client, **pid, 7)).count();
    let slowest = clients.iter().map(|(_, took)| *took).max().unwrap();
    println!(
        "{beside} second sensors; {full} of {logins} logins by fresh copies and {first} of {ENVIRONMENTS} first connections are full; the slowest login took {slowest:?}, SIGTERM {stopping:?}"
    );
    assert!(beside >= logins / 5, "{beside} second sensors in all");
    assert_eq!(
        (full, first),
        (logins, ENVIRONMENTS),
        "logins by fresh copies of ssh, and first connections of fresh environments, in full"
    );
    let server = records.of_server(lab.sshd.port);
    let partial: Vec<&str> = server
        .of("ssh-connection")
        .map(|record| record.text("ssh.capture"))
        .filter(|capture| *capture != "full")
        .collect();
    assert_eq!(partial, Vec::<&str>::new(), "connections of the server");
    assert!(stopping < STOPPING, "SIGTERM took {stopping:?}");
    assert!(slowest < LOGIN, "a login took {slowest:?}");
}

/// In an environment that is new.
fn first_connection(folder: &Folder, app: &App, run: usize) -> u32 {
    let own: PathBuf = folder.join(format!("fresh-{run}"));
    fs::create_dir(&own).unwrap();
    chown(&own, Some(app.account.uid), None).unwrap();
    let library = if run.is_multiple_of(2) { Library::ParamikoNewest } else { Library::ParamikoOld };
    let python = library.interpreter(&own);
    let done = app.run(&mut app.program(&python, true, &["--key", "ed25519", "--policy", "auto"], &["exec=exit 7"]));
    assert_eq!(done.one("exec")["status"], 7, "{done:?}");
    let _ = running::finish(Command::new("rm").arg("-rf").arg(&own));
    done.pid
}
