//! The protocol's messages into findings, where real programs would be slow to bring about the case.

use serde_bytes::ByteBuf;

use super::{connection, host_key, messages::KEYED_WAIT_NS};
use crate::{
    correlate::{Correlate, Scope, outlet::HOLD_NS},
    event::{
        host_key::{Extent, KnownHosts},
        ssh::{AuthRequest, ChannelOpen, Direction, KexInit, Key, MalformedWhat, Message, Packet, Request},
        stream::{Event, EventKind, Limits, ProcessId, TcpChange, TcpState},
    },
    finding::{Action, Capture, Finding, FindingKind, Outcome, Role, ssh::HostKey},
    schema::ecs::Words,
};

const LIMITS: Limits = Limits { processes: 100, sessions: 4, connections: 100 };

struct Bench {
    correlate: Correlate,
    time: u64,
    records: Vec<Finding>,
}

fn text(text: &str) -> ByteBuf {
    ByteBuf::from(text.as_bytes())
}

impl Bench {
    fn new() -> Self {
        Self { correlate: Correlate::new(LIMITS, Scope::default()), time: 1_000_000_000, records: Vec::new() }
    }

    fn observe(&mut self, what: EventKind) {
        self.time += 1_000_000;
        self.correlate.observe(&Event { time: self.time, what }, &mut self.records);
    }

    fn packet(&mut self, connection: u64, direction: Direction, clear: bool, message: Message) {
        let process = (!clear).then_some(ProcessId { tgid: 7, start: 1 });
        let endpoints = clear.then(|| ("10.0.0.1:22".parse().unwrap(), "10.0.0.2:5000".parse().unwrap()));
        let packet = Packet { connection, process, endpoints, direction, before_mac: false, cut: false, message };
        self.observe(EventKind::Ssh(Box::new(packet)));
    }

    /// A server's connection with keys, by this cipher.
    fn keyed(&mut self, connection: u64, cipher: &str) {
        for (direction, cookie) in [(Direction::Out, 1u8), (Direction::In, 2)] {
            self.packet(connection, direction, true, Message::Identification(text("Test")));
            let kexinit = KexInit {
                cookie: [cookie; 16],
                kex: text("k"),
                cipher_client: text(cipher),
                cipher_server: text(cipher),
                mac_client: text("hmac-sha2-256"),
                mac_server: text("hmac-sha2-256"),
                ..KexInit::default()
            };
            self.packet(connection, direction, true, Message::KexInit(Box::new(kexinit)));
        }
        self.packet(connection, Direction::In, true, Message::KexStart);
        for direction in [Direction::In, Direction::Out] {
            self.packet(connection, direction, true, Message::NewKeys);
        }
    }

    fn request(&mut self, connection: u64, method: &str, key: Option<bool>) {
        let key_of = |_| Key { kind: text("ssh-ed25519"), fingerprint: Some("SHA256:x".into()), certificate: None };
        let request =
            AuthRequest { user: text("alice"), method: text(method), key: key.map(key_of), signed: key == Some(true) };
        self.packet(connection, Direction::In, false, Message::AuthRequest(Box::new(request)));
    }

    fn answer(&mut self, connection: u64, message: Message) {
        self.packet(connection, Direction::Out, false, message);
    }

    fn end(&mut self, connection: u64) {
        self.observe(EventKind::Tcp(TcpChange {
            socket: connection,
            local: "10.0.0.1:22".parse().unwrap(),
            remote: "10.0.0.2:5000".parse().unwrap(),
            old: TcpState::Established,
            new: TcpState::Close,
            error: None,
            bytes_in: 0,
            bytes_out: 0,
        }));
    }

    fn told(&self) -> Vec<(&'static str, Outcome)> {
        self.records.iter().map(|record| (record.action().word(), record.outcome)).collect()
    }
}

const CHACHA: &str = "chacha20-poly1305@openssh.com";
const GCM: &str = "aes256-gcm@openssh.com";

#[test]
fn an_interactive_login_is_one_attempt_whatever_it_asks() {
    let mut bench = Bench::new();
    bench.keyed(1, CHACHA);
    bench.request(1, "keyboard-interactive", None);
    for _ in 0..3 {
        bench.answer(1, Message::AuthAsk);
        bench.packet(1, Direction::In, false, Message::AuthAnswer);
    }
    bench.answer(1, Message::AuthSuccess);
    assert_eq!(bench.told(), [("ssh-connection", Outcome::Success), ("ssh-authentication", Outcome::Success)]);
    let ssh = bench.records[1].subject.ssh.as_ref().unwrap();
    assert_eq!((ssh.role, ssh.capture), (Some(Role::Server), Some(Capture::Full)));
    assert!(ssh.connection.is_some());
}

#[test]
fn the_attempt_that_is_one_too_many_is_a_failure_though_it_is_not_answered() {
    let mut bench = Bench::new();
    bench.keyed(1, CHACHA);
    bench.request(1, "publickey", Some(false));
    bench.answer(1, Message::AuthFailure { methods: text("publickey"), partial: false });
    bench.request(1, "publickey", Some(true));
    bench.answer(1, Message::Disconnect { reason: 2, description: text("Too many authentication failures") });
    bench.end(1);
    let told = bench.told();
    assert_eq!(
        told,
        [
            ("ssh-connection", Outcome::Success),
            ("ssh-key-offered", Outcome::Failure),
            ("ssh-authentication", Outcome::Failure),
            ("ssh-protocol-error", Outcome::Failure),
        ]
    );
}

#[test]
fn what_was_never_confirmed_says_so() {
    let open = || {
        Message::ChannelOpen(Box::new(ChannelOpen {
            kind: text("session"),
            sender: 0,
            destination: None,
            originator: None,
            path: None,
        }))
    };
    let exec = || Message::ChannelRequest {
        recipient: 0,
        wants_reply: false,
        request: Request::Exec { line: text("rm -rf /"), redacted: false },
    };
    for (cipher, goes_on, unconfirmed) in [(GCM, false, true), (GCM, true, false), (CHACHA, false, false)] {
        let mut bench = Bench::new();
        bench.keyed(1, cipher);
        bench.request(1, "none", None);
        bench.answer(1, Message::AuthSuccess);
        bench.packet(1, Direction::In, false, open());
        bench.answer(1, Message::ChannelConfirmed { recipient: 0, sender: 0 });
        bench.packet(1, Direction::In, false, exec());
        let before = bench.told().iter().filter(|(name, _)| *name == "ssh-command-started").count();
        assert_eq!(before, usize::from(cipher == CHACHA), "held until it is confirmed");
        if goes_on {
            bench.answer(1, Message::Rekey);
        }
        bench.end(1);
        let started: Vec<_> = bench.records.iter().filter(|r| r.action() == Action::SshCommandStarted).collect();
        assert_eq!(started.len(), 1, "{cipher}");
        assert_eq!(started[0].quality.unconfirmed, unconfirmed, "{cipher} {goes_on}");
    }
}

#[test]
fn what_is_held_is_told_soon_if_the_connection_stays_open() {
    let mut bench = Bench::new();
    bench.keyed(1, GCM);
    bench.request(1, "none", None);
    bench.answer(1, Message::AuthFailure { methods: text("publickey"), partial: false });
    bench.packet(1, Direction::In, false, Message::Malformed { number: 98, what: MalformedWhat::Length });
    let before = bench.records.len();
    bench.time += HOLD_NS;
    bench.observe(EventKind::Tick);
    assert_eq!(bench.told()[before..], [("ssh-protocol-error", Outcome::Failure)]);
    assert!(!bench.records[before].quality.unconfirmed);
}

#[test]
fn what_a_server_still_sends_to_a_peer_that_is_gone_is_no_new_connection() {
    let mut bench = Bench::new();
    bench.keyed(1, CHACHA);
    bench.request(1, "none", None);
    bench.answer(1, Message::AuthSuccess);
    bench.end(1);
    let before = bench.records.len();
    bench.answer(1, Message::Disconnect { reason: 11, description: text("too late") });
    bench.end(1);
    assert_eq!(bench.records.len(), before);
}

/// A client's connection as far as the server's key.
fn shown_a_key(bench: &mut Bench, connection: u64) {
    bench.packet(connection, Direction::Out, true, Message::Identification(text("Test")));
    let key = Key { kind: text("ssh-ed25519"), fingerprint: Some("SHA256:h".into()), certificate: None };
    bench.packet(connection, Direction::In, true, Message::HostKey(key));
}

fn shown(record: &Finding) -> Option<&HostKey> {
    match &record.kind {
        FindingKind::SshHostKey(shown) => Some(shown),
        _ => None,
    }
}

fn host_keys(bench: &Bench) -> Vec<(Option<&'static str>, Outcome)> {
    let word = |shown: &HostKey| shown.status.map(Words::word);
    bench.records.iter().filter_map(|record| Some((word(shown(record)?), record.outcome))).collect()
}

/// Of the last.
fn host_key_reason(bench: &Bench) -> Option<&'static str> {
    bench.records.iter().filter_map(shown).next_back()?.status_reason.map(Words::word)
}

#[test]
fn a_host_key_is_told_when_the_files_are_read_and_the_client_has_decided() {
    let fact = |connection| {
        EventKind::KnownHosts(Box::new(KnownHosts { connection, extent: Extent::Whole, ..KnownHosts::default() }))
    };
    let mut bench = Bench::new();
    // The files are read when the client is gone already.
    shown_a_key(&mut bench, 1);
    bench.end(1);
    assert_eq!(host_keys(&bench), []);
    bench.observe(fact(1));
    assert_eq!(host_keys(&bench), [(Some("unknown"), Outcome::Failure)]);
    // And before it goes on.
    shown_a_key(&mut bench, 2);
    bench.observe(fact(2));
    bench.packet(2, Direction::Out, true, Message::NewKeys);
    let request = AuthRequest { user: text("alice"), method: text("none"), key: None, signed: false };
    bench.packet(2, Direction::Out, false, Message::AuthRequest(Box::new(request)));
    assert_eq!(host_keys(&bench)[1..], [(Some("unknown"), Outcome::Success)]);
    // They are never read.
    shown_a_key(&mut bench, 3);
    bench.packet(3, Direction::Out, true, Message::NewKeys);
    bench.end(3);
    bench.time += host_key::WAIT_NS;
    bench.observe(EventKind::Tick);
    assert_eq!(host_keys(&bench)[2..], [(None, Outcome::Failure)]);
    assert_eq!(host_key_reason(&bench), Some("no-answer"));
    bench.observe(fact(3));
    assert_eq!(host_keys(&bench).len(), 3);
    // A program that cannot be read sends something under its keys.
    shown_a_key(&mut bench, 4);
    bench.observe(fact(4));
    bench.packet(4, Direction::Out, true, Message::NewKeys);
    bench.packet(4, Direction::Out, true, Message::Encrypted);
    bench.end(4);
    assert_eq!(host_keys(&bench)[3..], [(Some("unknown"), Outcome::Success)]);
}

#[test]
fn a_scanner_is_a_failed_connection() {
    let mut bench = Bench::new();
    bench.packet(1, Direction::Out, true, Message::Identification(text("Test")));
    bench.end(1);
    assert_eq!(bench.told(), [("ssh-connection", Outcome::Failure)]);
    let FindingKind::SshConnection(handshake) = &bench.records[0].kind else { panic!("{:?}", bench.records) };
    assert!(handshake.failure.is_some());
}

#[test]
fn a_program_that_cannot_be_decrypted_has_its_connection_all_the_same() {
    let mut bench = Bench::new();
    bench.keyed(1, CHACHA);
    assert!(bench.records.is_empty(), "the first decrypted packet may still come");
    bench.time += KEYED_WAIT_NS;
    bench.observe(EventKind::Tick);
    assert_eq!(bench.told(), [("ssh-connection", Outcome::Success)]);
    assert_eq!(bench.records[0].subject.ssh.as_ref().unwrap().capture, Some(Capture::Handshake));
}

#[test]
fn held_forwardings_leave_room_for_a_command_and_the_limit_is_said_once() {
    let mut bench = Bench::new();
    bench.keyed(1, CHACHA);
    bench.request(1, "none", None);
    bench.answer(1, Message::AuthSuccess);
    let mut open = |kind: &str, sender| {
        let open = ChannelOpen { kind: text(kind), sender, destination: None, originator: None, path: None };
        bench.packet(1, Direction::In, false, Message::ChannelOpen(Box::new(open)));
        bench.packet(1, Direction::Out, false, Message::ChannelConfirmed { recipient: sender, sender });
    };
    (0..3_000).for_each(|sender| open("direct-tcpip", sender));
    open("session", 5_000);
    let request = Request::Exec { line: text("id"), redacted: false };
    bench.packet(1, Direction::In, false, Message::ChannelRequest { recipient: 5_000, wants_reply: true, request });
    bench.packet(1, Direction::Out, false, Message::ChannelSuccess { recipient: 5_000 });
    let told = bench.told();
    let count = |name: &str| told.iter().filter(|(told, _)| *told == name).count();
    assert_eq!((count("ssh-command-started"), count("sensor-degraded")), (1, 1), "{told:?}");
    let degraded = bench.records.iter().find_map(|record| match &record.kind {
        FindingKind::SensorDegraded(degraded) => Some(degraded),
        _ => None,
    });
    let degraded = degraded.unwrap();
    assert!(degraded.why.contains("over 1024 channels that are no sessions"), "{degraded:?}");
}

#[test]
fn channels_and_connections_have_their_limits_and_refusals_are_told() {
    let mut bench = Bench::new();
    bench.keyed(1, CHACHA);
    bench.request(1, "none", None);
    bench.answer(1, Message::AuthSuccess);
    for sender in 0..10_000 {
        let open = ChannelOpen { kind: text("session"), sender, destination: None, originator: None, path: None };
        bench.packet(1, Direction::In, false, Message::ChannelOpen(Box::new(open)));
    }
    for connection in 2..20 {
        bench.packet(connection, Direction::Out, true, Message::Identification(text("x")));
    }
    assert_eq!(bench.correlate.ssh_connections(), LIMITS.sessions);
    bench.observe(EventKind::Tick);
    let told = bench.told();
    let errors = told.iter().filter(|(name, _)| *name == "ssh-protocol-error").count();
    assert_eq!(errors, usize::from(connection::ERRORS_MAX), "told a few times, not ten thousand");
    let lost: Vec<(String, u64)> = bench
        .records
        .iter()
        .filter_map(|record| match &record.kind {
            FindingKind::SensorEventsLost(lost) => Some((lost.kind.clone(), lost.count)),
            _ => None,
        })
        .collect();
    assert!(lost.contains(&("ssh-channel-refused".into(), 10_000 - connection::SESSIONS_MAX as u64)), "{lost:?}");
    assert!(lost.contains(&("ssh-connection-refused".into(), 15)), "{lost:?}");
}
