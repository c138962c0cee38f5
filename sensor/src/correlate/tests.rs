//! Lineage and sessions on hand-made streams: each test tells a short story in events.

mod connections;
mod unexamined;

use std::net::SocketAddr;

use super::{Correlate, Scope};
use crate::{
    event::stream::{
        Args, Credentials, Event, EventKind, Exec, Exit, Fork, Limits, Names, Path, ProcessId, ProcessSnapshot, Role,
        Served, Status, Task, TcpChange, TcpState,
    },
    finding::{Action, Finding, FindingKind, Outcome, SessionId, ssh::SessionEnded},
    schema::ecs::Words as _,
};

const LISTENER: u32 = 10;

struct Story {
    correlate: Correlate,
    time: u64,
    records: Vec<Finding>,
}

fn id(tgid: u32) -> ProcessId {
    ProcessId { tgid, start: u64::from(tgid) }
}

fn task(tgid: u32, parent: u32, uid: u32) -> Task {
    Task {
        id: id(tgid),
        tid: tgid,
        parent: Some(id(parent)),
        sid: Some(tgid),
        credentials: Some(Credentials { uid, euid: uid, gid: uid, egid: uid }),
        loginuid: None,
        audit_session: None,
        mnt_ns: Some(1),
        pid_ns: Some(1),
        cgroup: None,
        comm: b"sshd".to_vec(),
        names: Names::default(),
    }
}

fn served(port: u16) -> Served {
    let local: SocketAddr = "127.0.0.1:22".parse().unwrap();
    Served { socket: Some(u64::from(port)), local, remote: SocketAddr::new(local.ip(), port) }
}

impl Story {
    /// A listening sshd, found at start.
    fn begin() -> Self {
        Self::limited(Limits { processes: 100, sessions: 10, connections: 10 })
    }

    fn limited(limits: Limits) -> Self {
        let mut story = Self { correlate: Correlate::new(limits, Scope::default()), time: 1, records: Vec::new() };
        story.found(LISTENER, 1, Role::Server, None);
        story.event(EventKind::SnapshotComplete);
        story
    }

    fn event(&mut self, what: EventKind) -> &mut Self {
        self.time += 1_000_000;
        self.correlate.observe(&Event { time: self.time, what }, &mut self.records);
        self
    }

    fn found(&mut self, tgid: u32, parent: u32, role: Role, served: Option<Served>) -> &mut Self {
        self.found_as(task(tgid, parent, 0), role, served)
    }

    fn found_as(&mut self, task: Task, role: Role, served: Option<Served>) -> &mut Self {
        let executable = Some(Path { bytes: b"/usr/sbin/sshd".to_vec(), cut: false });
        let found =
            ProcessSnapshot { task, file: None, role, executable, args: Args::default(), served, ssh_connection: None };
        self.event(EventKind::ProcessSnapshot(Box::new(found)))
    }

    fn fork(&mut self, tgid: u32, parent: u32, served: Option<Served>) -> &mut Self {
        self.event(EventKind::Fork(Fork { task: task(tgid, parent, 0), creator: id(parent), served }))
    }

    fn exec(&mut self, tgid: u32, parent: u32, program: &str, role: Role, served: Option<Served>) -> &mut Self {
        self.exec_as(task(tgid, parent, 1000), program, Some(role), served)
    }

    fn exec_as(&mut self, task: Task, program: &str, role: Option<Role>, served: Option<Served>) -> &mut Self {
        let path = Path { bytes: program.as_bytes().to_vec(), cut: false };
        let args = Args { list: vec![program.as_bytes().to_vec().into()], ..Args::default() };
        let exec = Exec {
            task,
            file: None,
            role,
            executable: Some(path),
            working_directory: None,
            args,
            argc: 1,
            served,
            thread: None,
            stamp: None,
        };
        self.event(EventKind::Exec(Box::new(exec)))
    }

    fn exit(&mut self, tgid: u32, parent: u32, code: u8) -> &mut Self {
        self.event(EventKind::Exit(Exit { task: task(tgid, parent, 1000), status: Status::Code(code) }))
    }

    fn tcp(&mut self, socket: u64, new: TcpState, error: Option<u16>) -> &mut Self {
        let Served { local, remote, .. } = served(1);
        self.event(EventKind::Tcp(TcpChange {
            socket,
            local,
            remote,
            old: TcpState::Other(0),
            new,
            error,
            bytes_in: 7,
            bytes_out: 9,
        }))
    }

    /// Monitor `root` and net child `root + 1`; the login succeeds if the child exits with 0.
    fn login(&mut self, root: u32, code: u8) -> &mut Self {
        let served = served(root as u16);
        self.fork(root, LISTENER, Some(served))
            .exec(root, LISTENER, "/usr/sbin/sshd", Role::Server, Some(served))
            .fork(root + 1, root, None)
            .exit(root + 1, root, code)
    }

    fn actions(&self) -> Vec<&'static str> {
        self.records.iter().map(|record| record.action().word()).collect()
    }

    fn of(&self, action: Action) -> Vec<&Finding> {
        self.records.iter().filter(|record| record.action() == action).collect()
    }

    fn session(record: &Finding) -> Option<SessionId> {
        record.subject.ssh.as_ref()?.session.as_ref().map(|session| session.id.clone())
    }
}

fn counts(record: &Finding) -> &SessionEnded {
    let FindingKind::SshSessionEnded(ended) = &record.kind else { panic!("{record:?}") };
    ended
}

#[test]
fn a_session_has_one_start_one_end_and_its_counts() {
    let mut story = Story::begin();
    story
        .login(20, 0)
        .fork(22, 20, None)
        .exec(22, 20, "/bin/sh", Role::Other, None)
        .fork(23, 22, None)
        .exec(23, 22, "/bin/true", Role::Other, None)
        .exit(23, 22, 0)
        .exit(22, 20, 3)
        .tcp(20, TcpState::Close, None)
        .exit(20, LISTENER, 0);
    assert_eq!(
        story.actions(),
        [
            "process-started",
            "ssh-session-started",
            "process-started",
            "process-started",
            "process-ended",
            "process-ended",
            "ssh-session-ended",
            "process-ended"
        ]
    );
    let [end] = story.of(Action::SshSessionEnded)[..] else { panic!("one end") };
    let session = counts(end);
    assert_eq!((session.commands, session.processes, session.processes_surviving), (Some(1), Some(2), Some(0)));
    assert_eq!((session.bytes_in, session.bytes_out), (Some(7), Some(9)));
    assert_eq!(story.correlate.sizes(), (1, 0, 0), "only the listener is left");
}

#[test]
fn a_failed_login_is_no_session() {
    // Also where the server was gone before anybody could look at its program.
    for role in [Some(Role::Server), None] {
        let (mut story, served) = (Story::begin(), Some(served(20)));
        story.fork(20, LISTENER, served).exec_as(task(20, LISTENER, 0), "/usr/sbin/sshd", role, served);
        story.fork(21, 20, None).exit(21, 20, 255).tcp(20, TcpState::Close, None).exit(20, LISTENER, 255);
        assert_eq!(story.actions(), ["process-started", "connection-closed", "process-ended"]);
        assert_eq!(story.of(Action::ConnectionClosed)[0].outcome, Outcome::Failure);
        assert_eq!(story.correlate.sizes(), (1, 0, 0));
    }
}

#[test]
fn authorized_keys_command_runs_before_anybody_is_logged_in() {
    let mut story = Story::begin();
    let served = served(20);
    story
        .fork(20, LISTENER, Some(served))
        .exec(20, LISTENER, "/usr/sbin/sshd", Role::Server, Some(served))
        .fork(21, 20, None) // net child
        .fork(22, 20, None)
        .exec_as(Task { sid: Some(20), ..task(22, 20, 65534) }, "/usr/bin/keys", Some(Role::Other), None)
        .exit(22, 20, 0);
    assert!(story.of(Action::SshSessionStarted).is_empty());
    story.exit(21, 20, 255).exit(20, LISTENER, 255);
    assert!(story.of(Action::SshSessionStarted).is_empty() && story.of(Action::SshSessionEnded).is_empty());
}

#[test]
fn a_server_without_a_net_child_is_logged_in_when_it_runs_a_command() {
    let mut story = Story::begin();
    story
        .fork(20, LISTENER, Some(served(20)))
        .fork(21, 20, None)
        .exec_as(Task { sid: Some(LISTENER), ..task(21, 20, 1000) }, "/bin/sh", Some(Role::Other), None)
        .exit(21, 20, 0)
        .tcp(20, TcpState::Close, None)
        .exit(20, LISTENER, 0);
    let [end] = story.of(Action::SshSessionEnded)[..] else { panic!("one end") };
    assert_eq!(counts(end).commands, Some(1));
    assert_eq!(story.of(Action::SshSessionStarted).len(), 1);
}

#[test]
fn survivors_keep_the_id_of_a_session_that_ended() {
    let mut story = Story::begin();
    story
        .login(20, 0)
        .fork(22, 20, None)
        .exec(22, 20, "/bin/sh", Role::Other, None)
        .fork(23, 22, None)
        .exit(22, 20, 0)
        .tcp(20, TcpState::Close, None)
        .exit(20, LISTENER, 0)
        // reparented
        .exec(23, 1, "/bin/sleep", Role::Other, None)
        .exit(23, 1, 0);
    let [start] = story.of(Action::SshSessionStarted)[..] else { panic!("one start") };
    let [end] = story.of(Action::SshSessionEnded)[..] else { panic!("one end") };
    assert_eq!(counts(end).processes_surviving, Some(1));
    let last = story.records.last().unwrap();
    assert_eq!(last.action(), Action::ProcessEnded);
    assert_eq!(Story::session(last), Story::session(start));
    assert_eq!(story.correlate.sizes(), (1, 0, 0));
}

#[test]
fn a_server_process_that_forwards_ports_opens_no_second_session() {
    let mut story = Story::begin();
    story.login(20, 0);
    // With -R it listens, so its children are searched for a connection: they have the session's own.
    story.fork(22, 20, Some(served(20))).exec(22, 20, "/bin/sh", Role::Other, None);
    story.exit(22, 20, 0).exit(20, LISTENER, 0).tcp(20, TcpState::Close, None);
    assert_eq!(story.of(Action::SshSessionStarted).len(), 1);
    assert_eq!(story.of(Action::SshSessionEnded).len(), 1);
}

#[test]
fn a_session_without_a_command_starts_after_a_while() {
    let mut story = Story::begin();
    story.login(20, 0).event(EventKind::Tick);
    assert!(story.of(Action::SshSessionStarted).is_empty());
    story.time += 3_000_000_000;
    story.event(EventKind::Tick);
    assert_eq!(story.of(Action::SshSessionStarted).len(), 1);
    story.exit(20, LISTENER, 0).tcp(20, TcpState::Close, None);
    assert_eq!(story.of(Action::SshSessionEnded).len(), 1);
}

#[test]
fn a_process_whose_fork_was_lost_joins_its_parents_session() {
    let mut story = Story::begin();
    story.login(20, 0).fork(22, 20, None).exec(22, 20, "/bin/sh", Role::Other, None);
    story.exec(23, 22, "/bin/true", Role::Other, None);
    let last = story.records.last().unwrap();
    assert_eq!(Story::session(last), Story::session(story.of(Action::SshSessionStarted)[0]));
    story.exit(23, 22, 0).exit(22, 20, 0).exit(20, LISTENER, 0).tcp(20, TcpState::Close, None);
    assert_eq!(story.correlate.sizes(), (1, 0, 0));
}

#[test]
fn two_last_threads_end_a_process_once() {
    let mut story = Story::begin();
    story.login(20, 0).fork(22, 20, None).exec(22, 20, "/bin/sh", Role::Other, None).exit(22, 20, 0).exit(22, 20, 0);
    assert_eq!(story.of(Action::ProcessEnded).len(), 1);
}

#[test]
fn an_open_session_is_adopted_under_the_same_id() {
    let mut first = Story::begin();
    first.login(20, 0).fork(22, 20, None).exec(22, 20, "/bin/sh", Role::Other, None);
    let id = Story::session(first.of(Action::SshSessionStarted)[0]);

    let mut second = Story {
        correlate: Correlate::new(Limits { processes: 9, sessions: 9, connections: 9 }, Scope::default()),
        time: 1,
        records: Vec::new(),
    };
    second
        .found(LISTENER, 1, Role::Server, None)
        .found(20, LISTENER, Role::Server, Some(Served { socket: None, ..served(20) }))
        .found(22, 20, Role::Other, None)
        .event(EventKind::SnapshotComplete);
    let [start] = second.of(Action::SshSessionStarted)[..] else { panic!("one start") };
    assert_eq!(Story::session(start), id);
    assert!(start.subject.ssh.as_ref().unwrap().session.as_ref().unwrap().adopted);
    second.exit(22, 20, 0).exit(20, LISTENER, 0);
    assert_eq!(second.of(Action::SshSessionEnded).len(), 1);
    assert_eq!(second.correlate.sizes(), (1, 0, 0));
}

#[test]
fn what_a_limit_refuses_is_counted() {
    let mut story = Story::limited(Limits { processes: 3, sessions: 1, connections: 1 });
    story.login(20, 0).login(30, 0).fork(40, 1, None).fork(41, 1, None).event(EventKind::Tick);
    let lost: Vec<(String, u64)> = story
        .of(Action::SensorEventsLost)
        .iter()
        .map(|record| match &record.kind {
            FindingKind::SensorEventsLost(lost) => (lost.kind.clone(), lost.count),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(lost.contains(&("session-refused".into(), 1)), "{lost:?}");
    assert!(lost.iter().any(|(kind, _)| kind == "process-evicted"), "{lost:?}");
    assert!(story.correlate.sizes().0 <= 3);
}

#[test]
fn a_session_whose_peer_is_gone_without_a_word_ends_all_the_same() {
    let mut story = Story::begin();
    story
        .login(20, 0)
        .fork(22, 20, None)
        .exec(22, 20, "/bin/sh", Role::Other, None)
        .exit(22, 20, 0)
        .exit(20, LISTENER, 255);
    assert!(story.of(Action::SshSessionEnded).is_empty(), "the byte counts are still to come");
    story.time += 2_000_000_000;
    story.event(EventKind::Tick);
    let [end] = story.of(Action::SshSessionEnded)[..] else { panic!("one end") };
    assert!(end.duration.unwrap() < 1_000_000_000, "it ended when its server did");
    assert_eq!(story.correlate.sizes(), (1, 0, 0));
}

#[test]
fn an_orphan_that_could_be_of_two_sessions_goes_to_the_older_one() {
    // As often as it takes: the order of a hash table differs each time.
    for _ in 0..16 {
        let mut story = Story::limited(Limits { processes: 9, sessions: 9, connections: 9 });
        for port in [20, 30] {
            let mut task = task(port, LISTENER, 0);
            task.audit_session = Some(7);
            let connection = Some(Served { socket: None, ..served(port as u16) });
            story.found_as(task, Role::Server, connection);
        }
        let mut orphan = task(40, 1, 0);
        orphan.audit_session = Some(7);
        story.found_as(orphan, Role::Other, None).event(EventKind::SnapshotComplete);
        story.exit(40, 1, 0);
        let told = story.of(Action::ProcessEnded).into_iter().map(Story::session).collect::<Vec<_>>();
        let started = story.of(Action::SshSessionStarted).into_iter().map(Story::session).collect::<Vec<_>>();
        assert_eq!(told, [started[0].clone()]);
    }
}

#[test]
fn no_time_is_too_large() {
    let mut story = Story::begin();
    let mut task = task(20, LISTENER, 0);
    task.id.start = u64::MAX;
    story.time = u64::MAX - 9_000_000;
    for offset in [i64::MIN, i64::MAX, 1] {
        story.event(EventKind::Clock { offset });
        story.event(EventKind::Fork(Fork { task: task.clone(), creator: id(LISTENER), served: Some(served(20)) }));
        story.event(EventKind::Exit(Exit { task: task.clone(), status: Status::Code(0) }));
    }
}
