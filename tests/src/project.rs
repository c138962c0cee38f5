//! A project that is deployed: its configuration, its hooks, the three hosts that it goes to, and a `kamal` that issues
//! what Kamal does (`fixtures/kamal`).
//!
//! The hosts are addresses of the loopback where one real sshd listens; `docker` is a script that succeeds or fails on
//! order. Net::SSH is Debian's, as Kamal uses it. What the fixture writes down of each command it sent is the truth
//! that records are compared with.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    Account, Record, Records, Sshd,
    running::{self, Ended},
};

/// The hosts.
pub const HOSTS: [&str; 3] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
/// No server listens there.
pub const NOBODY: &str = "127.0.0.99";
/// What the containers run that are there before.
pub const BEFORE: &str = "aaaaaaa";

/// Where projects go: the hosts, and the programs on them.
pub struct Hosts {
    pub sshd: Sshd,
    /// The user that is logged in as.
    pub account: Account,
    folder: PathBuf,
}

pub struct Project {
    pub service: String,
    pub folder: PathBuf,
    log: PathBuf,
    path: String,
}

/// What the fixture did.
pub struct Log(pub Vec<Value>);

impl Hosts {
    pub fn start(folder: &Path) -> Self {
        let account = Account::create("sensor-target");
        let programs = folder.join("programs");
        fs::create_dir(&programs).unwrap();
        let orders = folder.join("orders");
        fs::write(&orders, "").unwrap();
        let script = format!(
            "#!/bin/sh\nwhile read -r order; do case \"$*\" in *$order*) echo \"docker: no\" >&2; exit 1;; esac; done < {}\n\
             case \"$*\" in\n*\"ls --all\"*missing*) ;;\n*\"ls --all\"*{BEFORE}*) echo 111111111111;;\n*\"ls --all\"*) echo 0123456789ab;;\n\"inspect -f\"*) echo \"$SERVICE\";;\n\"ps --latest\"*) \
             echo {BEFORE};;\nesac\nexit 0\n",
            orders.display()
        );
        // The fake does not know the service: `grep -x` is asked for it, and finds it.
        let script = script.replace("echo \"$SERVICE\"", "echo myapp; echo other");
        let docker = programs.join("docker");
        fs::write(&docker, script).unwrap();
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
        let key = folder.join("key");
        let mut keygen = Command::new("ssh-keygen");
        running::succeed(keygen.args(["-q", "-t", "rsa", "-m", "PEM", "-N", "", "-C", "", "-f"]).arg(&key));
        // PEM: Net::SSH 7.0 cannot read OpenSSH's own format of an RSA key with OpenSSL 3. Deployers of several users
        // have it.
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let listen = HOSTS.map(|host| format!("ListenAddress {host}\n")).concat();
        let path = path(&programs);
        let before = format!("{listen}SetEnv PATH={path}\n");
        let sshd = Sshd::start_with(folder, &before, "");
        let mut authorized = fs::read_to_string(sshd.file("authorized_keys")).unwrap();
        authorized += &fs::read_to_string(key.with_extension("pub")).unwrap();
        fs::write(sshd.file("authorized_keys"), authorized).unwrap();
        Self { sshd, account, folder: folder.to_owned() }
    }

    /// The private key that logs in.
    pub fn key(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// From now on docker fails where this is in its arguments; nothing: it succeeds.
    pub fn order(&self, fails: &str) {
        let text = if fails.is_empty() { String::new() } else { format!("{fails}\n") };
        fs::write(self.folder.join("orders"), text).unwrap();
    }

    /// Somebody holds the lock of this project.
    pub fn lock(&self, project: &str) {
        let folder = self.account.home.join(".kamal");
        fs::create_dir_all(folder.join(format!("lock-{project}"))).unwrap();
        running::succeed(Command::new("chown").args(["-R", &self.account.name]).arg(&folder));
    }

    /// Nothing of a project is left on them.
    pub fn clean(&self) {
        let _ = fs::remove_dir_all(self.account.home.join(".kamal"));
    }

    /// A project of this service, that `owner` deploys.
    pub fn project(&self, service: &str, owner: Option<&Account>) -> Project {
        let folder = self.folder.join(format!("project-{service}"));
        for part in ["bin", "config", ".kamal/hooks"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kamal");
        fs::copy(fixture, folder.join("bin/kamal")).unwrap();
        fs::set_permissions(folder.join("bin/kamal"), fs::Permissions::from_mode(0o755)).unwrap();
        let key = self.folder.join("key");
        let config = format!(
            "service: {service}\nimage: acme/{service}\nservers:\n  web: [{}, {}]\n  job: [{}]\nregistry:\n  server: registry.example.test\n  username: ciuser\n  password: [KAMAL_REGISTRY_PASSWORD]\n\
             env:\n  clear: {{ RAILS_ENV: production }}\n  secret: [RAILS_MASTER_KEY, DATABASE_URL]\nbuilder:\n  arch: amd64\n  secrets: [BUILD_TOKEN]\nssh:\n  user: {}\n  port: {}\n  keys: [{}]\n",
            HOSTS[0],
            HOSTS[1],
            HOSTS[2],
            self.account.name,
            self.sshd.port,
            key.display()
        );
        fs::write(folder.join("config/deploy.yml"), config).unwrap();
        fs::write(folder.join("config/deploy.production.yml"), "# nothing of its own\n").unwrap();
        fs::write(folder.join("Gemfile.lock"), "GEM\n  specs:\n    kamal (2.12.0)\n      sshkit (>= 1.23)\n").unwrap();
        let log = folder.join("log");
        fs::write(&log, "").unwrap();
        let project = Project { service: service.into(), folder, log, path: path(&self.folder.join("programs")) };
        project.secrets(&[
            ("KAMAL_REGISTRY_PASSWORD", "registry-pw"),
            ("RAILS_MASTER_KEY", "master"),
            ("DATABASE_URL", "postgres://u:p@db/a"),
            ("BUILD_TOKEN", "build"),
        ]);
        for hook in ["pre-connect", "pre-deploy", "post-deploy"] {
            project.hook(hook, 0);
        }
        let git = |args: &[&str]| {
            let identity = ["-c", "user.name=Dev", "-c", "user.email=dev@example.test", "-C"];
            running::succeed(Command::new("git").args(identity).arg(&project.folder).args(args))
        };
        git(&["init", "-q"]);
        git(&["config", "user.email", "dev@example.test"]);
        git(&["add", "bin", "config"]);
        git(&["commit", "-q", "-m", "first"]);
        if let Some(owner) = owner {
            running::succeed(Command::new("chown").args(["-R", &owner.name]).arg(&project.folder));
        }
        project
    }
}

/// Where programs are looked for: these first.
fn path(programs: &Path) -> String {
    format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display())
}

impl Project {
    /// Secrets of the destination `production`, as Kamal reads them. No record may hold a value.
    pub fn secrets(&self, secrets: &[(&str, &str)]) {
        let lines: Vec<String> = secrets.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        let text = lines.concat();
        fs::write(self.folder.join(".kamal/secrets.production"), text).unwrap();
    }

    /// A hook that takes long enough to be looked at, and ends so.
    pub fn hook(&self, name: &str, code: u8) {
        let path = self.folder.join(".kamal/hooks").join(name);
        fs::write(&path, format!("#!/bin/sh\nsleep 0.1\nexit {code}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A hook that says that it is there, and ends when it may.
    pub fn hook_that_waits(&self, name: &str) {
        let path = self.folder.join(".kamal/hooks").join(name);
        fs::write(&path, "#!/bin/sh\n: > waiting\nwhile [ ! -e go ]; do sleep 0.1; done\n").unwrap();
    }

    pub fn is_waiting(&self) -> bool {
        self.folder.join("waiting").exists()
    }

    pub fn go_on(&self) {
        fs::write(self.folder.join("go"), "").unwrap();
    }

    /// Changes the configuration.
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.folder.join("config/deploy.yml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// `kamal ARGS`; its own binstub.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join("bin/kamal"));
        command.args(args).current_dir(&self.folder).env("PATH", &self.path).env("FIXTURE_LOG", &self.log);
        command
    }

    /// The same as text for a shell.
    pub fn line(&self, args: &str) -> String {
        format!("cd {} && FIXTURE_LOG={} exec bin/kamal {args}", self.folder.display(), self.log.display())
    }

    /// Runs it to its end. What it did, and how it ended.
    pub fn kamal(&self, args: &[&str]) -> (Ended, Log) {
        let ended = running::finish(&mut self.command(args));
        (ended, self.take_log())
    }

    /// What was written since the last time.
    pub fn take_log(&self) -> Log {
        let text = fs::read_to_string(&self.log).unwrap();
        fs::write(&self.log, "").unwrap();
        Log(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// The revision that is deployed.
    pub fn revision(&self) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "safe.directory=*", "-C"]).arg(&self.folder).args(["rev-parse", "HEAD"]);
        running::succeed(&mut git).text().trim().to_owned()
    }
}

/// A command as both sides should have it: line, redacted as it is in a record, and exit status.
type Sent = (String, u64);

impl Log {
    pub fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> = self.0.iter().filter_map(|entry| entry["host"].as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// Commands sent to a host.
    pub fn sent(&self, host: &str) -> Vec<Sent> {
        let ended = self.of(host).filter(|entry| entry["line"].is_string());
        ended.map(|entry| (clean(entry["line"].as_str().unwrap()), entry["status"].as_u64().unwrap())).collect()
    }

    fn of<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |entry| entry["host"].as_str() == Some(host))
    }

    /// Hooks that ran, with their results.
    pub fn hooks(&self) -> Vec<(String, u64)> {
        let own = self.0.iter().filter(|entry| entry["hook"].is_string());
        own.map(|entry| (entry["hook"].as_str().unwrap().to_owned(), entry["status"].as_u64().unwrap())).collect()
    }
}

/// Steps of a deploy on one host, as one side records them.
pub fn steps(records: &Records, deploy: &str, role: &str, host: &str) -> Vec<Sent> {
    let own = |record: &&Record| {
        record.text("deploy.id") == deploy && record.text("ssh.role") == role && record.text("deploy.step.host") == host
    };
    let mut found: Vec<&Record> = records.of("deploy-step").filter(own).collect();
    found.sort_by_key(|record| record.text("@timestamp").to_owned());
    let sent = |record: &&Record| {
        (record.text("deploy.step.line").to_owned(), record.number("deploy.step.exit_status").unwrap_or(999))
    };
    found.iter().map(sent).collect()
}

fn clean(line: &str) -> String {
    let clean = sensor::decode::redact::redact_line(line.as_bytes());
    clean.map_or_else(|| line.to_owned(), |clean| String::from_utf8(clean).unwrap())
}

/// Every command that was sent is a step, on both sides, and nothing else is.
pub fn assert_steps(records: &Records, deploy: &str, log: &Log) {
    let own = |record: &&Record| record.text("deploy.id") == deploy;
    for host in log.hosts() {
        for (role, who) in [("server", "host"), ("client", "deployer")] {
            assert_eq!(steps(records, deploy, role, host), log.sent(host), "steps on {host}, by the {who}");
        }
    }
    let named = |record: &&&Record| record.text("deploy.step.kind") == "hook";
    let hooks: Vec<(String, u64)> = records
        .of("deploy-step")
        .filter(own)
        .filter(|record| named(&record))
        .map(|record| {
            let line = record.text("deploy.step.line");
            (line.rsplit('/').next().unwrap().to_owned(), record.number("deploy.step.exit_status").unwrap())
        })
        .collect();
    assert_eq!(hooks, log.hooks());
}
