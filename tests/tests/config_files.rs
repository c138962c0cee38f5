//! Configuration files that change: by whom, in which session, and what is kept of them. Real programs change them as
//! people do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use sensor_tests::{Folder, Machine, Record, Records, Sensor, Sshd, running};

const SECRET: &str = "PASSWORD=s3cr3t-9f31";

/// A project whose files the sensor watches from the start.
struct Stage {
    sensor: Sensor,
    config: PathBuf,
    secrets: PathBuf,
    settings: String,
    folder: Folder,
    _machine: Machine,
}

impl Stage {
    fn new(name: &str) -> Self {
        let machine = Machine::take();
        let folder = Folder::new(name);
        let project = folder.open_to_all("project");
        fs::create_dir_all(project.join("config")).unwrap();
        fs::create_dir_all(project.join(".kamal")).unwrap();
        let (config, secrets) = (project.join("config/deploy.yml"), project.join(".kamal/secrets"));
        fs::write(&config, "service: myapp\n").unwrap();
        fs::write(&secrets, SECRET).unwrap();
        let settings = format!(
            "[deploy]\nstate = \"{}\"\nwatch = [\"{}\", \"{}\"]\n",
            folder.join("state").display(),
            config.display(),
            secrets.display()
        );
        let sensor = Sensor::run(&folder, &settings);
        let stage = Self { sensor, config, secrets, settings, folder, _machine: machine };
        // Both are known, and their folders watched, once the state is written.
        stage.until_kept(|state| state.contains("deploy.yml") && state.contains("secrets"));
        stage
    }

    fn kept(&self) -> String {
        fs::read_to_string(self.folder.join("state/config-files.json")).unwrap_or_default()
    }

    fn until_kept(&self, fits: impl Fn(&str) -> bool) {
        sensor_tests::wait::until("the state", || fits(&self.kept()).then_some(()));
    }

    fn sh(&self, script: &str) {
        let file = self.config.display();
        running::succeed(Command::new("bash").args(["-c", &format!("f={file}; {script}")]));
    }

    /// Changes so far, after this many.
    fn until_changes(&self, count: usize) -> Vec<Record> {
        let changes = || changes(&self.sensor.records());
        sensor_tests::wait::until(&format!("{count} changes"), || (changes().len() >= count).then_some(()));
        // One too many would come now.
        sleep(Duration::from_millis(500));
        let found = changes();
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }
}

fn changes(records: &Records) -> Vec<Record> {
    records.of("deploy-config-changed").cloned().collect()
}

fn sha256(path: &Path) -> String {
    let sum = running::succeed(Command::new("sha256sum").arg(path)).text();
    sum.split(' ').next().unwrap().to_owned()
}

/// The keyed hash of a file, by openssl: HMAC-SHA256 of its path, a NUL and its SHA-256, under the key in the state
/// folder.
fn keyed(folder: &Folder, path: &Path) -> String {
    let key: String =
        fs::read(folder.join("state/config-files.key")).unwrap().iter().map(|b| format!("{b:02x}")).collect();
    let script = "(printf '%s\\0' \"$1\"; openssl dgst -sha256 -binary \"$1\") | openssl dgst -sha256 -mac HMAC -macopt \"hexkey:$0\" -r";
    let sum = running::succeed(Command::new("bash").args(["-c", script, &key]).arg(path)).text();
    sum.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_change_by_any_program_in_any_way_is_told_once_with_who_made_it() {
    let mut stage = Stage::new("config-ways");
    let mut before = keyed(&stage.folder, &stage.config);
    let ways = [
        ("echo 'a: 1' >> $f", "bash"),
        ("sed -i s/1/2/ $f", "sed"),
        ("cp $f $f.new; echo 'b: 2' >> $f.new; mv $f.new $f", "mv"),
        (
            "python3 -c \"import os,sys; p=sys.argv[1]; f=open(p,'r+'); f.seek(0,2); f.write('c: 3'); f.flush(); os.fsync(f.fileno()); f.close()\" $f",
            "python3",
        ),
        ("perl -i -pe 's/c: 3/d: 4/' $f", "perl"),
        ("echo replaced > /tmp/sensor-other-$$; mv /tmp/sensor-other-$$ $f", "mv"),
        ("rm $f; echo again > $f", "bash"),
        ("echo copied > $f.src; cp $f.src $f; rm $f.src", "cp"),
        ("ln -f $f $f.kept; echo linked > $f.other; ln -f $f.other $f; rm $f.other $f.kept", "ln"),
    ];
    for (n, (script, program)) in ways.iter().enumerate() {
        stage.sh(script);
        let found = stage.until_changes(n + 1);
        let change = &found[n];
        let now = keyed(&stage.folder, &stage.config);
        assert_ne!(now, sha256(&stage.config));
        assert_eq!(change.text("file.path"), stage.config.display().to_string(), "{script}");
        assert_eq!(change.text("file.hash.sha256"), now, "{script}");
        assert_eq!(change.text("deploy.config.previous_sha256"), before, "{script}");
        let name = change.text("process.name");
        assert!(name == *program || name.starts_with("python3") && *program == "python3", "{script}: by {name}");
        assert_eq!(change.text("user.name"), "root", "{script}");
        assert!(change.session().is_empty() && change.get("sensor.inferred").is_none(), "{script}: {change:?}");
        before = now;
    }
    stage.sh("rm $f");
    let found = stage.until_changes(ways.len() + 1);
    let removed = found.last().unwrap();
    assert_eq!(removed.get("deploy.config.removed"), Some(&true.into()));
    assert!(removed.get("file.hash").is_none() && removed.text("process.name") == "rm", "{removed:?}");
    let records = stage.sensor.stop();
    records.assert_nothing_lost();
    assert_eq!(changes(&records).len(), ways.len() + 1);
}

#[test]
fn what_changes_nothing_or_is_another_file_is_not_told() {
    let mut stage = Stage::new("config-nothing");
    let before = keyed(&stage.folder, &stage.config);
    stage.sh(
        "touch $f; cat $f > /dev/null; cp $f /tmp/sensor-same-$$; cat /tmp/sensor-same-$$ > $f; rm /tmp/sensor-same-$$",
    );
    stage.sh("echo other > $(dirname $f)/database.yml; echo x > $(dirname $f)/deploy.yml.bak");
    // An editor's way back: what is there in the end is what was there before.
    stage.sh("mv $f $f~; cp $f~ $f; rm $f~");
    // Time for a wrong record, and then a change that has to be seen: the sensor was awake all the while.
    sleep(Duration::from_secs(1));
    stage.sh("echo loud >> $f");
    let found = stage.until_changes(1);
    assert_eq!(found[0].text("deploy.config.previous_sha256"), before);
    assert_eq!(found[0].text("file.hash.sha256"), keyed(&stage.folder, &stage.config));
    assert_eq!(changes(&stage.sensor.stop()), found);
}

#[test]
fn a_change_in_an_ssh_session_is_that_sessions() {
    let mut stage = Stage::new("config-session");
    let sshd = Sshd::start(&stage.folder);
    // A session that is over before anybody looks.
    running::succeed(sshd.ssh("root", &[]).arg(format!("sed -i s/myapp/other/ {}", stage.config.display())));
    let found = stage.until_changes(1);
    let records = stage.sensor.stop();
    let session =
        records.of("ssh-session-started").find(|r| r.number("destination.port") == Some(sshd.port.into())).unwrap();
    assert_eq!((found[0].session(), found[0].text("process.name")), (session.session(), "sed"));
    assert_eq!(found[0].text("process.entry_leader.entry_meta.source.ip"), "127.0.0.1");
}

#[test]
fn what_changed_while_nobody_watched_is_inferred() {
    let mut stage = Stage::new("config-inferred");
    let before = keyed(&stage.folder, &stage.config);
    stage.sensor.stop();
    stage.sh("echo changed > $f");
    let mut again = Sensor::run(&stage.folder, &stage.settings);
    let change = again.until("the change", |record| record.is("deploy-config-changed"));
    assert_eq!(change.text("deploy.config.previous_sha256"), before);
    assert_eq!(change.text("file.hash.sha256"), keyed(&stage.folder, &stage.config));
    assert_eq!(change.get("sensor.inferred"), Some(&true.into()));
    assert!(change.get("process").is_none(), "{change:?}");
    again.stop();
}

#[test]
fn of_a_secret_only_a_keyed_hash_is_kept_and_told() {
    let mut stage = Stage::new("config-secret");
    let plain = sha256(&stage.secrets);
    fs::write(&stage.secrets, format!("{SECRET}-2")).unwrap();
    let found = stage.until_changes(1);
    let hashes = [found[0].text("file.hash.sha256"), found[0].text("deploy.config.previous_sha256")];
    assert_eq!(found[0].get("deploy.config.keyed"), Some(&true.into()));
    assert!(hashes.iter().all(|hash| hash.len() == 64) && hashes[0] != hashes[1]);
    let pid = stage.sensor.pid();
    assert!(!memory_contains(pid, SECRET.as_bytes()), "the secret is in the memory of the sensor");
    // The search finds what is there.
    assert!(memory_contains(pid, stage.secrets.display().to_string().as_bytes()));
    let records = stage.sensor.stop();
    let log = fs::read_to_string(stage.sensor.path()).unwrap();
    let state = stage.folder.join("state");
    let kept: String = fs::read_dir(&state)
        .unwrap()
        .map(|entry| String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()).into_owned())
        .collect();
    for text in [&log, &kept] {
        for bad in [SECRET, plain.as_str(), sha256(&stage.secrets).as_str()] {
            assert!(!text.contains(bad), "{bad}");
        }
    }
    assert!(kept.contains(hashes[0]) && !records.is_empty());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for entry in fs::read_dir(&state).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

/// Are these bytes anywhere in what the process can write to?
fn memory_contains(pid: u32, needle: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))).any(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        memchr::memmem::find(&bytes[..read], needle).is_some()
    })
}

#[test]
fn a_watched_project_can_be_unmounted_and_removed() {
    let mut stage = Stage::new("config-unmount");
    // Marks hold no mount: a file system with a watched folder goes when its owner wants it to.
    let mount = stage.folder.open_to_all("mount");
    running::succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&mount));
    fs::write(mount.join("deploy.yml"), "x").unwrap();
    stage.sensor.stop();
    let watched = [mount.join("deploy.yml"), stage.config.clone()].map(|path| path.display().to_string());
    let settings = format!("[deploy]\nstate = \"\"\nwatch = {watched:?}\n");
    let mut sensor = Sensor::run(&stage.folder, &settings);
    sleep(Duration::from_millis(500));
    fs::write(mount.join("deploy.yml"), "y").unwrap();
    sensor.until("the change", |record| record.text("file.path").ends_with("mount/deploy.yml"));
    running::succeed(Command::new("umount").arg(&mount));
    fs::remove_dir(&mount).unwrap();
    sleep(Duration::from_millis(500));
    // The sensor still watches.
    stage.sh("echo loud >> $f");
    sensor.until("the other project's change", |record| record.text("file.path") == watched[1]);
    let records = sensor.stop();
    let own = |record: &Record| record.text("file.path").ends_with("mount/deploy.yml");
    assert_eq!(changes(&records).iter().filter(|record| own(record)).count(), 1, "a folder that is gone is no change");
}
