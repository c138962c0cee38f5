//! All attacks at once, again and again, beside another user who works: every login and every exec of the other is
//! recorded, nothing is lost, and the ring is drained in time.
//!
//! Two cores sustain about ten logins a second without the sensor; the other user makes half of that at most. What the
//! attackers' own programs take from the cores is theirs: logins may take longer, records may not be missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::VecDeque,
    fs,
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sensor_tests::{
    Record, Records, Running,
    hostile::{Siege, assert_no_event_lost, family, slow::SlowFileSystem, tripwire::Tripwire},
};

/// How long; `SENSOR_ALL_SECONDS` for longer.
const SECONDS: u64 = 30;
/// Between two logins of the other user, if the machine keeps up.
const EVERY: Duration = Duration::from_millis(200);
/// Logins that may be on their way.
const AT_ONCE: usize = 8;
/// Execs in a session, beside its shell.
const EXECS: usize = 5;
/// From the moment when an event is in the ring to the moment when it is taken.
const DRAIN: Duration = Duration::from_millis(50);
const RING: &str = "[kernel]\nring_bytes = 4194304\n";
const MEMORY_KIB: u64 = 64 << 10;

/// A thread of the precedence of the one that drains, which only sleeps: what it waits for a CPU, the machine itself
/// takes (a busy host of this virtual machine, a kernel that does not let go), and the sensor cannot do better.
struct Witness {
    going: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Witness {
    fn start() -> Self {
        const NICE: i32 = -10;
        const NAP: Duration = Duration::from_millis(10);
        let going = Arc::new(AtomicBool::new(true));
        let own = Arc::clone(&going);
        let thread = thread::spawn(move || {
            rustix::process::setpriority_process(None, NICE).unwrap();
            let mut longest = Duration::ZERO;
            while own.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(NAP);
                longest = longest.max(begun.elapsed().saturating_sub(NAP));
            }
            longest
        });
        Self { going, thread }
    }

    /// The longest that it waited.
    fn stop(self) -> Duration {
        self.going.store(false, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Logins of the other user until it is time: how many.
fn work(siege: &Siege, until: Instant) -> usize {
    let (mut count, mut open) = (0, VecDeque::<Running>::new());
    while Instant::now() < until {
        let begun = Instant::now();
        if open.len() >= AT_ONCE {
            assert_eq!(open.pop_front().unwrap().wait().code(), Some(0), "a login of the other user");
        }
        let line = format!("for n in $(seq {EXECS}); do /bin/true login-{count} $n; done");
        let mut ssh = siege.sshd.ssh(&siege.victim.name, &[]);
        open.push_back(Running::start(ssh.arg(line).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())));
        count += 1;
        thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    for mut login in open {
        assert_eq!(login.wait().code(), Some(0), "a login of the other user");
    }
    count
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Every exec of every login is recorded once, in a session that is recorded from its connection to its end.
fn assert_recorded(siege: &Siege, records: &Records, logins: usize) {
    let own = |record: &&Record| record.text("user.name") == siege.victim.name && record.args_contain("login-");
    let mut execs: Vec<(String, String, String)> = records
        .of("process-started")
        .filter(own)
        .filter_map(|record| match record.list("process.args")[..] {
            ["/bin/true", login, n] => Some((login.to_owned(), n.to_owned(), record.session().to_owned())),
            _ => None,
        })
        .collect();
    assert_eq!(execs.len(), logins * EXECS, "execs of {logins} logins");
    execs.sort();
    execs.dedup();
    assert_eq!(execs.len(), logins * EXECS, "execs that are recorded twice");
    let mut sessions: Vec<&str> = execs.iter().map(|(_, _, session)| session.as_str()).collect();
    sessions.sort_unstable();
    sessions.dedup();
    assert_eq!(sessions.len(), logins, "each login is a session");
    let mut full = 0;
    for id in sessions {
        let session = records.session(id);
        for action in ["ssh-session-started", "ssh-session-ended", "ssh-command-started", "ssh-command-ended"] {
            assert_eq!(session.count(action), 1, "{action} of a login");
        }
        full += usize::from(session.of("ssh-connection").all(|record| record.text("ssh.capture") == "full"));
    }
    assert_eq!(full, logins, "logins that sshd's probes read in full");
}

#[test]
fn all_attacks_at_once_lose_nothing_of_another_user() {
    let seconds = std::env::var("SENSOR_ALL_SECONDS").map_or(SECONDS, |count| count.parse().unwrap());
    let witness = Witness::start();
    let mut siege = Siege::new("hostile-all", RING);
    let mut wire = Tripwire::default();
    let path = |name: &str| siege.folder.join(name);
    wire.device(&path("watchdog"));
    wire.secret(&path("secret"), "service: of-root\n");
    let slow = ["read", "open"].map(|silent| SlowFileSystem::mount(&siege.attacker, &siege.home(silent), silent));
    let mut targets = vec![path("watchdog"), path("secret"), "/dev/zero".into(), "/proc/self/mem".into()];
    targets.extend(slow.iter().map(|slow| slow.path.join("slow")));
    let targets: String = targets.iter().map(|path| format!(" {}", path.display())).collect();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let attack = format!("all.sh {} {}{targets}", siege.sshd.port, silent.local_addr().unwrap().port());
    let until = Instant::now() + Duration::from_secs(seconds);
    let (going, pid) = (AtomicBool::new(true), siege.sensor.pid());
    let (logins, rounds, memory) = thread::scope(|scope| {
        let end = End(&going);
        let watching = scope.spawn(|| {
            let mut most = 0;
            while going.load(Ordering::Relaxed) {
                most = most.max(family::anonymous(pid));
                thread::sleep(Duration::from_millis(100));
            }
            most
        });
        let attacking = scope.spawn(|| {
            let mut rounds = 0;
            while Instant::now() < until {
                siege.attack_beside(&attack).wait();
                rounds += 1;
            }
            rounds
        });
        let logins = work(&siege, until);
        let rounds: u32 = attacking.join().unwrap();
        drop(end);
        (logins, rounds, watching.join().unwrap())
    });
    siege.assert_awake("all attacks at once");
    wire.assert_untouched("all attacks at once");
    siege.assert_no_terminal("all attacks at once");
    let records = siege.stop();
    let machine = witness.stop();
    drop(slow);
    let stopped = records.one("sensor-stopped", |_| true);
    let drain = stopped.number("sensor.drain.latency_max_ns").map(Duration::from_nanos);
    println!(
        "{logins} logins in {seconds} s beside {rounds} rounds of all attacks; drain latency at most {drain:?}, of a thread that only sleeps {machine:?}; {memory} KiB of anonymous memory at most"
    );
    assert_no_event_lost(&records);
    assert_recorded(&siege, &records, logins);
    let in_time = drain.is_some_and(|drain| drain < DRAIN + machine);
    assert!(in_time, "drain latency: {drain:?}, of a thread that only sleeps: {machine:?}");
    assert!(memory < MEMORY_KIB, "{memory} KiB of anonymous memory");
    let text = fs::read_to_string(siege.sensor.path()).unwrap();
    assert!(!text.contains("of-root"), "a word of root's file is in the records");
}
