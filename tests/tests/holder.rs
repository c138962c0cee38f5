//! However many programs are probed: the daemon's end by any signal takes no time, and while its holder releases them
//! one by one, another sensor attaches and sees all, and no login waits.
//!
//! `SENSOR_HOLDER_FILES` says how many.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sensor_tests::{Folder, Machine, Running, Sensor, kernel_maps, lab::Lab, running, wait};

const FILES: usize = 300;
const AT_ONCE: usize = 10;
/// Of wall time, on a machine that has other work too.
const END: Duration = Duration::from_secs(5);
const LOGIN: Duration = Duration::from_secs(2);
const LOGINS: usize = 10;
/// Until the kernel has detached what a killed holder had.
const PATIENCE: Duration = Duration::from_mins(10);

/// Executes so many programs that the sensor has not seen yet; each is probed.
fn probe_copies(folder: &Path, holder: u32, files: usize) {
    fs::create_dir_all(folder).unwrap();
    let before = kernel_maps::links(holder);
    let copies: Vec<PathBuf> = (0..files).map(|file| folder.join(format!("ssh-{file}"))).collect();
    for (batch, done) in copies.chunks(AT_ONCE).zip((AT_ONCE..).step_by(AT_ONCE)) {
        // It waits for the other side until it is killed: the sensor has time to look at the program.
        let start = |program: &PathBuf| {
            fs::copy("/usr/bin/ssh", program).unwrap();
            let mut ssh = Command::new(program);
            ssh.args(["-o", "ProxyCommand=cat", "nowhere"]);
            Running::start(ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
        };
        let _started: Vec<Running> = batch.iter().map(start).collect();
        let probed = || (kernel_maps::links(holder) >= before + done.min(files)).then_some(());
        wait::until("every copy's probes", probed);
    }
    println!("{files} files: {} links", kernel_maps::links(holder) - before);
}

/// A login by a program that no sensor has seen yet, and how long it took.
fn login(lab: &Lab, program: &Path, line: &str) -> Duration {
    fs::copy("/usr/bin/ssh", program).unwrap();
    let usual = lab.ssh(&lab.one.name, "ed25519", true, &[]);
    let mut ssh = Command::new(program);
    ssh.args(usual.get_args()).arg(line).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => ssh.env(name, value),
            None => ssh.env_remove(name),
        };
    }
    let begun = Instant::now();
    running::succeed(&mut ssh);
    begun.elapsed()
}

/// A sensor reads logins in full, on both sides, while a holder releases.
fn assert_sees_all(lab: &Lab, folder: &Path, sensor: &mut Sensor, releasing: u32) {
    let before = kernel_maps::links(releasing);
    let mut slowest = Duration::ZERO;
    for n in 0..LOGINS {
        slowest = slowest.max(login(lab, &folder.join(format!("fresh-{n}")), &format!("true {n}")));
    }
    let after = kernel_maps::links(releasing);
    sensor.until_sessions_end(lab.sshd.port, LOGINS);
    let records = sensor.records();
    let of = |records: sensor_tests::Records| records.count("ssh-command-started");
    let (server, client) = (of(records.of_server(lab.sshd.port)), of(records.of_clients(lab.sshd.port)));
    println!(
        "{LOGINS} logins, slowest {slowest:?}, read in full: {server} as server, {client} as client; the holder went from {before} to {after} links"
    );
    assert!(after > 0, "the holder was done before the logins were");
    assert!(slowest < LOGIN, "{slowest:?}");
    assert_eq!(server, LOGINS);
    // A client that is new to the sensor may be quicker than a busy machine.
    assert!(client + 1 >= LOGINS, "{client}");
}

/// Ends a sensor and starts another one; returns the first one's holder.
fn end_and_start(sensor: &mut Sensor, folder: &Path, end: impl FnOnce(&mut Sensor)) -> (Sensor, u32) {
    let holder = kernel_maps::holder(sensor.pid()).unwrap();
    let begun = Instant::now();
    end(sensor);
    let ended = begun.elapsed();
    let begun = Instant::now();
    let next = Sensor::run(folder, "");
    println!("ended in {ended:?}; another one has started {:?} after that", begun.elapsed());
    assert!(ended < END, "{ended:?}");
    assert!(kernel_maps::links(holder) > 0, "the holder releases");
    (next, holder)
}

/// Gone, or only waited for.
fn has_ended(pid: u32) -> Option<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    status.map_or(true, |status| status.contains("State:\tZ")).then_some(())
}

/// Holders that this test leaves would disturb the next: the kernel detaches what they had, without pauses.
fn end_holder(holder: u32) {
    let _ = kill_process(Pid::from_raw(holder.cast_signed()).unwrap(), Signal::KILL);
    let begun = Instant::now();
    wait::within(PATIENCE, || has_ended(holder)).expect("the holder ends");
    println!("a killed holder's end took {:?}", begun.elapsed());
}

#[test]
fn an_end_takes_no_time_and_holds_up_nobody() {
    let files = std::env::var("SENSOR_HOLDER_FILES").map_or(FILES, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("holder");
    let lab = Lab::start(&folder);
    let mut first = Sensor::run(&folder.private("first"), "");
    probe_copies(&folder.join("copies"), kernel_maps::holder(first.pid()).unwrap(), files);

    let (mut second, terminated) = end_and_start(&mut first, &folder.private("second"), |sensor| {
        sensor.stop();
    });
    assert_sees_all(&lab, &folder.open_to_all("fresh-second"), &mut second, terminated);

    probe_copies(&folder.join("more"), kernel_maps::holder(second.pid()).unwrap(), files / 3);
    let (mut third, killed) = end_and_start(&mut second, &folder.private("third"), |sensor| {
        sensor.kill();
    });
    assert_sees_all(&lab, &folder.open_to_all("fresh-third"), &mut third, killed);
    third.stop();
    end_holder(terminated);
    end_holder(killed);
}

#[test]
fn a_holder_has_no_privileges_and_ends_by_itself() {
    let _machine = Machine::take();
    let folder = Folder::new("holder-itself");
    let mut sensor = Sensor::run(&folder, "");
    let holder = kernel_maps::holder(sensor.pid()).unwrap();
    let status = fs::read_to_string(format!("/proc/{holder}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Threads:")), ("1".into(), "1".into()));
    println!("RssAnon {}, RssFile {}", field("RssAnon:"), field("RssFile:"));
    let fds = fs::read_dir(format!("/proc/{holder}/fd")).unwrap().flatten();
    let targets: Vec<String> = fds.map(|entry| fs::read_link(entry.path()).unwrap().display().to_string()).collect();
    let strange: Vec<&String> = targets
        .iter()
        .filter(|target| {
            !["/dev/null", "anon_inode:bpf_link", "/run/sensor/release.lock"].contains(&target.as_str())
                && !target.starts_with("socket:")
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    // What ends a service or a terminal's session does not end it.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(Pid::from_raw(holder.cast_signed()).unwrap(), signal).unwrap();
    }
    sensor.stop();
    wait::within(PATIENCE, || has_ended(holder)).expect("it ends when it has nothing left");
}
