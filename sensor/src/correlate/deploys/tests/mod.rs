//! Deploys on hand-made streams: each test tells one in events, from the deployer's side, the target's, or both.

mod deployer;
mod evidence;
mod found;
mod target;

use std::sync::Arc;

use serde_bytes::ByteBuf;

use crate::{
    correlate::{Correlate, Scope},
    event::{
        deploy::{Facts, FileState, Project, ProjectFile},
        ssh::{AuthRequest, ChannelOpen, Direction, KexInit, Key, Message, Packet, Request},
        stream::{
            Args, Connect, Credentials, Event, EventKind, Exec, Exit, Fork, Limits, Names, Path, ProcessId,
            ProcessSnapshot, Role, Status, Task, TcpChange, TcpState,
        },
    },
    finding::{
        Action, Finding, FindingKind, Outcome, SshConnectionId,
        deploy::{ConfigFiles, DeployStep, Description, Extent},
    },
    schema::ecs::Words,
};

const LIMITS: Limits = Limits { processes: 100, sessions: 50, connections: 100 };
const SHELL: u32 = 100;
const CHACHA: &str = "chacha20-poly1305@openssh.com";

struct Story {
    correlate: Correlate,
    time: u64,
    records: Vec<Finding>,
}

/// One end of a connection.
#[derive(Clone, Copy)]
struct End {
    socket: u64,
    process: u32,
    client: bool,
    channels: u32,
}

fn id(tgid: u32) -> ProcessId {
    ProcessId { tgid, start: u64::from(tgid) }
}

fn task(tgid: u32, parent: u32) -> Task {
    Task {
        id: id(tgid),
        tid: tgid,
        parent: Some(id(parent)),
        sid: Some(SHELL),
        credentials: Some(Credentials { uid: 1000, euid: 1000, gid: 1000, egid: 1000 }),
        loginuid: Some(1000),
        audit_session: None,
        mnt_ns: Some(1),
        pid_ns: Some(1),
        cgroup: None,
        comm: b"x".to_vec(),
        names: Names::default(),
    }
}

fn bytes(text: &str) -> ByteBuf {
    ByteBuf::from(text.as_bytes())
}

fn project() -> Project {
    Project {
        files: vec![
            ProjectFile { path: "config/deploy.yml".into(), secret: false, state: FileState::Read },
            ProjectFile { path: "config/deploy.production.yml".into(), secret: false, state: FileState::TooLarge },
            ProjectFile { path: ".kamal/secrets".into(), secret: true, state: FileState::Missing },
        ],
        service: Some("myapp".into()),
        roles: vec![("web".into(), vec!["10.0.0.1".into(), "10.0.0.2".into()])],
        secrets: vec!["RAILS_MASTER_KEY".into()],
        ..Project::default()
    }
}

impl Story {
    fn new() -> Self {
        let correlate = Correlate::new(LIMITS, Scope::default());
        Self { correlate, time: 1_000_000_000, records: Vec::new() }
    }

    fn event(&mut self, what: EventKind) {
        self.time += 1_000_000;
        self.correlate.observe(&Event { time: self.time, what }, &mut self.records);
    }

    fn fork(&mut self, tgid: u32, parent: u32) {
        self.event(EventKind::Fork(Fork { task: task(tgid, parent), creator: id(parent), served: None }));
    }

    fn exec_as(&mut self, task: Task, argv: &[&str]) {
        let list: Vec<ByteBuf> = argv.iter().map(|arg| bytes(arg)).collect();
        let path = argv.first().map_or("/bin/x", |first| first).to_owned();
        self.event(EventKind::Exec(Box::new(Exec {
            task,
            file: None,
            role: None,
            executable: Some(Path { bytes: path.into_bytes(), cut: false }),
            working_directory: None,
            argc: list.len() as u32,
            args: Args { list, ..Args::default() },
            served: None,
            thread: None,
            stamp: None,
        })));
    }

    fn exec(&mut self, tgid: u32, parent: u32, argv: &[&str]) {
        self.exec_as(task(tgid, parent), argv);
    }

    /// A process that runs one program.
    fn child(&mut self, tgid: u32, parent: u32, argv: &[&str], code: u8) {
        self.fork(tgid, parent);
        self.exec(tgid, parent, argv);
        self.exit(tgid, parent, code);
    }

    /// A process that was there before the sensor.
    fn found(&mut self, tgid: u32, parent: u32, argv: &[&str]) {
        let list = argv.iter().map(|arg| bytes(arg)).collect();
        let path = argv.first().map_or("/bin/x", |first| first).to_owned();
        self.event(EventKind::ProcessSnapshot(Box::new(ProcessSnapshot {
            task: task(tgid, parent),
            file: None,
            role: Role::Other,
            executable: Some(Path { bytes: path.into_bytes(), cut: false }),
            args: Args { list, ..Args::default() },
            served: None,
            ssh_connection: None,
        })));
    }

    fn exit(&mut self, tgid: u32, parent: u32, code: u8) {
        self.event(EventKind::Exit(Exit { task: task(tgid, parent), status: Status::Code(code) }));
    }

    /// The shell, and kamal in it.
    fn kamal(&mut self, tgid: u32, args: &[&str]) {
        self.fork(tgid, SHELL);
        self.facts(tgid, Some(project()), &[]);
        let argv: Vec<&str> = ["/usr/bin/ruby3.1", "/usr/local/bin/kamal"].iter().chain(args).copied().collect();
        self.exec(tgid, SHELL, &argv);
    }

    fn facts(&mut self, tgid: u32, project: Option<Project>, variables: &[(&str, &str)]) {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let project = project.map(Box::new);
        let (process, tool) = (id(tgid), "kamal".into());
        let facts = Facts { process, tool, project, variables, working_directory: None };
        self.event(EventKind::Deploy(Box::new(facts)));
    }

    fn packet(&mut self, end: End, direction: Direction, clear: bool, message: Message) {
        let (client, server) = ("10.0.0.9:5000".parse().unwrap(), "10.0.0.1:22".parse().unwrap());
        let endpoints = if end.client { (client, server) } else { (server, client) };
        let process = (!clear).then_some(id(end.process));
        self.event(EventKind::Ssh(Box::new(Packet {
            connection: end.socket,
            process,
            endpoints: Some(endpoints),
            direction,
            before_mac: false,
            cut: false,
            message,
        })));
    }

    /// A connection up to the login, from one end. Both ends with the same number have the same id.
    fn connects(&mut self, number: u8, process: u32, client: bool, software: &str) -> End {
        let socket = u64::from(number) * 2 + u64::from(client);
        let end = End { socket, process, client, channels: 0 };
        if client {
            let remote = "10.0.0.1:22".parse().unwrap();
            self.event(EventKind::Connect(Connect { task: task(process, SHELL), socket, remote }));
        }
        let (own, other) = (Direction::Out, Direction::In);
        let (ours, theirs) = if client { (software, "OpenSSH_9.2") } else { ("OpenSSH_9.2", software) };
        let cookie = |of_client: bool| [number + 100 * u8::from(of_client); 16];
        for (direction, text, of_client) in [(own, ours, client), (other, theirs, !client)] {
            self.packet(end, direction, true, Message::Identification(bytes(text)));
            let (kex, cipher) = (bytes("k"), bytes(CHACHA));
            let kexinit = KexInit {
                cookie: cookie(of_client),
                kex,
                cipher_client: cipher.clone(),
                cipher_server: cipher,
                ..KexInit::default()
            };
            self.packet(end, direction, true, Message::KexInit(Box::new(kexinit)));
        }
        let (clients, servers) = if client { (own, other) } else { (other, own) };
        self.packet(end, clients, true, Message::KexStart);
        self.packet(end, clients, true, Message::NewKeys);
        let key = Key { kind: bytes("ssh-ed25519"), fingerprint: None, certificate: None };
        let request = AuthRequest { user: bytes("root"), method: bytes("publickey"), key: Some(key), signed: true };
        self.packet(end, clients, false, Message::AuthRequest(Box::new(request)));
        self.packet(end, servers, false, Message::AuthSuccess);
        end
    }

    /// One command, from its request to its status.
    fn command(&mut self, end: &mut End, line: &str, status: u32) {
        end.channels += 1;
        let number = end.channels;
        let end = *end;
        let (clients, servers) =
            if end.client { (Direction::Out, Direction::In) } else { (Direction::In, Direction::Out) };
        let open =
            ChannelOpen { kind: bytes("session"), sender: number, destination: None, originator: None, path: None };
        self.packet(end, clients, false, Message::ChannelOpen(Box::new(open)));
        let sender = number + 1000;
        self.packet(end, servers, false, Message::ChannelConfirmed { recipient: number, sender });
        let exec = Request::Exec { line: bytes(line), redacted: false };
        let request = Message::ChannelRequest { recipient: sender, wants_reply: true, request: exec };
        self.packet(end, clients, false, request);
        self.packet(end, servers, false, Message::ChannelSuccess { recipient: number });
        let status = Request::ExitStatus(status);
        let status = Message::ChannelRequest { recipient: number, wants_reply: false, request: status };
        self.packet(end, servers, false, status);
        self.packet(end, servers, false, Message::ChannelClose { recipient: number, bytes: 0 });
        self.packet(end, clients, false, Message::ChannelClose { recipient: sender, bytes: 0 });
    }

    fn closes(&mut self, end: End) {
        self.event(EventKind::Tcp(TcpChange {
            socket: end.socket,
            local: "10.0.0.9:5000".parse().unwrap(),
            remote: "10.0.0.1:22".parse().unwrap(),
            old: TcpState::Established,
            new: TcpState::Close,
            error: None,
            bytes_in: 1,
            bytes_out: 1,
        }));
    }

    fn of(&self, action: Action) -> Vec<&Finding> {
        self.records.iter().filter(|record| record.action() == action).collect()
    }

    fn finished(&self) -> &Finding {
        let found = self.of(Action::DeployFinished);
        assert_eq!(found.len(), 1, "{:?}", self.actions());
        found[0]
    }

    fn actions(&self) -> Vec<&'static str> {
        self.records.iter().map(|record| record.action().word()).collect()
    }

    /// `kind exit` of each step.
    fn steps(&self) -> Vec<String> {
        let step = |record: &&Finding| {
            let step = fields(record).step.clone().unwrap();
            format!("{} {}", step.kind, step.exit_status.map_or("?".into(), |status| status.to_string()))
        };
        self.of(Action::DeployStep).iter().map(step).collect()
    }
}

/// What a finding says of its deploy, in the words of records.
#[derive(Debug, Default)]
struct Told {
    tool: Option<Arc<str>>,
    action: Option<&'static str>,
    verb: Option<String>,
    service: Option<String>,
    destination: Option<String>,
    version: Option<String>,
    previous_version: Option<String>,
    performer: Option<String>,
    claimed: Vec<&'static str>,
    hosts: Vec<String>,
    roles: Vec<String>,
    secrets: Vec<String>,
    config: Option<ConfigFiles>,
    connections: Vec<SshConnectionId>,
    contacted: Vec<String>,
    steps: Option<u64>,
    evidence: Option<&'static str>,
    reason: Option<String>,
    message: Option<String>,
    step: Option<DeployStep>,
}

impl Told {
    fn of(description: &Description, extent: Option<&Extent>) -> Self {
        let extent = extent.cloned().unwrap_or_default();
        let description = description.clone();
        Self {
            tool: description.tool,
            action: description.action.map(Words::word),
            verb: description.verb,
            service: description.service,
            destination: description.destination,
            version: description.version,
            previous_version: description.previous_version,
            performer: description.performer,
            claimed: description.claimed.iter().copied().map(Words::word).collect(),
            hosts: extent.hosts,
            roles: extent.roles,
            secrets: extent.secrets,
            config: extent.config,
            ..Self::default()
        }
    }
}

fn fields(record: &Finding) -> &'static Told {
    Box::leak(Box::new(match &record.kind {
        FindingKind::DeployStarted(started) => Told::of(&started.description, Some(&started.extent)),
        FindingKind::DeployStep(step) => {
            Told { step: Some(DeployStep::clone(step)), ..Told::of(&step.description, None) }
        }
        FindingKind::DeployFinished(finished) => Told {
            connections: finished.extent.connections.clone(),
            contacted: finished.contacted.clone(),
            steps: finished.steps,
            evidence: finished.evidence.map(Words::word),
            reason: finished.reason.as_ref().map(ToString::to_string),
            message: finished.message.as_ref().map(ToString::to_string),
            ..Told::of(&finished.description, Some(&finished.extent))
        },
        other => panic!("{other:?}"),
    }))
}

fn deploy(record: &Finding) -> Option<&str> {
    record.subject.deploy.as_deref()
}

fn ended(record: &Finding) -> (Outcome, Option<&'static str>) {
    (record.outcome, fields(record).reason.as_deref())
}

/// A deploy as Kamal sends it, with what each command ends with.
fn deploy_lines(version: &str) -> Vec<(String, u32)> {
    let audit = |text: &str| {
        format!(
            r#"/usr/bin/env mkdir -p .kamal && echo "[t] [dev@example.test] [production] {text}" >> .kamal/myapp-production-audit.log"#
        )
    };
    let container =
        |version: &str| format!("docker container ls --all --filter 'name=^myapp-web-production-{version}$' --quiet");
    vec![
        (r#"docker login registry.example.test -u "ciuser" -p "[REDACTED]""#.into(), 0),
        (audit(&format!("Pulled image with version {version}")), 0),
        (format!("docker image rm --force registry.example.test/acme/myapp:{version}"), 1),
        (format!("docker pull registry.example.test/acme/myapp:{version}"), 0),
        (format!("docker inspect -f '{{{{ .Config.Labels.service }}}}' registry.example.test/acme/myapp:{version} | grep -x myapp || (echo no && exit 1)"), 0),
        ("/usr/bin/env mkdir .kamal/lock-myapp-production && echo \"eA==\" > .kamal/lock-myapp-production/details".into(), 0),
        ("docker ps --filter label=service=myapp --filter label=destination=production --filter label=role=web --format \"{{.Names}}\"".into(), 0),
        (container(version), 0),
        (audit(&format!("[web] Booted app version {version}")), 0),
        ("scp -t .kamal/apps/myapp-production/env/roles/web.env".into(), 0),
        (format!(r#"docker run --detach --restart unless-stopped --name myapp-web-production-{version} --network kamal --env KAMAL_VERSION="{version}" --label service="myapp" --label role="web" --label destination="production" registry.example.test/acme/myapp:{version}"#), 0),
        (r#"docker exec kamal-proxy kamal-proxy deploy myapp-web-production --target="0123:80""#.into(), 0),
        (format!("{} | xargs docker stop", container("aaaaaaa")), 0),
        (format!("docker tag registry.example.test/acme/myapp:{version} registry.example.test/acme/myapp:latest-production"), 0),
        ("/usr/bin/env rm .kamal/lock-myapp-production/details && rm -r .kamal/lock-myapp-production".into(), 0),
    ]
}
