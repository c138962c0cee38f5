//! The thread that looks at configuration files. It owns the state, the key and the watch.
//!
//! A change is looked at `SETTLE` after its last event: an editor removes, writes and renames, and only what is there
//! in the end is a change. A deploy does not wait: what was pending is looked at before it. A folder is watched before
//! its files are read, so nothing happens unseen in between. Only files in the host's own root are watched, by their
//! path from there; those of a container are looked at through the process that deploys, at each deploy.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError},
    },
    time::{Duration, Instant, SystemTime},
};

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    look::{Looked, Looks, Whose},
    place::{absolute, host_root, is_folder, process},
    settings::{Deploying, Settings},
    state::{Entry, State},
    watch::{Happened, Watch},
};
use crate::{
    event::{
        config_file::{Author, Cause, ConfigFile, Contents, Unread, holds_secrets},
        stream::{Degraded, Event, EventKind, Path as EventPath},
    },
    host::{identity, snapshot::namespace_number},
    privileges,
};

/// An editor's writing, renaming and removing is over by then.
const SETTLE: Duration = Duration::from_millis(200);
/// Files of one deploy: Kamal has five.
const FILES_MAX: usize = 64;
/// Changes waiting for their time to settle; more is not somebody editing.
const PENDING_MAX: usize = 4096;
/// Who reads what the configuration of the sensor names.
const ROOT: u32 = 0;
/// Folders that could not be watched are named once each, up to so many.
const SAID_MAX: usize = 256;

pub(super) struct Worker {
    proc: PathBuf,
    files: Vec<PathBuf>,
    state: State,
    looks: Looks,
    watch: Result<Watch, Errno>,
    /// Processes have the same numbers here as for the kernel that reports them.
    same_pids: bool,
    pending: HashMap<PathBuf, Pending>,
    said: HashSet<PathBuf>,
    wrong: Vec<String>,
    requests: Receiver<Deploying>,
    facts: SyncSender<Event>,
    wake: Arc<OwnedFd>,
}

/// A change that settles.
struct Pending {
    author: Author,
    at: u64,
    until: Instant,
}

/// Why a known file is looked at again.
struct Change {
    cause: Cause,
    at: u64,
    inferred: bool,
}

impl Worker {
    pub(super) fn new(
        proc: &Path,
        settings: Settings,
        watch: Result<Watch, Errno>,
        requests: Receiver<Deploying>,
        facts: SyncSender<Event>,
        wake: Arc<OwnedFd>,
        looks: Looks,
    ) -> Self {
        let (state, wrong) = State::open(settings.folder.as_deref(), settings.key.as_deref());
        Self {
            proc: proc.to_owned(),
            files: settings.files,
            state,
            looks,
            watch,
            // Under its own /proc a process has the number that is seen here.
            same_pids: proc == Path::new("/proc")
                || namespace_number("/proc/self/ns/pid".as_ref()) == namespace_number(&proc.join("1/ns/pid")),
            pending: HashMap::new(),
            said: HashSet::new(),
            wrong,
            requests,
            facts,
            wake,
        }
    }

    pub(super) fn run(mut self) {
        if let Err(error) = privileges::keep_for_watching() {
            tracing::warn!(%error, "the thread of configuration files cannot give up capabilities");
        }
        for why in std::mem::take(&mut self.wrong) {
            self.degraded("state of configuration files", why, "a change is known only within this run of the sensor");
        }
        self.begin();
        loop {
            self.save();
            let timeout = self.pending.values().map(|pending| pending.until).min();
            self.wait(timeout.map(|until| until.saturating_duration_since(Instant::now())));
            self.read_changes();
            loop {
                match self.requests.try_recv() {
                    Ok(deploying) => {
                        self.settle(true);
                        self.deploy(&deploying);
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        self.settle(true);
                        self.save();
                        return;
                    }
                }
            }
            self.settle(false);
        }
    }

    /// Files known from earlier runs and from the configuration: what happened to them while they were not watched.
    fn begin(&mut self) {
        let Some(root) = host_root(&self.proc) else { return };
        for folder in self.state.folders() {
            self.watch_folder(&root, &folder);
        }
        self.look_at_all(&root, Cause::Start, identity::boot_time());
        for path in std::mem::take(&mut self.files) {
            let name = path.display().to_string();
            if let Some(folder) = path.parent() {
                self.watch_folder(&root, folder);
            }
            if self.state.get(&name).is_none() {
                let secret = holds_secrets(&path);
                let now = self.contents(ROOT, &path, &name);
                self.tell(ConfigFile {
                    path: event_path(&path),
                    secret,
                    cause: Cause::Start,
                    at: identity::boot_time(),
                    now,
                    before: None,
                    inferred: false,
                });
                let (deployed, seen) = (None, Some(now));
                let entry = Entry { path, secret, of_host: true, uid: ROOT, deployed, seen, used: seconds() };
                self.state.set(name, entry);
            }
        }
    }

    fn deploy(&mut self, deploying: &Deploying) {
        let files: Vec<PathBuf> = deploying.files.iter().take(FILES_MAX).map(|(named, _)| named.into()).collect();
        let root = host_root(&self.proc).filter(|_| deploying.of_host);
        if let (Some(root), Some(working)) = (&root, deploying.working_directory()) {
            // Before the files are read: nothing happens unseen in between.
            for folder in files.iter().filter_map(|named| Some(absolute(Some(working), named)?.parent()?.to_owned())) {
                self.watch_folder(root, &folder);
            }
        }
        let whose = Whose::Process {
            process: deploying.process,
            credentials: deploying.credentials,
            working_directory: deploying.working_directory.clone(),
        };
        let looked = match self.looks.look(whose, files) {
            Ok(looked) => looked,
            Err(why) => {
                let what = format!("configuration of the deploy of process {}", deploying.process.tgid);
                self.degraded(&what, why, "its changes are not seen");
                return;
            }
        };
        let mut unreached = 0;
        for ((named, secret), Looked { path, contents }) in deploying.files.iter().zip(looked) {
            let Some(path) = path else {
                unreached += 1;
                continue;
            };
            self.deployed(deploying, named, *secret, path, contents);
        }
        if unreached > 0 {
            let what = format!("configuration of the deploy of process {}", deploying.process.tgid);
            let why =
                format!("its working directory has no path from its root, and {unreached} files are named from there");
            self.degraded(&what, why, "their changes are not seen");
        }
    }

    /// What one file of a deploy holds.
    fn deployed(&mut self, deploying: &Deploying, named: &str, secret: bool, path: PathBuf, contents: Contents) {
        let name = match &deploying.project {
            Some(project) => format!("{project}: {named}"),
            None => path.display().to_string(),
        };
        // A container's file is another than the host's with the same path.
        let name = if deploying.of_host { name } else { format!("container: {name}") };
        let now = self.state.keyed(contents, &name);
        let known = self.state.get(&name);
        let before = known.and_then(|entry| entry.deployed);
        let witnessed = deploying.of_host && known.is_some_and(|entry| entry.path == path && entry.seen == Some(now));
        self.tell(ConfigFile {
            path: event_path(&path),
            secret,
            cause: Cause::Deploy(deploying.process),
            at: identity::boot_time(),
            now,
            before,
            inferred: before.is_some_and(|before| before != now) && !witnessed,
        });
        let entry = Entry {
            path,
            secret,
            of_host: deploying.of_host,
            uid: deploying.credentials.map_or(ROOT, |credentials| credentials.uid),
            deployed: Some(now),
            seen: Some(now),
            used: seconds(),
        };
        self.state.set(name, entry);
    }

    /// Notes who changed what.
    fn read_changes(&mut self) {
        let mut happened = Happened::default();
        if let Ok(watch) = &self.watch {
            watch.read(&mut happened);
        }
        let (at, until) = (identity::boot_time(), Instant::now() + SETTLE);
        for touched in happened.touched {
            if self.state.has_path(&touched.path) && self.pending.len() < PENDING_MAX {
                let author = self.author(touched.tgid);
                self.pending.insert(touched.path, Pending { author, at, until });
            }
        }
        if happened.overflow
            && let Some(root) = host_root(&self.proc)
        {
            self.look_at_all(&root, Cause::Changed(Author::Unknown), at);
        }
    }

    /// What happened is not known: every file is looked at.
    fn look_at_all(&mut self, root: &File, cause: Cause, at: u64) {
        let mut emitted = HashSet::new();
        for (name, entry) in self.state.of_host() {
            self.look_again(root, name, entry, &Change { cause, at, inferred: true }, &mut emitted);
        }
    }

    /// Looks at what has changed and come to rest; or at all that has changed.
    fn settle(&mut self, all: bool) {
        let now = Instant::now();
        let over: Vec<PathBuf> =
            self.pending.iter().filter(|(_, p)| all || p.until <= now).map(|(path, _)| path.clone()).collect();
        if over.is_empty() {
            return;
        }
        let Some(root) = host_root(&self.proc) else { return };
        for path in over {
            let Some(Pending { author, at, .. }) = self.pending.remove(&path) else { continue };
            let change = Change { cause: Cause::Changed(author), at, inferred: false };
            let mut emitted = HashSet::new();
            for (name, entry) in self.state.of_path(&path) {
                self.look_again(&root, name, entry, &change, &mut emitted);
            }
        }
    }

    /// Emits, once for each path, that a known file holds something else than when it was last looked at.
    fn look_again(&mut self, root: &File, name: String, entry: Entry, change: &Change, emitted: &mut HashSet<PathBuf>) {
        let now = self.contents(entry.uid, &entry.path, &name);
        // The whole folder is gone: a checkout that was removed, not a change of configuration.
        if entry.seen == Some(now) || now == Contents::Missing && !is_folder(root, entry.path.parent()) {
            return;
        }
        // Several projects can share a file.
        if emitted.insert(entry.path.clone()) {
            self.tell(ConfigFile {
                path: event_path(&entry.path),
                secret: entry.secret,
                cause: change.cause,
                at: change.at,
                now,
                before: entry.seen,
                inferred: change.inferred,
            });
        }
        self.state.set(name, Entry { seen: Some(now), used: seconds(), ..entry });
    }

    /// What a file of the host holds, as this user may read it.
    fn contents(&mut self, uid: u32, path: &Path, name: &str) -> Contents {
        let looked = self.looks.look(Whose::User(uid), vec![path.to_owned()]);
        let contents = looked.ok().and_then(|looked| looked.first().map(|looked| looked.contents));
        let unanswered = Contents::Unread(Unread::Error { errno: libc::ETIMEDOUT });
        self.state.keyed(contents.unwrap_or(unanswered), name)
    }

    fn watch_folder(&mut self, root: &File, folder: &Path) {
        let refused = match &mut self.watch {
            Ok(watch) => watch.add(root, folder).err().map(|error| error.to_string()),
            Err(error) => Some(format!("fanotify: {error}")),
        };
        if let Some(why) = refused
            && is_folder(root, Some(folder))
            && self.said.len() < SAID_MAX
            && self.said.insert(folder.to_owned())
        {
            let what = format!("changes of configuration files in {}", folder.display());
            self.degraded(&what, why, "a change there is seen at the next deploy, and not who made it");
        }
    }

    fn author(&self, tgid: Option<u32>) -> Author {
        match tgid.filter(|_| self.same_pids) {
            Some(tgid) => process(&self.proc, tgid).map_or(Author::Gone { tgid }, Author::Process),
            None => Author::Unknown,
        }
    }

    fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        let watched = self.watch.as_ref().ok().map(Watch::fd);
        fds.extend(watched.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        // An interruption is as good as an event: nothing is there, and it waits again.
        let _ = poll(&mut fds, timeout.as_ref());
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    fn save(&mut self) {
        if let Err(error) = self.state.save() {
            let why = error.to_string();
            if self.said.insert(PathBuf::new()) {
                self.degraded("state of configuration files", why, "what is known now is not known after a restart");
            }
        }
    }

    fn tell(&self, fact: ConfigFile) {
        self.push(EventKind::ConfigFile(Box::new(fact)));
    }

    fn degraded(&self, what: &str, why: String, effect: &str) {
        self.push(EventKind::Degraded(Degraded { what: what.into(), why, effect: effect.into() }));
    }

    fn push(&self, what: EventKind) {
        // Its receiver is gone when the sensor has stopped.
        let _ = self.facts.send(Event { time: identity::boot_time(), what });
    }
}

fn event_path(path: &Path) -> EventPath {
    EventPath { bytes: path.as_os_str().as_bytes().to_vec(), cut: false }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
