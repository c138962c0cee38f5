//! A disk that is full, a reader that stopped, a standard error that cannot be written: none of them stops the sensor
//! or holds up its end, and records that are missing by their number are records reported as lost. A user makes the
//! records, in a session.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sensor_tests::{Account, Folder, Machine, Records, Running, Sshd, running, sensor, wait};

/// Execs of one session: about 1.3 KB of records each.
const EXECS: usize = 3_000;
const RECORDS_MIN: u64 = 2 * EXECS as u64;
/// Taking the probes away takes the kernel seconds; an output that is stuck adds one.
const END_MAX: Duration = Duration::from_secs(30);

/// A file system of its own with so much room, until dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Folder, size: &str) -> Self {
        let path = folder.join("disk");
        fs::create_dir(&path).unwrap();
        let options = format!("size={size},mode=0700");
        running::succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path));
        Self(path)
    }

    fn resize(&self, size: &str) {
        running::succeed(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = running::finish(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

/// `sensor run`, a server, and a user.
struct Test {
    sshd: Sshd,
    process: Running,
    account: Account,
    folder: Folder,
    _machine: Machine,
}

impl Test {
    /// `output` is `[output]` of the configuration; ready when `started` finds so.
    fn start(
        folder: Folder,
        machine: Machine,
        output: &str,
        [stdout, stderr]: [Stdio; 2],
        started: impl Fn(&mut Running) -> bool,
    ) -> Self {
        let state = folder.join("state");
        let config =
            folder.write("sensor.toml", format!("[output]\n{output}\n[deploy]\nstate = \"{}\"\n", state.display()));
        let account = Account::create("sensor-test");
        let mut command = sensor::command(&["run", "--config"]);
        let mut process = Running::start(
            command.arg(&config).env("SENSOR_LOG", "info").stdin(Stdio::null()).stdout(stdout).stderr(stderr),
        );
        wait::until("the sensor's start", || {
            assert!(process.ended().is_none(), "sensor ended at once");
            started(&mut process).then_some(())
        });
        let sshd = Sshd::start(&folder);
        Self { sshd, process, account, folder, _machine: machine }
    }

    fn flood(&self, mark: &str) {
        let command = format!("for i in {{1..{EXECS}}}; do /bin/true {mark} $i; done");
        assert_eq!(self.sshd.session(&self.account.name, &command).code(), 0);
    }

    fn stop(&mut self) -> ExitStatus {
        let began = Instant::now();
        self.process.signal(Signal::TERM);
        let status = self.process.wait();
        assert!(began.elapsed() < END_MAX, "{:?} from SIGTERM to the end", began.elapsed());
        status
    }
}

/// Whole lines; a half one is the end of what a pipe took.
fn lines(bytes: &[u8]) -> Records {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Records::parse(&bytes[..end])
}

fn started(path: &Path) -> bool {
    lines(&fs::read(path).unwrap_or_default()).count("sensor-started") == 1
}

/// Numbers that are not there, up to the last one that is.
fn missing(records: &Records) -> Vec<u64> {
    let there: Vec<u64> = records.iter().filter_map(|record| record.number("event.sequence")).collect();
    assert!(there.is_sorted() && there.windows(2).all(|pair| pair[0] != pair[1]), "numbers only rise");
    (1..=*there.last().unwrap()).filter(|number| there.binary_search(number).is_err()).collect()
}

/// What records say of lost records: how many, and which.
fn reported(records: &Records) -> (u64, Vec<u64>) {
    let of_sink = || records.of("sensor-events-lost").filter(|record| record.text("sensor.lost.stage") == "sink");
    let mut numbers: Vec<u64> = of_sink()
        .filter_map(|record| record.get("sensor.lost.sequence")?.as_array())
        .flatten()
        .flat_map(|range| range["first"].as_u64().unwrap()..=range["last"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    (of_sink().filter_map(|record| record.number("sensor.lost.count")).sum(), numbers)
}

/// Of standard error: how many records were lost that no record reports, and the last number among them.
fn last_words(errors: &str) -> (u64, u64) {
    let line = errors.lines().find(|line| line.contains("records were lost and no record says so")).expect(errors);
    let count = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    let numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
    (count, numbers.max().unwrap())
}

#[test]
fn records_that_a_full_disk_did_not_take_are_reported_when_it_has_room() {
    let machine = Machine::take();
    let folder = Folder::new("full-disk");
    let disk = Disk::mount(&folder, "2m");
    let output = disk.0.join("sensor.json");
    let errors = File::create(folder.join("errors")).unwrap();
    let config = format!("path = \"{}\"", output.display());
    let mut test = Test::start(folder, machine, &config, [Stdio::null(), errors.into()], |_| started(&output));
    test.flood("full");
    test.flood("still-full");
    disk.resize("64m");
    // Nothing else has to happen: the sensor tries by itself.
    let look = || reported(&lines(&fs::read(&output).unwrap())).0;
    wait::until("a report of what was lost", || (look() > RECORDS_MIN).then_some(()));
    assert_eq!(test.sshd.session(&test.account.name, "/bin/true after").code(), 0);
    assert!(test.stop().success());
    let records = Records::parse(&fs::read(&output).unwrap());
    let (count, numbers) = reported(&records);
    let missing = missing(&records);
    assert!(missing.len() as u64 > RECORDS_MIN, "{} missing", missing.len());
    assert_eq!((missing.len() as u64, &missing), (count, &numbers));
    let stopped = records.last().unwrap();
    assert!(stopped.is("sensor-stopped"));
    assert_eq!(stopped.number("sensor.records.written"), Some(records.len() as u64 - 1));
    assert_eq!(stopped.get("sensor.records.lost").unwrap()[0]["count"].as_u64(), Some(count));
    assert_eq!(stopped.get("sensor.records.lost").unwrap()[0]["kind"], "ENOSPC");
    records.one("process-started", |record| record.list("process.args") == ["/bin/true", "after"]);
    drop(disk);
}

#[test]
fn a_disk_that_never_has_room_has_its_account_on_standard_error() {
    let machine = Machine::take();
    let folder = Folder::new("full-disk-ever");
    let disk = Disk::mount(&folder, "2m");
    let output = disk.0.join("sensor.json");
    let path = folder.join("errors");
    let errors = File::create(&path).unwrap();
    let config = format!("path = \"{}\"", output.display());
    let mut test = Test::start(folder, machine, &config, [Stdio::null(), errors.into()], |_| started(&output));
    test.flood("full");
    assert!(test.stop().success());
    let records = Records::parse(&fs::read(&output).unwrap());
    let (lost, last) = last_words(&fs::read_to_string(&path).unwrap());
    // A page at the end may have had room for a report.
    assert!(reported(&records).0 + lost > RECORDS_MIN / 2, "{lost} lost");
    assert_eq!(records.len() as u64 + reported(&records).0 + lost, last, "each number is there or lost");
    drop(disk);
}

#[test]
fn a_reader_that_stopped_holds_up_neither_the_sensor_nor_its_end() {
    let machine = Machine::take();
    let folder = Folder::new("stopped-reader");
    let path = folder.join("errors");
    let errors = File::create(&path).unwrap();
    let (mut reader, writer) = io::pipe().unwrap();
    let ready = |_: &mut Running| fs::read_to_string(&path).unwrap().contains("watching");
    let stdio = [Stdio::from(OwnedFd::from(writer)), errors.into()];
    let mut test = Test::start(folder, machine, "path = \"-\"\nqueue_bytes = 1048576", stdio, ready);
    // More than the pipe and the queue hold; the session is served as ever.
    test.flood("unread");
    assert!(test.stop().success());
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    let records = lines(&bytes);
    let (lost, last) = last_words(&fs::read_to_string(&path).unwrap());
    assert!(records.count("sensor-started") == 1 && lost > RECORDS_MIN / 2, "{lost} lost");
    assert_eq!(records.len() as u64 + lost, last, "each number is there or lost");
}

#[test]
fn what_a_slow_reader_missed_is_reported_when_it_reads_again() {
    let machine = Machine::take();
    let folder = Folder::new("slow-reader");
    let path = folder.join("errors");
    let errors = File::create(&path).unwrap();
    let (mut reader, writer) = io::pipe().unwrap();
    let stdio = [Stdio::from(OwnedFd::from(writer)), errors.into()];
    let ready = |_: &mut Running| fs::read_to_string(&path).unwrap().contains("watching");
    let mut test = Test::start(folder, machine, "path = \"-\"\nqueue_bytes = 1048576", stdio, ready);
    test.flood("unread");
    let all = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    test.flood("read");
    assert!(test.stop().success());
    drop(test);
    let records = Records::parse(&all.join().unwrap().unwrap());
    let (count, numbers) = reported(&records);
    assert!(count > RECORDS_MIN / 2, "{count} lost");
    assert_eq!((missing(&records), missing(&records).len() as u64), (numbers, count));
    let kinds: Vec<&str> = records.of("sensor-events-lost").map(|record| record.text("sensor.lost.kind")).collect();
    assert!(kinds.iter().all(|kind| *kind == "queue full"), "{kinds:?}");
    assert!(records.last().unwrap().is("sensor-stopped"));
}

/// Runs a sensor that has something to say, with this standard error: its records are as ever.
fn with_errors(name: &str, stderr: Stdio) {
    let machine = Machine::take();
    let folder = Folder::new(name);
    let output = folder.join("sensor.json");
    let config = format!("path = \"{}\"", output.display());
    let mut test = Test::start(folder, machine, &config, [Stdio::null(), stderr], |_| started(&output));
    let text = fs::read_to_string(test.folder.join("sensor.toml")).unwrap();
    test.folder.write("sensor.toml", text + "[kernel]\nring_bytes = 8192\n");
    for _ in 0..20 {
        // What takes effect at the next start only is said each time.
        test.process.signal(Signal::HUP);
        assert_eq!(test.sshd.session(&test.account.name, "/bin/true said").code(), 0);
    }
    assert!(test.stop().success());
    let records = Records::parse(&fs::read(test.folder.join("sensor.json")).unwrap());
    records.assert_contract();
    records.assert_nothing_lost();
    let recorded = records.of("process-started").filter(|record| record.list("process.args") == ["/bin/true", "said"]);
    assert_eq!(recorded.count(), 20);
}

#[test]
fn a_standard_error_on_a_full_disk_ends_nothing() {
    with_errors("full-errors", File::options().write(true).open("/dev/full").unwrap().into());
    for verb in
        [["check", "--format=table"], ["check", "--format=json"], ["replay", "/nowhere"], ["completions", "bash"]]
    {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let mut command = sensor::command(&verb);
        let status = command.stdin(Stdio::null()).stdout(full()).stderr(full()).status().unwrap();
        assert!(matches!(status.code(), Some(0 | 1)), "{verb:?}: {status}");
    }
}

#[test]
fn a_standard_error_that_nobody_reads_holds_up_nothing() {
    let (reader, mut writer) = io::pipe().unwrap();
    // Full from the beginning.
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    with_errors("unread-errors", Stdio::from(OwnedFd::from(writer)));
    drop(reader);
}
