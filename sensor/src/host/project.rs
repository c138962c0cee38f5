//! Files and variables of a deploy: read on a thread of their own, in a time that is bounded.
//!
//! In: a process, the files that its tool would read, the variables that may be read. Out: their bytes, or why not. All of it belongs to whoever deploys, so it is hostile: a path is resolved
//! inside the process's root (openat2, RESOLVE_IN_ROOT), only plain files are opened (never a FIFO), no more than a bound is read of one, and a file that was written to meanwhile is said to have
//! changed. A file system can take for ever to answer (FUSE, NFS): then the thread is stuck and the sensor is not; it is asked again once it is back. Of an environment
//! only lines with a name of the list are kept, and the buffer that held the rest is overwritten before it is used again.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::{Duration, Instant},
};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::beneath::{Beneath, Budget};
use crate::event::{deploy::FileState, stream};

/// A local disk answers in microseconds, and on a machine with too much to do sometimes in a fifth of a second; the ring holds what comes in this time.
const PATIENCE: Duration = Duration::from_millis(300);
/// Deploys looked at in one second. More is a loop, or somebody who wants the sensor busy.
const PER_SECOND: u32 = 20;
/// An environment is read this far: the kernel's own limit for all of argv and environment is larger, but nobody's is.
const ENVIRONMENT_MAX: u64 = 1 << 20;
/// Bytes kept of one variable.
const VALUE_MAX: usize = 1024;

/// What to look at.
#[derive(Debug)]
pub struct Request {
    pub tgid: u32,
    /// As the kernel had it at exec.
    pub working_directory: Option<Vec<u8>>,
    /// Path, and whether to read it.
    pub files: Vec<(String, bool)>,
    pub file_max: usize,
    /// Names of variables.
    pub variables: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Answer {
    /// In the order of the request.
    pub files: Vec<Result<Option<Vec<u8>>, FileState>>,
    pub variables: Vec<(String, String)>,
}

/// Asks the thread; starts it with the first question.
pub struct Projects {
    proc: PathBuf,
    worker: Option<Worker>,
    asked: u64,
    second: Instant,
    in_second: u32,
}

impl Projects {
    pub fn new(proc: &Path) -> Self {
        Self { proc: proc.into(), worker: None, asked: 0, second: Instant::now(), in_second: 0 }
    }

    /// Where a process is now, in its own root.
    pub fn working_directory(&self, tgid: u32) -> Option<stream::Path> {
        let path = std::fs::read_link(self.proc.join(tgid.to_string()).join("cwd")).ok()?;
        Some(stream::Path { bytes: path.into_os_string().into_vec(), cut: false })
    }

    /// None: not now. Too many were asked for, or the thread is stuck in a file system.
    pub fn look(&mut self, request: Request) -> Option<Answer> {
        if self.second.elapsed() > Duration::from_secs(1) {
            (self.second, self.in_second) = (Instant::now(), 0);
        }
        self.in_second += 1;
        if self.in_second > PER_SECOND {
            return None;
        }
        let (requests, answers) = match &self.worker {
            Some(worker) => worker,
            None => self.worker.insert(start(&self.proc)?),
        };
        self.asked += 1;
        match requests.try_send((self.asked, request)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return None,
            Err(TrySendError::Disconnected(_)) => {
                self.worker = None;
                return None;
            }
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left) {
                // An answer to an earlier question came too late.
                Ok((number, _)) if number < self.asked => {}
                Ok((_, answer)) => return Some(answer),
                Err(_) => return None,
            }
        }
    }
}

type Worker = (SyncSender<(u64, Request)>, Receiver<(u64, Answer)>);

fn start(proc: &Path) -> Option<Worker> {
    let (requests, inbox) = sync_channel::<(u64, Request)>(1);
    let (outbox, answers) = sync_channel(4);
    let proc = proc.to_owned();
    let work = move || {
        // What it needs: /proc/PID of other users, and their files.
        let keep = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
        if let Ok(now) = rustix::thread::capabilities(None) {
            let sets = CapabilitySets {
                effective: now.effective & keep,
                permitted: now.permitted & keep,
                inheritable: CapabilitySet::empty(),
            };
            let _ = set_capabilities(None, sets);
        }
        let mut buffer = Vec::new();
        while let Ok((number, request)) = inbox.recv() {
            if outbox.send((number, answer(&proc, &request, &mut buffer))).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("projects".into()).stack_size(256 << 10).spawn(work);
    if let Err(error) = thread {
        tracing::warn!(%error, "cannot start the thread that reads the configuration of deploys");
        return None;
    }
    Some((requests, answers))
}

fn answer(proc: &Path, request: &Request, buffer: &mut Vec<u8>) -> Answer {
    let process = proc.join(request.tgid.to_string());
    let folders = Folders::open(&process, request.working_directory.as_deref());
    let files = request.files.iter().map(|(path, read)| match &folders {
        Some(folders) => folders.file(path, *read, request.file_max),
        None => Err(FileState::Unreadable),
    });
    Answer { files: files.collect(), variables: variables(&process.join("environ"), &request.variables, buffer) }
}

/// Where a process's paths begin.
struct Folders {
    root: Beneath,
    /// Its working directory, as a path in that root; none if it is not there.
    working: Option<PathBuf>,
    /// The same as a directory.
    open: Beneath,
}

impl Folders {
    fn open(process: &Path, working: Option<&[u8]>) -> Option<Self> {
        let root = Beneath::at(&process.join("root"), Budget::QUESTION).ok()?;
        let open = Beneath::at(&process.join("cwd"), Budget::QUESTION).ok()?;
        let path = working.map(|bytes| PathBuf::from(std::ffi::OsStr::from_bytes(bytes)));
        // A path from the kernel is believed if it leads to the folder that the process is in.
        let working = path.filter(|path| {
            let id = |beneath: &Beneath, path: &Path| {
                beneath.find(path).and_then(|place| place.metadata()).map(|found| (found.ino(), found.dev())).ok()
            };
            let there = id(&root, path);
            there.is_some() && there == id(&open, ".".as_ref())
        });
        Some(Self { root, working, open })
    }

    fn file(&self, path: &str, read: bool, max: usize) -> Result<Option<Vec<u8>>, FileState> {
        let path = Path::new(path);
        let found = match &self.working {
            _ if path.is_absolute() => self.root.find(path),
            Some(working) => self.root.find(&working.join(path)),
            // The folder itself is the best root that there is: nothing above it is reached.
            None => self.open.find(path),
        };
        let place = found.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileState::Missing,
            _ => FileState::Unreadable,
        })?;
        let before = place.metadata().map_err(|_| FileState::Unreadable)?;
        if !before.is_file() {
            return Err(FileState::Unreadable);
        }
        if !read {
            return Ok(None);
        }
        if before.len() > max as u64 {
            return Err(FileState::TooLarge);
        }
        let mut file = place.open().map_err(|_| FileState::Unreadable)?;
        let mut bytes = Vec::new();
        (&mut file).take(max as u64 + 1).read_to_end(&mut bytes).map_err(|_| FileState::Unreadable)?;
        if bytes.len() > max {
            return Err(FileState::TooLarge);
        }
        let after = file.metadata().map_err(|_| FileState::Unreadable)?;
        let stamp = |m: &std::fs::Metadata| (m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        if stamp(&before) != stamp(&after) {
            return Err(FileState::Changed);
        }
        Ok(Some(bytes))
    }
}

/// The variables of these names.
fn variables(environ: &Path, names: &[String], buffer: &mut Vec<u8>) -> Vec<(String, String)> {
    if names.is_empty() {
        return Vec::new();
    }
    let Ok(file) = File::open(environ) else { return Vec::new() };
    let _ = file.take(ENVIRONMENT_MAX).read_to_end(buffer);
    let line = |name: &String| -> Option<(String, String)> {
        let value = buffer.split(|byte| *byte == 0).find_map(|line| {
            line.strip_prefix(name.as_bytes())?.strip_prefix(b"=").filter(|value| value.len() <= VALUE_MAX)
        })?;
        Some((name.clone(), std::str::from_utf8(value).ok()?.to_owned()))
    };
    let found = names.iter().filter_map(line).collect();
    buffer.fill(0);
    buffer.clear();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(files: &[(&str, bool)], variables: &[&str]) -> Answer {
        let working = std::env::current_dir().unwrap().as_os_str().as_bytes().to_vec();
        let request = Request {
            tgid: std::process::id(),
            working_directory: Some(working),
            files: files.iter().map(|(path, read)| ((*path).to_owned(), *read)).collect(),
            file_max: 4096,
            variables: variables.iter().map(|name| (*name).to_owned()).collect(),
        };
        Projects::new("/proc".as_ref()).look(request).unwrap()
    }

    #[test]
    fn files_are_found_in_the_working_directory_and_bounded() {
        let folder = std::env::temp_dir().join(format!("sensor-project-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        std::fs::write(path("small"), "x: y").unwrap();
        std::fs::write(path("large"), vec![b'x'; 5000]).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::os::unix::fs::symlink("/proc/self/root/etc/passwd", path("magic")).unwrap();
        let wanted = ["small", "large", "fifo", "missing", "magic"].map(path);
        let wanted: Vec<(&str, bool)> = wanted.iter().map(|path| (path.as_str(), true)).collect();
        let answer = look(&wanted, &[]);
        assert_eq!(
            answer.files,
            [
                Ok(Some(b"x: y".to_vec())),
                Err(FileState::TooLarge),
                Err(FileState::Unreadable),
                Err(FileState::Missing),
                Err(FileState::Unreadable),
            ]
        );
        assert_eq!(
            look(&[("Cargo.toml", false), ("../Cargo.toml", false), ("src", true)], &[]).files,
            [Ok(None), Ok(None), Err(FileState::Unreadable)]
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn of_an_environment_only_the_asked_names_are_kept_and_the_rest_is_overwritten() {
        let environ = std::env::temp_dir().join(format!("sensor-environ-{}", std::process::id()));
        std::fs::write(&environ, b"KAMAL_VERSIONX=no\0KAMAL_VERSION=5f9\0DATABASE_URL=s3cr3t\0").unwrap();
        let mut buffer = Vec::new();
        let found = variables(&environ, &["KAMAL_VERSION".to_owned(), "KAMAL_HOSTS".to_owned()], &mut buffer);
        assert_eq!(found, [("KAMAL_VERSION".to_owned(), "5f9".to_owned())]);
        // The allocation is still there: what it held is not.
        assert!(buffer.capacity() > 0 && buffer.is_empty());
        std::fs::remove_file(&environ).unwrap();
    }

    #[test]
    fn a_flood_of_deploys_is_not_followed() {
        let mut projects = Projects::new("/proc".as_ref());
        let request = || Request {
            tgid: std::process::id(),
            working_directory: None,
            files: Vec::new(),
            file_max: 0,
            variables: Vec::new(),
        };
        let answered = (0..100).filter(|_| projects.look(request()).is_some()).count();
        assert_eq!(answered, PER_SECOND as usize);
    }
}
