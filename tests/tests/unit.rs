//! The unit as it is shipped: what it says, and the release binary under exactly the capabilities that it grants, with
//! systemd's side of the protocol (sd_notify(3)) played by the test.
//!
//! There is no systemd here that could start it; `systemd-analyze verify` reads it as systemd would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sensor_tests::{
    Folder, Machine, Records, Sensor, Sshd,
    clients::{App, Library},
    hostile::{STARTING, STOPPING, family, time_to_stop},
    lab::Lab,
    running, wait,
};

/// Half of it is how often the daemon must say that it lives.
const WATCHDOG: Duration = Duration::from_secs(2);
/// What the holder of probes needs to release them one by one.
const RELEASING: Duration = Duration::from_mins(1);

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/sensor.service")
}

/// Section, name and value of each setting.
fn settings() -> Vec<(String, String, String)> {
    let text = fs::read_to_string(path()).unwrap();
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("not a setting: {line}"));
            found.push((section.clone(), name.to_owned(), value.to_owned()));
        }
    }
    found
}

/// The one value of a setting.
fn value(section: &str, name: &str) -> String {
    let found: Vec<String> = settings()
        .into_iter()
        .filter(|(own, key, _)| own == section && key == name)
        .map(|(_, _, value)| value)
        .collect();
    assert_eq!(found.len(), 1, "{name} of [{section}]: {found:?}");
    found[0].clone()
}

fn seconds(name: &str) -> u64 {
    let text = value("Service", name);
    // `infinity`, or a unit that this does not know, fails.
    text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{name}={text}"))
}

#[test]
fn a_start_that_hangs_does_not_keep_sshd_from_starting() {
    assert_eq!(value("Service", "Type"), "notify");
    assert!((1..=10).contains(&seconds("TimeoutStartSec")), "sshd waits as long as this at most");
    let before = value("Unit", "Before");
    for unit in ["ssh.service", "sshd.service"] {
        assert!(before.split(' ').any(|own| own == unit), "{unit} may start before it");
    }
    // An order, and no bond: what fails here fails alone.
    let bonds = [
        "Requires",
        "Requisite",
        "BindsTo",
        "PartOf",
        "Conflicts",
        "RequiredBy",
        "OnFailure",
        "PropagatesStopTo",
        "UpheldBy",
    ];
    let bound: Vec<_> = settings().into_iter().filter(|(_, name, _)| bonds.contains(&name.as_str())).collect();
    assert!(bound.is_empty(), "{bound:?}");
    // And it is tried again, for ever.
    assert_eq!(value("Service", "Restart"), "always");
    assert_eq!(value("Unit", "StartLimitIntervalSec"), "0");
}

#[test]
fn the_unit_says_what_the_daemon_rests_on() {
    assert!(seconds("TimeoutStopSec") * 1000 >= STOPPING.as_millis() as u64);
    assert!((1..=30).contains(&seconds("WatchdogSec")));
    assert_eq!(value("Service", "KillMode"), "process", "the holder of probes outlives the main process");
    assert_eq!(value("Service", "NoNewPrivileges"), "yes");
    assert_eq!(value("Service", "LimitCORE"), "0");
    assert_eq!(value("Service", "PrivateTmp"), "yes");
    assert_eq!(value("Service", "DevicePolicy"), "closed");
    assert_eq!(value("Service", "OOMPolicy"), "continue");
    assert!(value("Service", "MemoryMax").ends_with('M'));
    let mut granted = capabilities();
    granted.sort_unstable();
    let mut wanted = [
        "bpf",
        "perfmon",
        "net_admin",
        "sys_admin",
        "sys_ptrace",
        "dac_read_search",
        "sys_resource",
        "sys_nice",
        "setuid",
        "setgid",
        "kill",
    ];
    wanted.sort_unstable();
    assert_eq!(granted, wanted);
    // Each has its reason beside it.
    let text = fs::read_to_string(path()).unwrap();
    let reasons: String =
        text.lines().filter(|line| line.starts_with("# ")).map(|line| line.to_lowercase() + "\n").collect();
    for name in wanted {
        let named = reasons.lines().any(|line| line.split([' ', ',', ':']).any(|word| word == name));
        assert!(named, "why CAP_{name} is granted is not said");
    }
}

#[test]
fn systemd_understands_the_unit() {
    assert!(Path::new("/usr/bin/systemd-analyze").exists(), "systemd-analyze is not here: apt-get install systemd");
    let folder = Folder::new("unit-verify");
    let text = fs::read_to_string(path()).unwrap();
    // A program that is here, or that would be its complaint.
    let copy = folder.write("sensor.service", text.replace("/usr/local/sbin/sensor", "/usr/bin/true"));
    let ended = running::succeed(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(copy));
    assert_eq!(ended.stderr.trim(), "", "what systemd says of the unit");
}

/// The granted capabilities, as setpriv names them.
fn capabilities() -> Vec<String> {
    let granted = value("Service", "CapabilityBoundingSet");
    granted.split_whitespace().map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase()).collect()
}

/// A command that becomes what follows it, in the state in which systemd executes a service.
fn as_systemd_does(notify: &Path) -> Vec<String> {
    let granted: String = capabilities().iter().map(|name| format!(",+{name}")).collect();
    let micros = WATCHDOG.as_micros();
    // The number of the process stays what it is until the daemon runs.
    let line = format!("export NOTIFY_SOCKET={} WATCHDOG_USEC={micros} WATCHDOG_PID=$$; exec \"$@\"", notify.display());
    let limits =
        format!("ulimit -S -n {0}; ulimit -H -n {0}; ulimit -c 0; umask 0077; {line}", value("Service", "LimitNOFILE"));
    let words = ["setsid", "bash", "-c", &limits, "systemd", "setpriv", "--no-new-privs", "--inh-caps=-all"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.push(format!("--bounding-set=-all{granted}"));
    words
}

/// What a service says to systemd.
struct Notified {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Notified {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        Self { socket, said: Vec::new() }
    }

    /// Waits for a message.
    fn until(&mut self, wanted: &str, limit: Duration) {
        let start = Instant::now();
        let mut buffer = [0; 4096];
        while start.elapsed() < limit {
            self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let Ok(len) = self.socket.recv(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            let found = text.lines().any(|line| line == wanted);
            self.said.extend(text.lines().map(str::to_owned));
            if found {
                return;
            }
        }
        panic!("no {wanted} within {limit:?}; it said {:?}", self.said);
    }

    /// What has come and was not waited for is not what is waited for next.
    fn forget(&mut self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}

#[test]
fn under_exactly_the_units_capabilities_it_says_when_it_is_ready_and_captures_in_full() {
    let _machine = Machine::take();
    let folder = Folder::new("unit");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[Library::ParamikoNewest]);
    let socket = folder.join("notify");
    let mut systemd = Notified::new(&socket);
    let prefix = as_systemd_does(&socket);
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    let mut sensor = thread::scope(|scope| {
        let sensor = scope.spawn(|| Sensor::run_by(&prefix, &folder, "", STARTING));
        systemd.until("READY=1", Duration::from_secs(seconds("TimeoutStartSec")));
        // The first login after it is sshd's first.
        assert_eq!(running::finish(lab.ssh(&lab.one.name, "ed25519", true, &[]).arg("exit 3")).code(), 3);
        sensor.join().unwrap()
    });
    let status = fs::read_to_string(format!("/proc/{}/status", sensor.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    // Files of a user are read by a process with that user's rights: it takes SETUID, SETGID and KILL.
    let done = app.run(&mut app.command(Library::ParamikoNewest, &["--key", "ed25519"], &["exec=exit 4"]));
    assert_eq!(done.one("exec")["status"], 4, "{done:?}");
    systemd.forget();
    systemd.until("WATCHDOG=1", WATCHDOG);
    systemd.until("WATCHDOG=1", WATCHDOG);
    sensor.until_sessions_end(lab.sshd.port, 2);
    systemd.forget();
    assert!(time_to_stop(&sensor) < STOPPING);
    systemd.until("STOPPING=1", Duration::from_secs(1));
    let records = sensor.stop();
    records.assert_nothing_lost();
    for (side, own) in [("server", records.of_server(lab.sshd.port)), ("client", records.of_clients(lab.sshd.port))] {
        let role = |record: &&sensor_tests::Record| (record.text("ssh.role") == "client") == (side == "client");
        let captured: Vec<&str> =
            own.of("ssh-connection").filter(role).map(|record| record.text("ssh.capture")).collect();
        assert_eq!(captured, ["full", "full"], "connections of the {side}");
        for status in [3, 4] {
            let ended = |record: &&sensor_tests::Record| record.number("ssh.command.exit_status") == Some(status);
            assert_eq!(
                own.of("ssh-command-ended").filter(role).filter(ended).count(),
                1,
                "exit {status} of the {side}"
            );
        }
    }
    // What the client goes by is read in its user's home.
    let clients = records.of_clients(lab.sshd.port);
    let keys: Vec<&str> = clients.of("ssh-host-key").map(|record| record.text("ssh.host_key.status")).collect();
    assert_eq!(keys, ["known", "known"], "host keys");
    assert_nothing_missing(&records);
}

/// No record says that a right is missing.
fn assert_nothing_missing(records: &Records) {
    let missing: Vec<String> = records
        .of("sensor-degraded")
        .map(|record| record.get("sensor.degraded").unwrap().to_string())
        .filter(|text| {
            ["EPERM", "EACCES", "ermission", "not permitted", "privilege"].iter().any(|word| text.contains(word))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// KillMode=process leaves the other processes to themselves.
#[test]
fn what_the_daemon_leaves_behind_has_no_capability_and_ends_by_itself() {
    let _machine = Machine::take();
    let folder = Folder::new("unit-left");
    let sshd = Sshd::start(&folder);
    for signal in [Signal::TERM, Signal::KILL] {
        let sensor = Sensor::run_by(&["setsid"], &folder, "", STARTING);
        assert_eq!(sshd.session("root", "exit 3").code(), 3);
        let all = family::of(sensor.pid());
        sensor.signal(signal);
        assert!(
            wait::within(STOPPING, || (!family::is_alive(all[0])).then_some(())).is_some(),
            "{signal:?}: the main process is still there"
        );
        let left = |limit: Duration, counts: &dyn Fn(u32) -> bool| -> Vec<u32> {
            let now = || all.iter().copied().filter(|pid| family::is_alive(*pid) && counts(*pid)).collect::<Vec<u32>>();
            let _ = wait::within(limit, || now().is_empty().then_some(()));
            now()
        };
        let mighty = left(STOPPING, &|pid| family::capabilities(pid) != Some(0));
        assert!(mighty.is_empty(), "{signal:?}: processes {mighty:?} with capabilities outlive the daemon");
        let any = left(RELEASING, &|_| true);
        assert!(any.is_empty(), "{signal:?}: processes {any:?} stay");
        // The file is read again.
        drop(sensor);
    }
}
