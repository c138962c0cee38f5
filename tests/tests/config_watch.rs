//! Who changes configuration files, and how: fanotify alone, without probes. Real programs change a file as people do;
//! the facts must name each once.
//!
//! Needs root (a fanotify group), and nothing of the machine: it runs beside other tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use sensor::{
    event::{
        config_file::{Author, Cause, ConfigFile, Contents},
        stream::EventKind,
    },
    host::config_files::{ConfigFiles, Settings},
};
use sensor_tests::Folder;

struct Watched {
    files: ConfigFiles,
    path: PathBuf,
    /// What it held at the start.
    first: Contents,
    /// Another watched file, in a folder of its own.
    control: PathBuf,
    found: Vec<ConfigFile>,
    folder: Folder,
}

impl Watched {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        fs::create_dir(folder.join("config")).unwrap();
        fs::create_dir(folder.join("control")).unwrap();
        let (path, control) = (folder.join("config/deploy.yml"), folder.join("control/deploy.yml"));
        fs::write(&path, "service: myapp\n").unwrap();
        fs::write(&control, "silent\n").unwrap();
        let settings = Settings { folder: None, files: vec![path.clone(), control.clone()], key: None };
        let mut files = ConfigFiles::new("/proc".as_ref(), settings);
        files.begin();
        let mut watched = Self { files, path, first: Contents::Missing, control, found: Vec::new(), folder };
        watched.until(2);
        let own = watched.path.as_os_str().as_encoded_bytes();
        watched.first = watched.found.iter().find(|file| file.path.bytes == own).unwrap().now;
        watched.found.clear();
        watched
    }

    fn poll(&mut self) {
        let mut out = Vec::new();
        while let Some(look) = self.files.try_look() {
            look.answer_here();
        }
        self.files.poll(0, &mut out);
        for event in out {
            match event.what {
                EventKind::ConfigFile(file) => self.found.push(*file),
                other => panic!("{other:?}"),
            }
        }
    }

    fn until(&mut self, count: usize) {
        let began = Instant::now();
        while self.found.len() < count {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{} facts of {count}: {:#?}",
                self.found.len(),
                self.found
            );
            sleep(Duration::from_millis(10));
            self.poll();
        }
    }

    /// One too many would come now.
    fn settle(&mut self) {
        // What the thread wants to be read is read here, as the daemon's main thread has it read.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(600) {
            sleep(Duration::from_millis(10));
            self.poll();
        }
    }

    /// Runs a script that says its program's pid where `$f` is the file.
    fn change(&mut self, script: &str) -> (ConfigFile, Vec<u32>) {
        self.found.clear();
        let script = format!("f={}; {script}", self.path.display());
        let run = Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()).output().unwrap();
        assert!(run.status.success(), "{script}: {run:?}");
        self.until(1);
        self.settle();
        assert_eq!(self.found.len(), 1, "{script}: {:#?}", self.found);
        let pids = String::from_utf8(run.stdout).unwrap();
        (self.found.remove(0), pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
    }
}

fn tgid(file: &ConfigFile) -> u32 {
    match file.cause {
        Cause::Changed(Author::Process(id)) => id.tgid,
        Cause::Changed(Author::Gone { tgid }) => tgid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_way_to_change_a_file_is_one_fact_with_its_author() {
    let mut watched = Watched::new("watch-ways");
    let mut before = None;
    for script in [
        "echo $$; echo 'a: 1' >> $f",
        "sh -c 'echo $$; exec sed -i s/1/2/ $0' $f",
        "cp $f $f.new; echo 'b: 2' >> $f.new; sh -c 'echo $$; exec mv $0.new $0' $f",
        "sh -c 'echo $$; exec perl -i -pe s/2/3/ $0' $f",
        "echo replaced > $f.elsewhere; mkdir -p $(dirname $f)/../other; mv $f.elsewhere $(dirname $f)/../other/x; sh -c 'echo $$; exec mv $(dirname $0)/../other/x $0' $f",
        "echo $$; rm $f; echo again > $f",
        "echo copied > $f.src; sh -c 'echo $$; exec cp $0.src $0' $f; rm $f.src",
        "echo linked > $f.other; sh -c 'echo $$; exec ln -f $0.other $0' $f; rm $f.other",
        "echo sym > $f.target; sh -c 'echo $$; exec ln -sfn deploy.yml.target $0' $f",
        "rm $f $f.target; echo $$; echo plain > $f",
        "sh -c 'echo $$; exec truncate -s 3 $0' $f",
    ] {
        let (file, pids) = watched.change(script);
        assert_eq!(file.path.bytes, watched.path.as_os_str().as_encoded_bytes(), "{script}");
        assert!(pids.contains(&tgid(&file)), "{script}: by {} and not {pids:?}", tgid(&file));
        assert!(before.is_none_or(|before| Some(before) == file.before), "{script}");
        assert!(file.before != Some(file.now) && !file.inferred, "{script}: {file:?}");
        before = Some(file.now);
    }
    let (file, pids) = watched.change("sh -c 'echo $$; exec rm $0' $f");
    assert_eq!((file.now, pids), (Contents::Missing, vec![tgid(&file)]));
    // A writer that lives on is known with its start.
    let mut writer = Command::new("bash");
    let script = format!("echo new > {}; sleep 30", watched.path.display());
    let mut writer = writer.args(["-c", &script]).spawn().unwrap();
    watched.found.clear();
    watched.until(1);
    assert!(
        matches!(watched.found[0].cause, Cause::Changed(Author::Process(id)) if id.tgid == writer.id() && id.start > 0)
    );
    let _ = writer.kill();
    let _ = writer.wait();
}

#[test]
fn what_changes_nothing_in_the_end_is_no_fact() {
    let mut watched = Watched::new("watch-nothing");
    let script = "touch $f; cat $f > /dev/null; cp $f $f.same; cat $f.same > $f; mv $f $f~; mv $f~ $f; echo x > $(dirname $f)/other.yml; rm $f.same; chmod 600 $f";
    let script = format!("f={}; {script}", watched.path.display());
    assert!(Command::new("bash").args(["-c", &script]).status().unwrap().success());
    watched.settle();
    // A change that has to be seen: what came before it was seen too, and was none.
    fs::write(&watched.path, "loud\n").unwrap();
    watched.until(1);
    watched.settle();
    assert_eq!(watched.found.len(), 1, "{:#?}", watched.found);
    assert_eq!(watched.found[0].before, Some(watched.first));
    // The whole checkout goes: no change of its configuration.
    watched.found.clear();
    fs::remove_dir_all(watched.folder.join("config")).unwrap();
    watched.settle();
    fs::write(&watched.control, "loud\n").unwrap();
    watched.until(1);
    watched.settle();
    let found: Vec<&[u8]> = watched.found.iter().map(|file| file.path.bytes.as_slice()).collect();
    assert_eq!(found, [watched.control.as_os_str().as_encoded_bytes()]);
}

#[test]
fn a_flood_of_changes_ends_in_the_truth() {
    let mut watched = Watched::new("watch-flood");
    let script = format!("f={}; for n in $(seq 3000); do echo $n > $f; done", watched.path.display());
    assert!(Command::new("bash").args(["-c", &script]).status().unwrap().success());
    watched.settle();
    assert!(watched.found.len() < 100, "{} facts of 3000 changes", watched.found.len());
    let last = watched.found.last().expect("a change");
    let last = last.now;
    // The same text again, as one change: the hash is keyed, and equal for equal text.
    watched.found.clear();
    fs::write(&watched.path, "another\n").unwrap();
    watched.until(1);
    fs::write(&watched.path, "3000\n").unwrap();
    watched.until(2);
    assert_eq!(watched.found.last().map(|file| file.now), Some(last));
}
