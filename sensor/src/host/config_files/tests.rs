//! Deploys and their files, with this process as the deploy tool. Who changes files in between is tested on a real
//! kernel (`tests/tests/config_files.rs`).

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::event::{
    config_file::{Cause, ConfigFile, Contents, Unread},
    stream::ProcessId,
};

/// This process.
fn own() -> ProcessId {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    ProcessId { tgid: std::process::id(), start: stat.starttime }
}

/// What a file that holds this is known by: the keyed hash of its name and contents.
fn keyed(state: &tempfile::TempDir, name: &str, text: &str) -> Contents {
    let key = fs::read(state.path().join("state/config-files.key")).unwrap();
    let mut hash = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    hash.update(format!("{name}\0").as_bytes());
    hash.update(&Sha256::digest(text));
    Contents::Hash(hash.finalize().into_bytes().into())
}

/// A project's folder, and the sensor's.
struct Stage {
    project: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { project: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() };
        stage.write("config/deploy.yml", "service: myapp");
        stage.write(".kamal/secrets", "PASSWORD=s3cr3t");
        stage
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.project.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn deploying(&self, project: Option<&str>) -> Deploying {
        let path = |name: &str| self.project.path().join(name).display().to_string();
        Deploying {
            process: own(),
            credentials: None,
            of_host: true,
            working_directory: None,
            project: project.map(str::to_owned),
            files: vec![
                (path("config/deploy.yml"), false),
                (path(".kamal/secrets"), true),
                (path("config/deploy.production.yml"), false),
            ],
        }
    }

    /// One run of the sensor with one deploy in it.
    fn deploy(&self, deploying: Deploying) -> Vec<ConfigFile> {
        let settings = Settings { folder: Some(self.state.path().join("state")), files: Vec::new(), key: None };
        let mut files = ConfigFiles::new("/proc".as_ref(), settings);
        files.begin();
        files.deploy_started(deploying);
        let mut out = Vec::new();
        files.finish(Duration::from_secs(10), &mut out, |look| look.into_iter().for_each(Look::answer_here));
        of_deploy(out)
    }
}

fn of_deploy(events: Vec<Event>) -> Vec<ConfigFile> {
    let fact = |event: Event| match event.what {
        EventKind::ConfigFile(file) if matches!(file.cause, Cause::Deploy(_)) => Some(*file),
        _ => None,
    };
    events.into_iter().filter_map(fact).collect()
}

#[test]
fn each_deploy_has_every_file_with_what_it_held_at_the_last() {
    let stage = Stage::new();
    let first = stage.deploy(stage.deploying(None));
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|file| file.before.is_none() && file.cause == Cause::Deploy(own())));
    let config = stage.project.path().join("config/deploy.yml").display().to_string();
    assert_eq!(first[0].now, keyed(&stage.state, &config, "service: myapp"));
    assert_eq!(first[2].now, Contents::Missing);
    let unkeyed = |text: &str| Contents::Hash(Sha256::digest(text).into());
    assert!(first[0].now != unkeyed("service: myapp"));
    assert!(first[1].secret && first[1].now != unkeyed("PASSWORD=s3cr3t"));
    // Another run: what it knows comes from the state.
    let same = stage.deploy(stage.deploying(None));
    assert!(same.iter().all(|file| file.before == Some(file.now) && !file.inferred), "{same:?}");
    stage.write("config/deploy.yml", "service: other");
    stage.write(".kamal/secrets", "PASSWORD=other");
    stage.write("config/deploy.production.yml", "servers: x");
    let changed = stage.deploy(stage.deploying(None));
    for (now, before) in changed.iter().zip(&same) {
        assert_eq!(now.before, Some(before.now));
        assert!(now.now != before.now);
    }
}

#[test]
fn a_secret_is_nowhere_in_what_is_kept() {
    let stage = Stage::new();
    stage.deploy(stage.deploying(None));
    let kept: Vec<u8> = fs::read_dir(stage.state.path().join("state"))
        .unwrap()
        .flat_map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let text = String::from_utf8_lossy(&kept);
    let plain = hex::encode(Sha256::digest("PASSWORD=s3cr3t"));
    assert!(text.contains(".kamal/secrets") && !text.contains("s3cr3t") && !text.contains(&plain));
}

/// A process that is in a folder, as a deploy tool would be.
struct Tool(std::process::Child);

impl Tool {
    fn start_in(folder: &Path) -> Self {
        Self(std::process::Command::new("sleep").arg("60").current_dir(folder).spawn().unwrap())
    }

    fn deploying(&self, project: Option<&str>, working: Option<&Path>) -> Deploying {
        let tgid = self.0.id();
        let stat = procfs::process::Process::new(tgid.cast_signed()).unwrap().stat().unwrap();
        Deploying {
            process: ProcessId { tgid, start: stat.starttime },
            credentials: None,
            of_host: true,
            working_directory: working.map(|path| path.as_os_str().as_bytes().to_vec()),
            project: project.map(str::to_owned),
            files: vec![("./config/deploy.yml".into(), false)],
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_project_is_the_same_wherever_it_is_checked_out() {
    let (here, there) = (Stage::new(), Stage::new());
    there.write("config/deploy.yml", "service: changed");
    let project = Some("kamal myapp production");
    let (first, second) = (Tool::start_in(here.project.path()), Tool::start_in(there.project.path()));
    let found = here.deploy(first.deploying(project, Some(here.project.path())));
    assert_eq!(found[0].path.bytes, here.project.path().join("config/deploy.yml").as_os_str().as_bytes());
    // A working directory that is not where the process is is not believed.
    let found = here.deploy(second.deploying(project, Some(here.project.path())));
    assert_eq!(found[0].path.bytes, there.project.path().join("config/deploy.yml").as_os_str().as_bytes());
    let keyed = |text| keyed(&here.state, "kamal myapp production: ./config/deploy.yml", text);
    assert_eq!((found[0].before, found[0].now), (Some(keyed("service: myapp")), keyed("service: changed")));
    assert!(found[0].inferred, "no watch saw one become the other");
    // Without a project it is its path that counts.
    assert_eq!(here.deploy(second.deploying(None, None))[0].before, None);
}

#[test]
fn a_process_that_is_gone_or_another_is_not_looked_at() {
    let stage = Stage::new();
    let gone = Deploying { process: ProcessId { tgid: own().tgid, start: 1 }, ..stage.deploying(None) };
    assert_eq!(stage.deploy(gone), Vec::<ConfigFile>::new(), "the number is another process's now");
}

#[test]
fn hostile_files_do_not_hold_it_up() {
    let stage = Stage::new();
    let path = |name: &str| stage.project.path().join(name);
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    fs::File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
    let files = ["fifo", "sparse", "config/deploy.yml", "/dev/zero", "\0"]
        .map(|name| (path(name).display().to_string(), false));
    let found = stage.deploy(Deploying { files: files.to_vec(), ..stage.deploying(None) });
    let now: Vec<Contents> = found.iter().map(|file| file.now).collect();
    assert_eq!(
        now[..4],
        [
            Contents::Unread(Unread::NoFile),
            Contents::Unread(Unread::TooLarge { bytes: 1 << 40 }),
            keyed(&stage.state, &path("config/deploy.yml").display().to_string(), "service: myapp"),
            Contents::Unread(Unread::NoFile),
        ]
    );
    assert!(matches!(now[4], Contents::Unread(_) | Contents::Missing));
}

#[test]
fn too_many_deploys_at_once_are_counted() {
    let mut files = ConfigFiles::new("/proc".as_ref(), Settings::default());
    let stage = Stage::new();
    // A thread that takes nothing.
    files.waiting = None;
    files.requests = Some(sync_channel(1).0);
    for _ in 0..5 {
        files.deploy_started(stage.deploying(None));
    }
    let mut out = Vec::new();
    files.poll(7, &mut out);
    let [Event { what: EventKind::Lost(lost), .. }] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!((lost.stage.as_str(), lost.count), ("config", 5));
}

#[test]
fn state_from_a_path_that_is_no_text_is_not_kept_and_harms_nothing() {
    let stage = Stage::new();
    let odd = stage.project.path().join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("deploy.yml"), "x").unwrap();
    let (mut state, _) = state::State::open(Some(stage.state.path()), None);
    let entry = state::Entry { path: odd, secret: false, of_host: true, uid: 0, deployed: None, seen: None, used: 0 };
    state.set("odd".into(), entry);
    state.save().unwrap();
    assert!(state.get("odd").is_none() && Path::new(stage.state.path()).exists());
}
