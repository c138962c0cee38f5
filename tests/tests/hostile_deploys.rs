//! Forged deploys: an ordinary user's scripts that have the name of a deploy tool and do not do what it does. What they
//! say is recorded as claims of that user, and nothing of it as done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use sensor_tests::{Account, Folder, Machine, Record, Sensor, Sshd, running, sensor, wait};

/// A host with one ordinary user, who logs in over SSH.
struct Test {
    sshd: Sshd,
    sensor: Sensor,
    alice: Account,
    project: PathBuf,
    _folder: Folder,
    _machine: Machine,
}

/// Says who deploys what, and lives long enough to be looked at.
const HOOK: &str = "#!/bin/sh\nsleep 0.5\nexit 0\n";
/// The fake: a hook's environment as Kamal makes it.
const CLAIM: &str = "KAMAL_PERFORMER=ceo@corp.example KAMAL_VERSION=abc123 KAMAL_SERVICE=shop .kamal/hooks/post-deploy";

impl Test {
    fn new(name: &str) -> Self {
        let machine = Machine::take();
        let folder = Folder::new(name);
        let alice = Account::create("sensor-alice");
        let sensor = Sensor::run(&folder, "");
        let sshd = Sshd::start(&folder);
        let project = alice.home.join("shop");
        let test = Self { sshd, sensor, alice, project, _folder: folder, _machine: machine };
        fs::create_dir_all(test.project.join(".kamal/hooks")).unwrap();
        test.script(".kamal/hooks/post-deploy", HOOK);
        // Her own key, for what her script runs.
        fs::copy(test.sshd.file("user_key"), test.project.join("key")).unwrap();
        fs::set_permissions(test.project.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        test
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.project.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        running::succeed(Command::new("chown").args(["-R", &self.alice.name]).arg(&self.project));
    }

    /// Alice writes a script of this name and runs it in a session: the end that is recorded of it.
    fn runs(&self, name: &str, text: &str, args: &str) -> Record {
        self.script(name, &format!("#!/bin/bash\n{text}\n"));
        let ends = || -> Vec<Record> { self.sensor.records().of("deploy-finished").cloned().collect() };
        let before = ends().len();
        self.sshd.session(&self.alice.name, &format!("cd shop && ./{name} {args}"));
        wait::until("the deploy's end", || ends().get(before).cloned())
    }

    fn shown(&self, args: &[&str]) -> String {
        running::succeed(sensor::command(&["deploys"]).args(args).arg(self.sensor.path())).text()
    }

    /// Who she is, as the kernel has it.
    fn is_hers(&self, record: &Record) {
        assert_eq!((record.text("user.name"), record.text("user.audit.name")), (&*self.alice.name, &*self.alice.name));
        assert_eq!(record.text("user.id"), self.alice.uid.to_string());
    }

    /// Nothing was lost, so that "not seen" is "not done".
    fn ends(&mut self) {
        self.sensor.stop().assert_nothing_lost();
    }
}

fn verdict(record: &Record) -> (&str, &str) {
    (record.text("event.outcome"), record.text("deploy.evidence"))
}

#[test]
fn a_script_named_kamal_with_a_fake_hook_is_a_user_who_ran_a_script() {
    let mut test = Test::new("hostile-deploy-forged");
    let forged = test.runs("kamal", CLAIM, "deploy");
    assert_eq!(verdict(&forged), ("unknown", "none"), "{}", forged.0);
    test.is_hers(&forged);
    assert_eq!(forged.text("error.message"), "a program named kamal ran; it did nothing that the sensor saw");
    assert_eq!((forged.text("deploy.performer"), forged.text("deploy.version")), ("ceo@corp.example", "abc123"));
    assert_eq!(forged.list("deploy.claimed"), ["deploy.performer", "deploy.service", "deploy.version"]);
    assert!(forged.list("deploy.contacted").is_empty() && forged.list("deploy.connections").is_empty());
    let head = test.shown(&["show", "last"]);
    let expected = format!(
        "{} (uid {}) ran `kamal deploy`: no evidence of a deploy (no connection, no command). Claims: performer ceo@corp.example, \
         version abc123, service shop.\n",
        test.alice.name, test.alice.uid
    );
    assert!(head.starts_with(&expected), "{head}");
    assert!(head.contains("it did nothing that the sensor saw"), "{head}");
    let list = test.shown(&[]);
    assert!(list.contains("unknown: no evidence") && list.contains("(claims ceo@corp.example)"), "{list}");
    // It fails in the same way: a name makes no failure of a deploy.
    let failed = test.runs("kamal", &format!("{CLAIM}\nexit 7"), "rollback abc123");
    assert_eq!(verdict(&failed), ("unknown", "none"), "{}", failed.0);
    assert_eq!(failed.number("process.exit_code"), Some(7));
    test.ends();
}

#[test]
fn other_names_and_local_programs_of_the_right_names_are_no_evidence_either() {
    let mut test = Test::new("hostile-deploy-names");
    let cap = test.runs("cap", "exit 0", "production deploy");
    assert_eq!(verdict(&cap), ("unknown", "none"), "{}", cap.0);
    assert!(test.shown(&["show", "last"]).contains("ran `capistrano deploy`: no evidence of a deploy"));
    test.script("docker", "#!/bin/sh\nexit 0\n");
    let docker = "./docker pull r/shop:abc123; ./docker run --detach --name shop-web-abc123 r/shop:abc123\n\
                  ./docker exec kamal-proxy kamal-proxy deploy shop-web --target=x";
    let local = test.runs("kamal", &format!("{CLAIM}\n{docker}"), "deploy");
    assert_eq!(verdict(&local), ("unknown", "none"), "{}", local.0);
    assert!(local.list("deploy.claimed").contains(&"deploy.version"));
    // Another program under a tool's name that no definition finds more of: what was executed is not it.
    for (name, args) in [("kubectl", "apply -f a.yml"), ("ansible-playbook", "site.yml"), ("docker-compose", "up -d")] {
        let record = test.runs(name, "exit 0", args);
        assert_eq!(verdict(&record), ("unknown", "none"), "{name}: {}", record.0);
        test.is_hers(&record);
    }
    test.ends();
}

#[test]
fn a_connection_to_a_host_that_speaks_no_ssh_is_a_connection_and_no_more() {
    let mut test = Test::new("hostile-deploy-connects");
    let host = "127.0.0.77";
    // Another may listen on port 22 of all addresses.
    let silent = TcpListener::bind((host, 22)).or_else(|_| TcpListener::bind((host, 0))).unwrap();
    let port = silent.local_addr().unwrap().port();
    let connects = format!("{CLAIM}\nexec 3<>/dev/tcp/{host}/{port}; sleep 0.2; exec 3>&-");
    let record = test.runs("kamal", &connects, "deploy");
    assert_eq!(verdict(&record), ("unknown", "connections"), "{}", record.0);
    assert_eq!(record.list("deploy.contacted"), [host]);
    assert!(record.list("deploy.claimed").contains(&"deploy.version"), "{}", record.0);
    let head = test.shown(&["show", "last"]);
    let expected = format!(
        "ran `kamal deploy`: no evidence of a deploy (a connection to {host}, no command). Claims: performer ceo@"
    );
    assert!(head.contains(&expected), "{head}");
    test.ends();
}

#[test]
fn a_command_over_ssh_that_is_none_of_the_tools_is_no_deploy() {
    let mut test = Test::new("hostile-deploy-ssh");
    let config = test.sshd.file("ssh_config");
    let ssh = format!("ssh -F {} -i key {}@test", config.display(), test.alice.name);
    for (name, args) in [("kamal", "deploy"), ("cap", "production deploy"), ("ansible-playbook", "site.yml")] {
        let record = test.runs(name, &format!("{CLAIM}\n{ssh} true"), args);
        assert_eq!(verdict(&record), ("unknown", "connections"), "{name}: {}", record.0);
        assert_eq!(record.list("deploy.contacted"), ["127.0.0.1"], "{name}");
        assert_eq!(record.list("deploy.connections").len(), 1, "{name}: the connection is real");
        test.is_hers(&record);
    }
    // A command that is the tool's ran, and no deploy is proven by it; nor by what it only says in a label.
    let pull = format!("{CLAIM}\n{ssh} 'docker pull r/shop:other' || true");
    let record = test.runs("kamal", &pull, "deploy");
    assert_eq!((record.text("event.outcome"), record.text("deploy.evidence")), ("failure", "commands"), "{}", record.0);
    assert!(record.list("deploy.claimed").contains(&"deploy.version"), "{}", record.0);
    test.ends();
}
