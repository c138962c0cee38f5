//! Precision: ordinary work, of which nothing is a deploy, and no deploy is recorded of it. `fixtures/ordinary_day.sh`
//! does it: real builds in Rust and Ruby, apt, git, shell loops, SSH by hand and by a Ruby program over SSHKit, and
//! every use of the deploy tools' names that is none.
//!
//! At the end one real start of a tool shows that it would have been recorded. `SENSOR_PRECISION_EXECS` says how many
//! programs are to be executed; a day has 50,000.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Command,
};

use sensor_tests::{Folder, Machine, Record, Records, Trace, project::Hosts, running, sensor};

/// Enough for every kind of work, and some rounds of the bulk.
const EXECS: usize = 3000;

/// The work, in a folder of its own.
struct Day {
    folder: PathBuf,
    script: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Day {
    fn new(folder: &Path, hosts: &Hosts) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let cargo = std::env::var("CARGO").map_or_else(|_| PathBuf::from("/usr/bin"), PathBuf::from);
        // The toolchain's own programs: where a shim of rustup looks for its settings is another home.
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", cargo.parent().unwrap().display());
        let environment = vec![
            ("PATH", path),
            ("SSH_CONFIG", hosts.sshd.file("ssh_config").display().to_string()),
            ("TARGET", format!("{}@test", hosts.account.name)),
            ("TARGET_PORT", hosts.sshd.port.to_string()),
            ("TARGET_KEY", hosts.key().display().to_string()),
            ("FIXTURES", fixtures.display().to_string()),
        ];
        let own = folder.join("day");
        std::fs::create_dir(&own).unwrap();
        Self { folder: own, script: fixtures.join("ordinary_day.sh"), environment }
    }

    fn run(&self, args: &[&str]) {
        let mut command = Command::new("/bin/bash");
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        let ended = running::finish(command.arg(&self.script).args(args).current_dir(&self.folder));
        let said = || std::fs::read_to_string(self.folder.join("out")).unwrap_or_default();
        assert!(ended.status.success(), "{args:?}: {ended:?}\n{}", said());
    }
}

/// Counts the programs that the work executed, in a file of records that grows: others may work on this machine too.
struct Execs {
    file: File,
    folder: String,
    read: u64,
    count: usize,
}

impl Execs {
    fn so_far(&mut self) -> usize {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.read)).unwrap();
        self.file.read_to_end(&mut bytes).unwrap();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        let has = |line: &[u8], text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
        let own = |line: &&[u8]| has(line, "\"action\":\"process-started\"") && has(line, &self.folder);
        self.count += bytes[..whole].split(|byte| *byte == b'\n').filter(own).count();
        self.count
    }
}

/// Records of deploys, but for those of the one that shows that there could be some.
fn false_deploys(records: &Records, known: &str) -> Vec<String> {
    let shown = |record: &Record| {
        let line = [record.text("process.command_line"), record.text("deploy.step.line")].join(" / ");
        format!("{} {} {}: {line}", record.action(), record.text("deploy.tool"), record.text("deploy.verb"))
    };
    let recorded = records.iter().filter(|record| record.get("deploy").is_some() && record.text("deploy.id") != known);
    recorded.map(shown).collect()
}

#[test]
fn a_day_of_ordinary_work_has_no_deploy() {
    let wanted = std::env::var("SENSOR_PRECISION_EXECS").map_or(EXECS, |text| text.parse().expect("a number"));
    let _machine = Machine::take();
    let folder = Folder::new("precision");
    let hosts = Hosts::start(&folder);
    let day = Day::new(&folder, &hosts);
    let recording = folder.join("recording");
    let trace = Trace::start(&folder, &["--all", "--record", recording.to_str().unwrap()]);
    let path = day.folder.display().to_string();
    let mut execs = Execs { file: File::open(folder.join("trace.json")).unwrap(), folder: path, read: 0, count: 0 };
    day.run(&["prepare"]);
    day.run(&["once"]);
    let mut rounds = 0;
    while execs.so_far() < wanted {
        rounds += 1;
        day.run(&["round", &rounds.to_string()]);
    }
    // The same program as before, with a verb: this one would deploy.
    let mut command = Command::new(day.folder.join("baits/kamal"));
    running::succeed(command.args(["deploy", "-d", "production"]).current_dir(day.folder.join("work")));
    let real = |record: &Record| record.list("process.args").ends_with(&["deploy", "-d", "production"]);
    trace.until("the real one", |record| record.is("deploy-finished") && real(record));
    let (records, _) = trace.stop();
    records.assert_nothing_lost();

    let known = records.one("deploy-started", real).text("deploy.id").to_owned();
    let (recorded, count) = (false_deploys(&records, &known), records.count("process-started"));
    let (own, all) = (execs.count, records.len());
    println!(
        "{own} programs executed ({count} on this machine), {all} records, {} of deploys that are none",
        recorded.len()
    );
    assert_eq!(recorded, Vec::<String>::new());
    assert!(own >= wanted && count >= own, "{own} of {count}");

    let mut replay = sensor::command(&["replay", "--all", "--format", "json"]);
    let replayed = Records::parse(&running::succeed(replay.arg(&recording)).stdout);
    assert_eq!((replayed.count("process-started"), replayed.count("deploy-started")), (count, 1));
    assert_eq!(false_deploys(&replayed, &known), Vec::<String>::new());
}
