//! An ordinary user who attacks the sensor, another user beside whose acts must stay recorded, and the bounds that hold
//! meanwhile.
//!
//! The attacker logs in through the real sshd and runs what lies in `fixtures/hostile`; nothing is done for it by root
//! that a user could not do, except where a test says so (a file system that does not answer needs `user_allow_other`
//! on a real host). Every wait has a bound: a sensor that an attack has frozen must fail a test and not stop it.

pub mod family;
pub mod opens;
pub mod slow;
pub mod tripwire;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{Account, Ended, Folder, Machine, Record, Records, Running, Sensor, Sshd, running, wait};

/// A record of another user's act comes within this, whatever the attacker does. The attacker's own programs compete
/// for the same cores.
pub const AWAKE: Duration = Duration::from_secs(15);
/// SIGTERM to the end of the main process: 2 s are promised, and this machine is shared.
pub const STOPPING: Duration = Duration::from_secs(5);
/// From its start to `sensor-started`.
pub const STARTING: Duration = Duration::from_secs(20);
/// An attack is killed after this.
const ATTACK_SECONDS: &str = "60";

/// Kinds of file that `fixtures/hostile/place.sh` makes without a target.
pub const KINDS: [&str; 6] = ["fifo", "directory", "socket", "loop", "sparse", "growing"];

pub struct Siege {
    pub attacker: Account,
    pub victim: Account,
    pub sensor: Sensor,
    pub sshd: Sshd,
    pub folder: Folder,
    scripts: PathBuf,
    acts: AtomicU32,
    _machine: Machine,
}

impl Siege {
    /// `config` follows `[output]`.
    pub fn new(name: &str, config: &str) -> Self {
        Self::after(name, config, |_, _, _| ())
    }

    /// What is done before the sensor starts.
    pub fn after(name: &str, config: &str, before: impl FnOnce(&Account, &Sshd, &Path)) -> Self {
        Self::by(name, config, |_| Vec::new(), before)
    }

    /// The sensor is started by a command that becomes it; the command may write to the file that it is given.
    pub fn traced(name: &str, by: impl FnOnce(&str) -> Vec<String>) -> Self {
        Self::by(name, "", by, |_, _, _| ())
    }

    fn by(
        name: &str,
        config: &str,
        by: impl FnOnce(&str) -> Vec<String>,
        before: impl FnOnce(&Account, &Sshd, &Path),
    ) -> Self {
        let machine = Machine::take();
        let folder = Folder::new(name);
        let (attacker, victim) = (Account::create("sensor-attack"), Account::create("sensor-victim"));
        fs::set_permissions(&victim.home, fs::Permissions::from_mode(0o700)).unwrap();
        let scripts = scripts(&folder);
        // After the accounts, so that it knows them; its sessions end with it.
        let sshd = Sshd::start(&folder);
        before(&attacker, &sshd, &scripts);
        // A session leader without a terminal, as a service is: the first terminal that it opens would be its own.
        let words = [vec!["setsid".to_owned()], by(folder.join("strace").to_str().unwrap())].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let sensor = Sensor::run_by(&words, &folder, config, STARTING);
        Self { attacker, victim, sensor, sshd, folder, scripts, acts: AtomicU32::new(0), _machine: machine }
    }

    /// Runs a script of `fixtures/hostile` in a session of the attacker, to its end.
    pub fn attack(&self, script: &str) -> Ended {
        running::finish(self.ssh(&[]).arg(self.line(script)))
    }

    /// The same beside what follows; its output is not read. Killed when dropped, with the attacker's account at the
    /// latest.
    pub fn attack_beside(&self, script: &str) -> Running {
        let mut ssh = self.ssh(&[]);
        Running::start(ssh.arg(self.line(script)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Waits for the end of an attack, which has a bound of its own.
    pub fn until_ended(&self, mut attack: Running, what: &str) {
        let status = attack.wait();
        assert!(status.success(), "{what} ended with {status}");
    }

    /// `ssh OPTIONS attacker@test`; the command follows.
    pub fn ssh(&self, options: &[&str]) -> Command {
        self.sshd.ssh(&self.attacker.name, options)
    }

    fn line(&self, script: &str) -> String {
        format!(
            "PATH={}:/usr/local/bin:/usr/bin:/bin exec timeout -s KILL {ATTACK_SECONDS} {script}",
            self.scripts.display()
        )
    }

    /// `place.sh` with these kinds and targets of links, all at once; then the sensor is awake.
    pub fn place(&self, all: &[(&str, &str)]) {
        let what: Vec<String> = all.iter().map(|(kind, target)| format!("{kind} {target}")).collect();
        let line = |(kind, target): &(&str, &str)| format!("place.sh {kind} {} '{target}'", self.sshd.port);
        let attacks: Vec<Running> = all.iter().map(|one| self.attack_beside(&line(one))).collect();
        for (attack, what) in attacks.into_iter().zip(&what) {
            self.until_ended(attack, what);
        }
        self.assert_awake(&what.join(", "));
    }

    /// The victim logs in and runs a program; both are recorded soon.
    pub fn assert_awake(&self, after: &str) {
        let mark = format!("act-{}", self.acts.fetch_add(1, Ordering::Relaxed));
        let start = Instant::now();
        let ended = self.sshd.session(&self.victim.name, &format!("/bin/true {mark}"));
        assert_eq!(ended.code(), 0, "after {after} no user can log in: {ended:?}");
        assert!(start.elapsed() < AWAKE, "after {after} a login takes {:?}", start.elapsed());
        assert!(family::is_alive(self.sensor.pid()), "after {after} the sensor has ended");
        let recorded = || {
            let records = self.sensor.records();
            let exec =
                records.of("process-started").find(|record| record.list("process.args") == ["/bin/true", &mark])?;
            let id = exec.session();
            let ended = records.of("ssh-session-ended").any(|record| record.session() == id);
            ended.then(|| (exec.text("user.name").to_owned(), records.session(id)))
        };
        let (user, session) = soon(recorded)
            .unwrap_or_else(|| panic!("after {after} the sensor does not record another user's login and exec"));
        assert_eq!(user, self.victim.name, "after {after}: the name of the user of an exec");
        let connection = session.one("ssh-connection", |record| record.text("ssh.role") == "server");
        assert_eq!(connection.text("ssh.capture"), "full", "after {after} sshd is not read in full");
        session.one("ssh-command-ended", |record| record.number("ssh.command.exit_status") == Some(0));
    }

    /// No process of the sensor has a terminal.
    pub fn assert_no_terminal(&self, after: &str) {
        for pid in family::of(self.sensor.pid()) {
            assert_eq!(
                family::terminal(pid).unwrap_or(0),
                0,
                "after {after} process {pid} of the sensor has a terminal"
            );
        }
    }

    /// SIGTERM: it ends in time. Everything that it wrote.
    pub fn stop(&mut self) -> Records {
        stop(&mut self.sensor)
    }

    /// A key with which the attacker's own programs can log in.
    pub fn key(&self) -> PathBuf {
        let path = self.attacker.home.join("key");
        fs::copy(self.sshd.file("user_key"), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(self.attacker.uid), None).unwrap();
        path
    }

    /// A folder in the attacker's home.
    pub fn home(&self, name: &str) -> PathBuf {
        let path = self.attacker.home.join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(self.attacker.uid), None).unwrap();
        path
    }
}

/// No event of the kernel's was lost, and no record. That the configuration of a deploy was not looked at, in a flood
/// of deploys by the attacker, is counted too, and is no other user's loss.
pub fn assert_no_event_lost(records: &Records) {
    let of_deploys = |record: &&Record| record.text("sensor.lost.stage") == "config";
    Records(records.iter().filter(|record| !of_deploys(record)).cloned().collect()).assert_nothing_lost();
}

/// SIGTERM to a sensor, which ends in time.
pub fn stop(sensor: &mut Sensor) -> Records {
    let took = time_to_stop(sensor);
    assert!(took < STOPPING, "SIGTERM took {took:?}");
    sensor.stop()
}

/// From SIGTERM to the end of the main process; not longer than `AWAKE`.
pub fn time_to_stop(sensor: &Sensor) -> Duration {
    let start = Instant::now();
    sensor.signal(Signal::TERM);
    wait::within(AWAKE, || (!family::is_alive(sensor.pid())).then_some(())).map_or(Duration::MAX, |()| start.elapsed())
}

/// What is there within `AWAKE`. Records are parsed each time: not too often.
pub fn soon<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > AWAKE {
            return None;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Copies of `fixtures/hostile`, where every user can run them.
fn scripts(folder: &Folder) -> PathBuf {
    let to = folder.join("hostile");
    running::succeed(Command::new("cp").arg("-r").arg(fixture("hostile")).arg(&to));
    running::succeed(Command::new("chmod").args(["-R", "a+rX"]).arg(&to));
    to
}

/// A file in `fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
