//! Logs of deploys, made by hand: what sensors on a deployer and on its targets write by the contract of records,
//! without any of them having run.
//!
//! For tests and benchmarks of what reads logs. Every record keeps the contract (`Records::assert_contract`); the
//! commands are those of Kamal 2.

use serde_json::{Value, json};

use crate::records::meaning;

/// 2026-11-21T21:18:44Z, ms since the epoch.
const BEGAN: u64 = 1_795_295_924_000;

/// The log of one host.
pub struct Log {
    host: String,
    lines: Vec<String>,
}

impl Log {
    pub fn new(host: &str) -> Self {
        let mut log = Self { host: host.into(), lines: Vec::new() };
        log.record(-5000, "sensor-started", "success", json!({}));
        log
    }

    /// One record, so many ms after the deploys begin. `fields` may add to what every record has.
    pub fn record(&mut self, ms: i64, action: &str, outcome: &str, fields: Value) {
        let (category, kind, dataset) = meaning(action).expect("a known action");
        let sequence = self.lines.len() + 1;
        let at = BEGAN.strict_add_signed(ms);
        let host: u64 = self.host.bytes().fold(7, |hash, byte| hash * 31 + u64::from(byte));
        let mut record = json!({
            "@timestamp": time(at),
            "ecs": { "version": "8.17.0" },
            "event": {
                "id": format!("{:08x}-{:04x}-7000-8000-{:012x}", at >> 16, at & 0xffff, (host << 20 | sequence as u64) & 0xffff_ffff_ffff),
                "sequence": sequence, "kind": "event", "category": category, "type": kind,
                "action": action, "outcome": outcome, "dataset": dataset,
            },
            "host": { "name": self.host, "id": format!("{host:032x}") },
            "sensor": { "version": "0.1.0", "boot_id": format!("{host:016x}") },
        });
        merge(&mut record, fields);
        self.lines.push(record.to_string());
    }

    pub fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.text().into_bytes()
    }
}

/// A deploy on its way: its log, its id, and who does it.
pub struct Deployer {
    pub log: Log,
    id: String,
    common: Value,
}

impl Deployer {
    /// `alice`, logged in over SSH, starts `kamal VERB` as herself.
    pub fn start(host: &str, id: &str, deploy: &Value) -> Self {
        let mut log = Log::new(host);
        let session = "46c1ed0a5b7d9e21";
        log.record(
            -4000,
            "ssh-session-started",
            "success",
            json!({
                "source": { "ip": "203.0.113.7", "port": 47222 }, "destination": { "ip": "10.0.0.5", "port": 22, "user": { "name": "alice" } },
                "user": { "id": "1001", "name": "alice" },
                "ssh": { "role": "server", "capture": "full", "session": { "id": session }, "connection": { "id": "0".repeat(32) },
                    "auth": { "method": "publickey", "key": { "type": "ssh-ed25519", "fingerprint": "SHA256:ajHt1IXWfqZ4384cuG2JaqzlA2ZVQ5Q8SyieEj6viD8" } } },
            }),
        );
        let common = json!({
            "deploy": deploy,
            "process": { "pid": 4100, "entity_id": "e4100", "name": "ruby3.1", "executable": "/usr/bin/ruby3.1",
                "command_line": "/usr/bin/ruby3.1 /usr/local/bin/kamal deploy -d production", "working_directory": "/srv/myapp",
                "entry_leader": { "pid": 900, "entity_id": "e900", "entry_meta": { "type": "sshd", "source": { "ip": "203.0.113.7" } } } },
            "user": { "id": "1001", "name": "alice", "effective": { "id": "1001", "name": "alice" }, "audit": { "id": "1001", "name": "alice" } },
            "ssh": { "role": "server", "capture": "full", "session": { "id": session }, "connection": { "id": "0".repeat(32) } },
        });
        let mut deployer = Self { log, id: id.into(), common };
        deployer.common["deploy"]["id"] = id.into();
        deployer.log.record(0, "deploy-started", "unknown", deployer.common.clone());
        deployer
    }

    pub fn finish(&mut self, ms: i64, outcome: &str, fields: Value) {
        let mut record = self.common.clone();
        record["event"] = json!({ "duration": ms * 1_000_000 });
        merge(&mut record, fields);
        self.log.record(ms, "deploy-finished", outcome, record);
    }

    /// A local child, from its start to its end, with its step if it has one.
    pub fn local(&mut self, ms: i64, took: i64, pid: u32, parent: u32, line: &str, step: Option<&str>) {
        let process = json!({ "pid": pid, "entity_id": format!("e{pid}"), "command_line": line, "parent": { "pid": parent, "entity_id": format!("e{parent}") } });
        let of = json!({ "id": self.id });
        let fields = json!({ "process": process, "deploy": of });
        self.log.record(ms, "process-started", "success", fields.clone());
        let mut end = json!({ "event": { "duration": took * 1_000_000 }, "process": { "exit_code": 0 } });
        merge(&mut end, fields.clone());
        self.log.record(ms + took, "process-ended", "success", end.clone());
        if let Some(kind) = step {
            merge(&mut end, json!({ "deploy": { "step": { "kind": kind, "line": line, "exit_status": 0 } } }));
            self.log.record(ms + took, "deploy-step", "success", end);
        }
    }

    /// A command on a host, as the deployer sees it: SSH command and step.
    pub fn remote(&mut self, target: &Target, number: u32, command: &Command) {
        let Command { ms, took, line, status, .. } = *command;
        let ends = json!({ "source": { "ip": "10.0.0.5", "port": 50000 }, "destination": { "ip": target.ip, "port": 22, "user": { "name": "deploy" } } });
        let mut fields = json!({ "deploy": { "id": self.id },
            "ssh": { "role": "client", "capture": "full", "session": { "id": target.client_session }, "connection": { "id": target.connection },
                "command": { "id": format!("{}-{number}", target.client_session), "kind": "exec", "line": line } } });
        merge(&mut fields, ends);
        self.log.record(ms, "ssh-command-started", "success", fields.clone());
        merge(
            &mut fields,
            json!({ "event": { "duration": took * 1_000_000 }, "ssh": { "command": { "exit_status": status } } }),
        );
        self.log.record(ms + took, "ssh-command-ended", outcome(status), fields.clone());
        let step = json!({ "deploy": { "step": { "kind": "remote", "line": line, "host": target.ip, "role": "web", "exit_status": status } } });
        merge(&mut fields, step);
        self.log.record(ms + took, "deploy-step", outcome(status), fields);
    }
}

/// A command on a target.
pub struct Command {
    pub ms: i64,
    pub took: i64,
    pub line: &'static str,
    pub status: u8,
    /// What the shell runs, if it is not the command itself.
    pub runs: &'static [&'static str],
}

/// A host that is deployed to, with the deployer's connection to it.
pub struct Target {
    pub log: Log,
    pub ip: String,
    pub connection: String,
    client_session: String,
    session: String,
    deploy: Value,
    next_pid: u32,
}

impl Target {
    /// `deploy`: what its commands tell of the deploy.
    pub fn new(host: &str, ip: &str, number: u32, deploy: Value) -> Self {
        let connection = format!("{:08x}{:024x}", 0xc0ff_ee00_u32 + number, number);
        let session = format!("{:016x}", 0x7a61_0000_u32 + number);
        let client_session = format!("{:016x}", 0xdead_0000_u32 + number);
        let mut target =
            Self { log: Log::new(host), ip: ip.into(), connection, client_session, session, deploy, next_pid: 7000 };
        let mut fields = target.ssh(None);
        merge(
            &mut fields,
            json!({ "source": { "ip": "10.0.0.5", "port": 50000 }, "destination": { "ip": ip, "port": 22, "user": { "name": "deploy" } },
                "ssh": { "auth": { "method": "publickey" } } }),
        );
        target.log.record(1500, "ssh-session-started", "success", fields);
        target
    }

    fn ssh(&self, command: Option<u32>) -> Value {
        let mut ssh = json!({ "role": "server", "capture": "full", "session": { "id": self.session }, "connection": { "id": self.connection } });
        if let Some(number) = command {
            ssh["command"] = json!({ "id": format!("{}-{number}", self.session) });
        }
        json!({ "ssh": ssh, "user": { "id": "1500", "name": "deploy" } })
    }

    /// A command as the target sees it: SSH command, processes and step.
    pub fn run(&mut self, number: u32, command: &Command) {
        let Command { ms, took, line, status, runs } = *command;
        let mut fields = self.ssh(Some(number));
        merge(&mut fields, json!({ "ssh": { "command": { "kind": "exec", "line": line } } }));
        self.log.record(ms + 1, "ssh-command-started", "success", fields.clone());
        let shell = self.next_pid;
        let lines: Vec<String> = runs.iter().map(ToString::to_string).collect();
        let processes: Vec<(u32, u32, String)> = std::iter::once((shell, 6999, format!("bash -c {line}")))
            .chain(lines.into_iter().zip(shell + 1..).map(|(line, pid)| (pid, shell, line)))
            .collect();
        self.next_pid += processes.len() as u32;
        for (pid, parent, line) in &processes {
            let process = json!({ "pid": pid, "entity_id": format!("e{pid}"), "command_line": line, "parent": { "pid": parent, "entity_id": format!("e{parent}") } });
            let mut record = self.ssh(Some(number));
            merge(&mut record, json!({ "process": process }));
            self.log.record(ms + 2, "process-started", "success", record);
        }
        for (pid, parent, line) in processes.iter().rev() {
            let process = json!({ "pid": pid, "entity_id": format!("e{pid}"), "command_line": line, "exit_code": status, "parent": { "pid": parent, "entity_id": format!("e{parent}") } });
            let mut record = self.ssh(Some(number));
            merge(&mut record, json!({ "process": process, "event": { "duration": (took - 3) * 1_000_000 } }));
            self.log.record(ms + took - 1, "process-ended", outcome(status), record);
        }
        merge(
            &mut fields,
            json!({ "event": { "duration": took * 1_000_000 }, "ssh": { "command": { "exit_status": status } } }),
        );
        self.log.record(ms + took, "ssh-command-ended", outcome(status), fields.clone());
        let step =
            json!({ "deploy": { "step": { "kind": "remote", "line": line, "role": "web", "exit_status": status } } });
        merge(&mut fields, step);
        merge(&mut fields, json!({ "deploy": self.deploy }));
        self.log.record(ms + took, "deploy-step", outcome(status), fields);
    }
}

/// A deploy with so many hosts, and so many commands on each: the deployer's log and those of the targets.
pub fn large(hosts: u32, commands: u32) -> Vec<Log> {
    let version = "5f95e7b4c03123bf41a0321f1ba709d42d112fd8";
    let of_target =
        json!({ "id": "77aa", "tool": "kamal", "service": "myapp", "destination": "production", "version": version });
    let mut targets: Vec<Target> = (0..hosts)
        .map(|n| Target::new(&format!("web{n}"), &format!("10.0.{}.{}", n / 200, n % 200 + 1), n, of_target.clone()))
        .collect();
    let connections: Vec<&str> = targets.iter().map(|target| target.connection.as_str()).collect();
    let ips: Vec<&str> = targets.iter().map(|target| target.ip.as_str()).collect();
    let deploy = json!({ "tool": "kamal", "tool_version": "2.12.0", "action": "deploy", "verb": "deploy", "service": "myapp",
        "destination": "production", "version": version, "hosts": ips, "connections": connections });
    let mut deployer = Deployer::start("dev1", "3f9a12c8", &deploy);
    for number in 1..=commands {
        let command = Command {
            ms: i64::from(number) * 1000,
            took: 400,
            line: "docker ps --filter label=service=myapp --filter label=destination=production --filter label=role=web --format \"{{.Names}}\" | while read line; do echo ${line#myapp-web-production-}; done",
            status: 0,
            runs: &[
                "docker ps --filter label=service=myapp --filter label=destination=production --filter label=role=web --format {{.Names}}",
            ],
        };
        for target in &mut targets {
            deployer.remote(target, number, &command);
            target.run(number, &command);
        }
    }
    deployer.finish(i64::from(commands) * 1000 + 500, "success", json!({ "deploy": { "steps": hosts * commands } }));
    std::iter::once(deployer.log).chain(targets.into_iter().map(|target| target.log)).collect()
}

fn outcome(status: u8) -> &'static str {
    if status == 0 { "success" } else { "failure" }
}

/// RFC 3339 with nanoseconds.
fn time(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000 % 86_400, ms % 1000);
    // All of it is on one day.
    format!("2026-11-21T{:02}:{:02}:{:02}.{ms:03}000000Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
