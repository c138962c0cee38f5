//! What is remembered of configuration files from one run of the sensor to the next, and the key of their keyed hashes.
//!
//! `config-files.json` holds paths and hashes, `config-files.key` 32 random bytes, made at the first start; both 0600
//! in a folder of the sensor's own (0700). The state is written to a new file that then takes its place, so a crash
//! leaves the old one or the new one. A state that cannot be read is put aside and begun anew: the next deploy is then
//! the first. A key that others can read is refused: then, and without a folder, hashes of secrets hold for this run
//! only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::{
    process::geteuid,
    rand::{GetRandomFlags, getrandom},
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tempfile::NamedTempFile;

use crate::{
    event::config_file::{Contents, Unread},
    host::private,
};

const STATE: &str = "config-files.json";
const KEY: &str = "config-files.key";
/// Of the state's file: raised when it changes its shape.
const FORMAT: u32 = 1;
/// A larger state is none of ours.
const STATE_MAX: u64 = 64 << 20;
/// Files remembered; a host that deploys a hundred services has some hundreds. The one that was not used for longest
/// goes.
const ENTRIES_MAX: usize = 8192;

/// A file of configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Absolute.
    pub path: PathBuf,
    pub secret: bool,
    /// It is in the host's own root: it can be watched, and looked at without the process that used it.
    pub of_host: bool,
    /// With whose rights it is read.
    #[serde(default)]
    pub uid: u32,
    /// At the last deploy.
    pub deployed: Option<Contents>,
    /// When it was last looked at.
    pub seen: Option<Contents>,
    /// Seconds since the epoch.
    pub used: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Saved {
    format: u32,
    files: BTreeMap<String, Entry>,
}

pub(super) struct State {
    folder: Option<PathBuf>,
    files: BTreeMap<String, Entry>,
    /// Names of the files of the host by their path: two projects can share one.
    by_path: HashMap<PathBuf, Vec<String>>,
    changed: bool,
    pub key: [u8; 32],
}

impl State {
    /// Reads what an earlier run left. What was wrong with it comes beside it: the sensor runs all the same.
    ///
    /// `given`: a file with the key, where several hosts are to have the same.
    pub(super) fn open(folder: Option<&Path>, given: Option<&Path>) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let mut fresh = [0; 32];
        if let Err(error) = random(&mut fresh) {
            wrong.push(format!("no random bytes: {error}"));
        }
        let mut state =
            Self { folder: None, files: BTreeMap::new(), by_path: HashMap::new(), changed: false, key: fresh };
        if let Some(given) = given {
            match read_key(given) {
                Ok(key) => state.key = key,
                Err(error) => wrong.push(format!("{}: {error}", given.display())),
            }
        }
        let Some(folder) = folder else { return (state, wrong) };
        if let Err(error) = private::folder(folder) {
            wrong.push(error.to_string());
            return (state, wrong);
        }
        state.folder = Some(folder.to_owned());
        match if given.is_some() { Ok(state.key) } else { key(folder, &fresh) } {
            Ok(key) => state.key = key,
            Err(error) => wrong.push(format!("{}: {error}", folder.join(KEY).display())),
        }
        let path = folder.join(STATE);
        match read(&path) {
            Ok(files) => files.into_iter().for_each(|(name, entry)| state.keep(name, entry)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let aside = path.with_extension("broken");
                let _ = fs::rename(&path, &aside);
                wrong.push(format!("{}: {error}; it is now {}", path.display(), aside.display()));
            }
        }
        (state, wrong)
    }

    /// A plain hash as it is kept and recorded: keyed, with the name of the entry in it, so that equal files in two
    /// places do not show as equal. A user who names a file can name a short one (a PIN, a line of /etc/shadow), and an
    /// unkeyed hash of a short file gives it away.
    pub(super) fn keyed(&self, contents: Contents, name: &str) -> Contents {
        let Contents::Hash(plain) = contents else { return contents };
        // A key of this length is never refused.
        let Ok(mut keyed) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return Contents::Unread(Unread::Error { errno: libc::EINVAL });
        };
        keyed.update(name.as_bytes());
        keyed.update(&[0]);
        keyed.update(&plain);
        Contents::Hash(keyed.finalize().into_bytes().into())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.files.get(name)
    }

    pub(super) fn set(&mut self, name: String, entry: Entry) {
        if self.files.get(&name) == Some(&entry) {
            return;
        }
        // JSON has no other paths. No configuration file has such a name.
        if entry.path.to_str().is_none() {
            return;
        }
        if self.files.len() >= ENTRIES_MAX && !self.files.contains_key(&name) {
            let oldest = self.files.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.remove(&oldest);
            }
        }
        self.keep(name, entry);
        self.changed = true;
    }

    fn keep(&mut self, name: String, entry: Entry) {
        self.remove(&name);
        if entry.of_host {
            self.by_path.entry(entry.path.clone()).or_default().push(name.clone());
        }
        self.files.insert(name, entry);
    }

    fn remove(&mut self, name: &str) {
        let Some(entry) = self.files.remove(name) else { return };
        if let Some(names) = self.by_path.get_mut(&entry.path) {
            names.retain(|known| known != name);
            if names.is_empty() {
                self.by_path.remove(&entry.path);
            }
        }
    }

    /// Is it the path of a known file of the host?
    pub(super) fn has_path(&self, path: &Path) -> bool {
        self.by_path.contains_key(path)
    }

    pub(super) fn of_path(&self, path: &Path) -> Vec<(String, Entry)> {
        let names = self.by_path.get(path).into_iter().flatten();
        names.filter_map(|name| Some((name.clone(), self.files.get(name)?.clone()))).collect()
    }

    /// Files that can be looked at without a process.
    pub(super) fn of_host(&self) -> Vec<(String, Entry)> {
        let files = self.files.iter().filter(|(_, entry)| entry.of_host);
        files.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Their folders.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        self.by_path.keys().filter_map(|path| path.parent()).map(Path::to_owned).collect()
    }

    /// Writes what has changed.
    pub(super) fn save(&mut self) -> io::Result<()> {
        let Some(folder) = self.folder.as_deref().filter(|_| self.changed) else { return Ok(()) };
        let saved = Saved { format: FORMAT, files: std::mem::take(&mut self.files) };
        let written =
            write(folder, STATE, |file| serde_json::to_writer(io::BufWriter::new(file), &saved).map_err(Into::into));
        self.files = saved.files;
        self.changed = written.is_err();
        written
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Entry>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::other("it is no regular file of the sensor's own"));
    }
    if metadata.len() > STATE_MAX {
        return Err(io::Error::other("it is too large"));
    }
    let saved: Saved = serde_json::from_reader(io::BufReader::new(file.take(STATE_MAX)))?;
    if saved.format != FORMAT {
        return Err(io::Error::other(format!("it has format {}, this version of sensor knows {FORMAT}", saved.format)));
    }
    Ok(saved.files)
}

/// The key of this host, made from `fresh` if there is none.
fn key(folder: &Path, fresh: &[u8; 32]) -> io::Result<[u8; 32]> {
    let path = folder.join(KEY);
    match read_key(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(folder, KEY, |file| file.write_all(fresh))?;
            read_key(&path)
        }
        read => read,
    }
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() != 32 {
        return Err(io::Error::other("it is no key: remove it, and a new one is made"));
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::other("it is another user's: remove it, and a new one is made"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("others may read it: remove it, and a new one is made"));
    }
    let mut key = [0; 32];
    file.read_exact(&mut key)?;
    Ok(key)
}

/// A new file takes the place of the old one: at no time is there half a file.
fn write(folder: &Path, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    // 0600 from the beginning.
    let mut file = NamedTempFile::new_in(folder)?;
    fill(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    let n = getrandom(&mut *bytes, GetRandomFlags::empty())?;
    if n == bytes.len() { Ok(()) } else { Err(io::Error::other("too few")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn entry(used: u64) -> Entry {
        let hash = Some(Contents::Hash([7; 32]));
        Entry { path: "/srv/a".into(), secret: false, of_host: true, uid: 0, deployed: hash, seen: hash, used }
    }

    fn mode(path: PathBuf) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn state_and_key_come_back_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("state");
        let (mut state, wrong) = State::open(Some(&own), None);
        assert_eq!(wrong, Vec::<String>::new());
        state.set("a".into(), entry(1));
        state.save().unwrap();
        let (again, wrong) = State::open(Some(&own), None);
        assert_eq!((again.get("a"), again.key, wrong.len()), (Some(&entry(1)), state.key, 0));
        assert_eq!((mode(own.join(STATE)), mode(own.join(KEY)), mode(own.clone())), (0o600, 0o600, 0o700));
        let names = fs::read_dir(&own).unwrap().count();
        assert_eq!(names, 2, "nothing else is left");
        assert!(state.key != [0; 32]);
    }

    #[test]
    fn a_broken_state_is_put_aside_and_said() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["{\"format\":1,\"files\":{", "", "{\"format\":99,\"files\":{}}", "[]"] {
            fs::write(folder.path().join(STATE), text).unwrap();
            let (mut state, wrong) = State::open(Some(folder.path()), None);
            assert_eq!((wrong.len(), state.files.len()), (1, 0), "{text:?}: {wrong:?}");
            assert_eq!(fs::read_to_string(folder.path().join("config-files.broken")).unwrap(), text);
            state.set("a".into(), entry(1));
            state.save().unwrap();
            assert_eq!(State::open(Some(folder.path()), None).1.len(), 0);
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (state, _) = State::open(Some(folder.path()), None);
        let path = folder.path().join(KEY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (other, wrong) = State::open(Some(folder.path()), None);
        assert!(other.key != state.key && wrong.len() == 1 && wrong[0].contains("others may read it"), "{wrong:?}");
        fs::write(&path, "short").unwrap();
        assert!(State::open(Some(folder.path()), None).1[0].contains("no key"));
    }

    #[test]
    fn a_folder_that_cannot_be_had_costs_the_memory_only() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let (mut state, wrong) = State::open(Some(&folder.path().join("file")), None);
        assert_eq!(wrong.len(), 1);
        state.set("a".into(), entry(1));
        state.save().unwrap();
        assert!(state.get("a").is_some());
    }

    #[test]
    fn the_longest_unused_goes_when_there_are_too_many() {
        let (mut state, _) = State::open(None, None);
        for n in 0..=ENTRIES_MAX as u64 {
            state.set(n.to_string(), entry(n + 1));
        }
        assert_eq!(state.files.len(), ENTRIES_MAX);
        assert!(state.get("0").is_none() && state.get("1").is_some());
    }
}
