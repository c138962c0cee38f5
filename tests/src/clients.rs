//! Applications that speak SSH from inside: real programs on Paramiko and Net::SSH (`fixtures/`), run as a user of
//! their own, with that user's known_hosts.
//!
//! A program does the acts that it is given, prints each on its standard output, and writes the library's own debug
//! log. PyPI's versions of Paramiko live in virtual environments under `target/clients`, made once with the
//! distribution's Python; a test gets a copy, whose files have not been run before.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{Account, Ended, Folder, Running, lab::Lab, running, sensor};

const PYTHON: &str = "/usr/bin/python3";
const RUBY: &str = "/usr/bin/ruby";

/// A library that speaks SSH inside an application, and where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Library {
    ParamikoDebian,
    ParamikoNewest,
    ParamikoOld,
    NetSsh,
}

impl Library {
    pub const ALL: [Self; 4] = [Self::ParamikoDebian, Self::ParamikoNewest, Self::ParamikoOld, Self::NetSsh];

    pub fn is_python(self) -> bool {
        self != Self::NetSsh
    }

    /// Name of its environment, and what pip is asked for.
    fn wheels(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            // Its OpenSSL is in `_openssl.abi3.so`; since cryptography 40 it is in `_rust.abi3.so`.
            Self::ParamikoOld => Some(("paramiko-2.12", &["paramiko==2.12.0", "cryptography==38.0.4"])),
            Self::ParamikoNewest => Some(("paramiko-newest", &["paramiko"])),
            Self::ParamikoDebian | Self::NetSsh => None,
        }
    }

    /// What runs its programs: the system's interpreter, or that of a fresh copy of its environment, in this folder.
    pub fn interpreter(self, folder: &Path) -> PathBuf {
        match self.wheels() {
            Some((name, wheels)) => copy(&environment(name, PYTHON, wheels), folder).join("bin/python"),
            None if self == Self::NetSsh => RUBY.into(),
            None => PYTHON.into(),
        }
    }
}

/// The newest Paramiko with another CPython than the distribution's, where PATH has one. Root's own, perhaps: nobody
/// else may be able to run it.
pub fn other_python(folder: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let (python, prefix) = std::env::split_paths(&path)
        .map(|place| place.join("python3"))
        .filter(|python| python.exists())
        .find_map(|python| {
            let mut ask = Command::new(&python);
            let said = running::finish(ask.args(["-c", "import sys; print(sys.base_prefix, sys.version_info[1])"]));
            let text = said.text();
            let (prefix, minor) = text.trim().rsplit_once(' ')?;
            (prefix != "/usr" && minor.parse::<u32>().ok()? >= 9).then(|| (python, prefix.to_owned()))
        })?;
    let python = running::succeed(Command::new(python).args(["-c", "import sys; print(sys.executable)"])).text();
    let name = format!("paramiko-newest{}", prefix.replace('/', "-"));
    Some(copy(&environment(&name, python.trim(), &["paramiko"]), folder).join("bin/python"))
}

/// A copy in this folder of an environment of the distribution's Python with these wheels.
pub fn python_with(folder: &Path, name: &str, wheels: &[&str]) -> PathBuf {
    copy(&environment(name, PYTHON, wheels), folder).join("bin/python")
}

/// A virtual environment, made once.
fn environment(name: &str, python: &str, wheels: &[&str]) -> PathBuf {
    let path = sensor::target().join("clients").join(name);
    let ready = path.join("ready");
    if ready.exists() {
        return path;
    }
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    running::succeed(Command::new(python).args(["-m", "venv"]).arg(&path));
    let own = path.join("bin/python");
    // As long as it takes: the network is not ours.
    let pip = |args: &[&str]| {
        let out = Command::new(&own).args(["-m", "pip", "--quiet"]).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "pip {args:?}: {said} (PyPI is needed once)");
    };
    pip(&[&["install"], wheels].concat());
    pip(&["uninstall", "--yes", "setuptools", "pip"]);
    fs::write(ready, "").unwrap();
    path
}

fn copy(environment: &Path, folder: &Path) -> PathBuf {
    let to = folder.join(environment.file_name().unwrap());
    let _ = fs::remove_dir_all(&to);
    running::succeed(Command::new("cp").arg("-a").arg(environment).arg(&to));
    to
}

/// A user whose programs speak SSH.
pub struct App {
    pub account: Account,
    interpreters: Vec<(Library, PathBuf)>,
    folder: PathBuf,
    port: u16,
    user: String,
}

/// What a program did.
#[derive(Debug)]
pub struct Done {
    pub pid: u32,
    pub ended: Ended,
    /// What it said of each act.
    pub acts: Vec<Value>,
    /// The library's debug log.
    pub log: String,
}

impl App {
    /// Its programs connect to the lab's sshd, as the user with one factor.
    pub fn new(folder: &Folder, lab: &Lab, libraries: &[Library]) -> Self {
        for (program, package) in
            [(PYTHON, "python3-paramiko python3-venv"), (RUBY, "ruby-net-ssh ruby-net-sftp ruby-ed25519")]
        {
            assert!(Path::new(program).exists(), "{program} is not here: apt-get install {package}");
        }
        let account = Account::create("sensor-app");
        for name in ["paramiko_client.py", "net_ssh_client.rb"] {
            fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name), folder.join(name)).unwrap();
        }
        let interpreters = libraries.iter().map(|library| (*library, library.interpreter(folder))).collect();
        let (port, user) = (lab.sshd.port, lab.one.name.clone());
        let app = Self { account, interpreters, folder: folder.to_path_buf(), port, user };
        fs::create_dir(app.home(".ssh")).unwrap();
        chown(app.home(".ssh"), Some(app.account.uid), None).unwrap();
        for key in ["ed25519", "stranger", "rsa"] {
            app.give(key, fs::read(lab.key(key)).unwrap());
        }
        app.give("password", lab.password());
        app.give("wrong", "not-the-password");
        app.knows(lab);
        app
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.account.home.join(name)
    }

    /// A file in its home that no other user can read.
    pub fn give(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home(name);
        fs::write(&path, text).unwrap();
        running::succeed(Command::new("chmod").arg("600").arg(&path));
        chown(&path, Some(self.account.uid), None).unwrap();
        path
    }

    /// It knows the host key of the lab's sshd.
    pub fn knows(&self, lab: &Lab) {
        let key = fs::read_to_string(lab.sshd.file("host_key.pub")).unwrap();
        self.known_hosts(&format!("[127.0.0.1]:{} {key}", self.port));
    }

    pub fn known_hosts(&self, text: &str) {
        self.give(".ssh/known_hosts", text);
    }

    /// A program that will do these acts, or say why not. Options as `fixtures/` have them; files are in its home.
    pub fn command(&self, library: Library, options: &[&str], acts: &[&str]) -> Command {
        let python = &self.interpreters.iter().find(|(own, _)| *own == library).expect("a library of this app").1;
        let mut command = self.program(python, library.is_python(), options, acts);
        command.uid(self.account.uid).gid(fs::metadata(&self.account.home).unwrap().gid());
        command
    }

    /// The same with another interpreter, as root.
    pub fn program(&self, interpreter: &Path, python: bool, options: &[&str], acts: &[&str]) -> Command {
        let script = if python { "paramiko_client.py" } else { "net_ssh_client.rb" };
        let mut command = Command::new(interpreter);
        if python {
            // Of an old cryptography on a newer OpenSSL.
            command.args(["-W", "ignore"]);
        }
        command.arg(self.folder.join(script)).args(["--user", &self.user]);
        if !options.contains(&"--port") {
            command.args(["--port", &self.port.to_string()]);
        }
        for option in options {
            let own = self.home(option);
            let is_file = !option.starts_with('-') && own.is_file();
            command.arg(if is_file { own.into_os_string() } else { (*option).into() });
        }
        command.arg("--log").arg(self.log()).arg("--").args(acts);
        command.current_dir("/").env_remove("SSH_AUTH_SOCK").env("HOME", &self.account.home).stdin(Stdio::null());
        command
    }

    /// Of the program that runs: one at a time.
    fn log(&self) -> PathBuf {
        self.home("debug.log")
    }

    /// Runs it to its end.
    pub fn run(&self, command: &mut Command) -> Done {
        self.give("debug.log", "");
        let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let pid = running.pid();
        let ended = running.output();
        let acts = ended.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let log = String::from_utf8_lossy(&fs::read(self.log()).unwrap()).into_owned();
        Done { pid, ended, acts, log }
    }
}

impl Done {
    /// What it said of an act.
    pub fn of<'a>(&'a self, act: &'a str) -> impl Iterator<Item = &'a Value> {
        self.acts.iter().filter(move |recorded| recorded["act"] == act)
    }

    /// What it said of the only act of this name.
    pub fn one<'a>(&'a self, act: &'a str) -> &'a Value {
        let found: Vec<&Value> = self.of(act).collect();
        assert_eq!(found.len(), 1, "one {act} among {:?}; it said {}", self.acts, self.ended.stderr);
        found[0]
    }

    /// What follows this in a line of the log.
    pub fn logged(&self, prefix: &str) -> Option<&str> {
        self.log.lines().find_map(|line| Some(line.split_once(prefix)?.1.trim()))
    }
}
