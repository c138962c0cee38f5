//! Where the libraries may be through which programs speak SSH: Python's cryptography, Ruby's openssl, libssh2, libssh.
//!
//! What enters: a root, the maps of a process, or an interpreter that has just been executed. What leaves: files to
//! look at, found and not opened, each with the name by which people know it; whether they hold what is wanted is for
//! `examine` to see. `dlopen` raises no event, so the files are found before the interpreter imports them, the way it
//! will find them: from its program's place, its virtual environment (`pyvenv.cfg`) and a few variables, which are read
//! by name. An environment that is arranged in another way is found by the process's maps once it begins to speak SSH,
//! which may be too late for its first packets.
//!
//! Everything is looked up beneath `/proc/PID/root` (`beneath`), within a budget: a user can put anything there, in any
//! number. A file that is not there is not an error.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    beneath::{Beneath, Place},
    holders::mapped_file,
};
use crate::event::stream::{Exec, FileId};

/// A file that may be such a library, found and not opened.
pub struct Library {
    pub place: Place,
    /// Its path in its own root.
    pub name: PathBuf,
}

/// How an interpreter was executed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The executable.
    pub program: PathBuf,
    /// args[0]
    pub first: Option<PathBuf>,
    pub working_directory: Option<PathBuf>,
}

impl Call {
    /// None: the program is no interpreter whose libraries are known by their places.
    pub fn of(exec: &Exec) -> Option<Self> {
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let program = path(&exec.executable.as_ref()?.bytes);
        let name = program.file_name().map(OsStr::as_bytes).unwrap_or_default();
        // By the beginning (`python3.13t`): one that is taken for an interpreter wrongly costs a look at some folders.
        let known = is_python(name) || name.starts_with(b"ruby");
        known.then(|| Self {
            program: program.clone(),
            first: exec.args.list.first().map(|first| path(first)),
            working_directory: exec.working_directory.as_ref().map(|folder| path(&folder.bytes)),
        })
    }
}

fn is_python(name: &[u8]) -> bool {
    name.starts_with(b"python") || name.starts_with(b"pypy")
}

/// Entries of a folder that are looked at.
const LISTED_MAX: usize = 512;
/// Files found for one process: Debian's python3 in a virtual environment has six.
const FOUND_MAX: usize = 48;
/// Of an environment.
const ENVIRONMENT_MAX: u64 = 1 << 20;
/// Of the maps of a process.
const MAPS_MAX: u64 = 4 << 20;
/// Of a `pyvenv.cfg`: it has five lines.
const CONFIGURATION_MAX: u64 = 64 << 10;
/// Entries of PATH and PYTHONPATH.
const ENTRIES_MAX: usize = 64;

/// Where cryptography has its extension, below a `site-packages`.
const CRYPTOGRAPHY: [&str; 2] =
    ["cryptography/hazmat/bindings/_rust.abi3.so", "cryptography/hazmat/bindings/_openssl.abi3.so"];
/// Folders beside it into which wheels put the libssh2 or libssh that they bring along: ssh2-python, ssh-python,
/// Ansible's pylibssh.
const BROUGHT: [&str; 3] = ["ssh2_python.libs", "ssh_python.libs", "ansible_pylibssh.libs"];
/// Of libraries that are known by their names; a wheel that brings one along puts a hash into it
/// (`libssh-0a1b2c3d.so.4.9`).
const NAMES: [&str; 4] = ["libssh2", "libssh", "openssl.so", "libnode.so"];
/// The addon of ssh2 for Node, which has no cipher functions of its own: it takes node's.
pub(super) const NODE_ADDON: &str = "sshcrypto.node";

/// In their usual places beneath a root.
pub fn in_places(root: &Beneath) -> Vec<Library> {
    let mut found = Found::beneath(root);
    for prefix in ["/usr", "/usr/local"] {
        found.python(Path::new(prefix));
        found.ruby(Path::new(prefix));
    }
    for folder in ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib64"] {
        found.shared(Path::new(folder));
        for triplet in
            found.list(Path::new(folder), |name| name.ends_with("-linux-gnu") || name.ends_with("-linux-musl"))
        {
            found.shared(&triplet);
        }
    }
    found.libraries
}

/// A library that a process has mapped.
pub struct Mapped {
    pub file: FileId,
    /// As the kernel says it.
    pub name: PathBuf,
    /// Addresses at which some of it is.
    pub range: (u64, u64),
}

/// Those that a process has mapped, by its open `/proc/PID/maps`.
pub fn mapped(maps: &File) -> Vec<Mapped> {
    let mut found: Vec<Mapped> = Vec::new();
    for line in BufReader::new(maps.take(MAPS_MAX)).split(b'\n').map_while(Result::ok) {
        let Some(at) = memchr::memchr(b'/', &line) else { continue };
        let path = line.get(at..).unwrap_or_default();
        // The kernel's word for a file without a name. A file can have this at the end of its name: it is what is
        // mapped that counts, not what is there.
        let path = Path::new(OsStr::from_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path)));
        if is_wanted(path)
            && found.len() < FOUND_MAX
            && !found.iter().any(|known| known.name == path)
            && let (Some(range), Some(file)) = (range(&line), mapped_file(&line))
        {
            found.push(Mapped { file, name: path.to_owned(), range });
        }
    }
    found
}

/// `7f00-7f01 r-xp ...`
fn range(line: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(line.split(|byte| *byte == b' ').next()?).ok()?;
    let (start, end) = text.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
    CRYPTOGRAPHY.iter().any(|known| path.ends_with(known))
        || path.ends_with(NODE_ADDON)
        || NAMES.iter().any(|known| name.starts_with(known.as_bytes()) && memchr::memmem::find(name, b".so").is_some())
}

/// What an interpreter will import. `environ`: its open `/proc/PID/environ`.
pub fn of_interpreter(root: &Beneath, call: &Call, environ: Option<&File>) -> Vec<Library> {
    let python = is_python(call.program.file_name().map(OsStr::as_bytes).unwrap_or_default());
    let mut found = Found::beneath(root);
    let environment = environ.map(Environment::read).unwrap_or_default();
    let called = called(call, &environment, &found);
    for prefix in [called.as_deref(), Some(&call.program)].into_iter().flatten().filter_map(prefix) {
        if python {
            found.python(prefix);
            if let Some(base) = found.base(prefix) {
                found.python(&base);
            }
        } else {
            found.ruby(prefix);
        }
    }
    if python {
        if let Some(home) = &environment.home {
            found.python(&home.join(".local"));
        }
        for folder in &environment.python_path {
            found.packages(folder);
        }
        // Debian's own interpreter has its packages there, whatever else it has.
        found.packages(Path::new("/usr/lib/python3/dist-packages"));
    }
    found.libraries
}

/// `PREFIX/bin/NAME`
fn prefix(program: &Path) -> Option<&Path> {
    program.parent()?.parent()
}

/// The path by which an interpreter was called: a link in a virtual environment, as a rule.
fn called(call: &Call, environment: &Environment, found: &Found) -> Option<PathBuf> {
    let first = call.first.as_deref()?;
    if first.is_absolute() {
        return Some(first.to_owned());
    }
    if first.components().count() > 1 {
        return Some(normal(&call.working_directory.as_ref()?.join(first)));
    }
    environment.path.iter().map(|folder| folder.join(first)).find(|path| found.has(path))
}

/// Without `.` and `..`, as far as they can be resolved by name.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// The few variables that say where an interpreter looks. Nothing else of an environment is kept.
#[derive(Default)]
struct Environment {
    path: Vec<PathBuf>,
    python_path: Vec<PathBuf>,
    home: Option<PathBuf>,
}

impl Environment {
    fn read(file: &File) -> Self {
        let mut environment = Self::default();
        let folders = |value: &[u8]| {
            let entries = value.split(|byte| *byte == b':').take(ENTRIES_MAX);
            entries.map(|entry| PathBuf::from(OsStr::from_bytes(entry))).filter(|path| path.is_absolute()).collect()
        };
        for variable in BufReader::new(file.take(ENVIRONMENT_MAX)).split(0).map_while(Result::ok) {
            if let Some(value) = variable.strip_prefix(b"PATH=") {
                environment.path = folders(value);
            } else if let Some(value) = variable.strip_prefix(b"PYTHONPATH=") {
                environment.python_path = folders(value);
            } else if let Some(value) = variable.strip_prefix(b"HOME=") {
                environment.home = Some(PathBuf::from(OsStr::from_bytes(value))).filter(|path| path.is_absolute());
            }
        }
        environment
    }
}

/// What was found below a root.
struct Found<'a> {
    root: &'a Beneath,
    libraries: Vec<Library>,
}

impl<'a> Found<'a> {
    fn beneath(root: &'a Beneath) -> Self {
        Self { root, libraries: Vec::new() }
    }

    fn has(&self, path: &Path) -> bool {
        self.root.find(path).is_ok()
    }

    fn file(&mut self, path: &Path) {
        if self.libraries.len() >= FOUND_MAX || self.libraries.iter().any(|known| known.name == path) {
            return;
        }
        if let Ok(place) = self.root.find(path)
            && place.metadata().is_ok_and(|metadata| metadata.is_file())
        {
            self.libraries.push(Library { place, name: path.into() });
        }
    }

    /// Paths in a folder whose names fit.
    fn list(&self, folder: &Path, fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let (entries, _) = self.root.some_names(folder, LISTED_MAX).unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|entry| entry.into_string().ok())
            .filter(|name| fits(name))
            .map(|name| folder.join(name))
            .collect()
    }

    fn shared(&mut self, folder: &Path) {
        for name in ["libssh2.so.1", "libssh.so.4"] {
            self.file(&folder.join(name));
        }
        // Distributions' Node 16 to 24: the number is that of its ABI.
        for abi in [93, 108, 109, 115, 127, 137] {
            self.file(&folder.join(format!("libnode.so.{abi}")));
        }
    }

    fn packages(&mut self, folder: &Path) {
        for place in CRYPTOGRAPHY {
            self.file(&folder.join(place));
        }
        for brought in BROUGHT {
            for library in self.list(&folder.join(brought), |name| name.starts_with("libssh")) {
                self.file(&library);
            }
        }
    }

    fn python(&mut self, prefix: &Path) {
        for library in ["lib", "lib64"] {
            for version in
                self.list(&prefix.join(library), |name| name.starts_with("python3") || name.starts_with("pypy3"))
            {
                self.packages(&version.join("site-packages"));
                self.packages(&version.join("dist-packages"));
            }
        }
    }

    /// Of a virtual environment: the prefix of the interpreter that it was made from.
    fn base(&self, prefix: &Path) -> Option<PathBuf> {
        let bytes = self.root.read(&prefix.join("pyvenv.cfg"), CONFIGURATION_MAX).ok()?;
        let home = String::from_utf8_lossy(&bytes).lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == "home").then(|| PathBuf::from(value.trim()))
        })?;
        home.parent().map(Path::to_owned)
    }

    /// `lib/ruby/3.3.0/x86_64-linux/openssl.so`, `lib/x86_64-linux-gnu/ruby/3.1.0/openssl.so`, and the gem, which goes
    /// before them.
    fn ruby(&mut self, prefix: &Path) {
        let mut folders = Vec::new();
        for library in ["lib", "lib64"].map(|name| prefix.join(name)) {
            let versions = self.list(&library.join("ruby"), |name| name.starts_with(|c: char| c.is_ascii_digit()));
            folders.extend(versions.iter().flat_map(|version| self.list(version, |name| name.contains("-linux"))));
            for triplet in self.list(&library, |name| name.contains("-linux")) {
                folders.extend(self.list(&triplet.join("ruby"), |name| name.starts_with(|c: char| c.is_ascii_digit())));
            }
            folders.push(library.join("ruby"));
            for gems in self.list(&library.join("ruby/gems"), |_| true) {
                for platform in self.list(&gems.join("extensions"), |_| true) {
                    for version in self.list(&platform, |_| true) {
                        folders.extend(self.list(&version, |name| name.starts_with("openssl-")));
                    }
                }
            }
        }
        for folder in folders {
            self.file(&folder.join("openssl.so"));
        }
    }
}
