//! Connections of processes.

use super::*;
use crate::{
    event::{
        ssh::{Direction, Message, Packet},
        stream::Connect,
    },
    finding::Failure,
};

fn failure(record: &Finding) -> &Failure {
    let FindingKind::ConnectionFailed(failure) = &record.kind else { panic!("{record:?}") };
    failure
}

#[test]
fn connections_are_told_with_what_became_of_them() {
    let mut story = Story::begin();
    story.login(20, 0).fork(22, 20, None).exec(22, 20, "/usr/bin/curl", Role::Other, None);
    let remote = "192.0.2.1:443".parse().unwrap();
    for socket in [101, 102, 103] {
        story.event(EventKind::Connect(Connect { task: task(22, 20, 1000), socket, remote }));
    }
    story
        .tcp(101, TcpState::SynSent, None)
        .tcp(101, TcpState::Established, None)
        .tcp(101, TcpState::Close, None)
        .tcp(102, TcpState::SynSent, None)
        .tcp(102, TcpState::Close, Some(111));
    // 103 never sent a packet.
    story.time += 2_000_000_000;
    story.event(EventKind::Tick);
    let [opened] = story.of(Action::ConnectionOpened)[..] else { panic!() };
    let [closed] = story.of(Action::ConnectionClosed)[..] else { panic!() };
    let [refused, at_once] = story.of(Action::ConnectionFailed)[..] else { panic!() };
    assert_eq!(opened.subject.flow.as_ref().unwrap().destination.port, Some(443));
    assert_eq!(closed.subject.flow.as_ref().unwrap().destination.bytes, Some(7));
    assert_eq!(failure(refused).code.as_deref(), Some("ECONNREFUSED"));
    assert!(failure(at_once).message.as_ref().unwrap().contains("no packet was sent"));
}

/// The server's last process is gone before its socket closes, as of every remote peer.
#[test]
fn what_is_left_to_say_of_a_connection_bears_its_session() {
    let (mut story, served) = (Story::begin(), served(20));
    story.fork(20, LISTENER, Some(served)).exec(20, LISTENER, "/usr/sbin/sshd", Role::Server, Some(served));
    for direction in [Direction::Out, Direction::In] {
        story.event(EventKind::Ssh(Box::new(Packet {
            connection: 20,
            process: None,
            endpoints: Some((served.local, served.remote)),
            direction,
            before_mac: false,
            cut: false,
            message: Message::Identification(b"Test".to_vec().into()),
        })));
    }
    story.exit(20, LISTENER, 255).tcp(20, TcpState::Close, None);
    let [shown] = story.of(Action::SshConnection)[..] else { panic!("{:?}", story.actions()) };
    let [closed] = story.of(Action::ConnectionClosed)[..] else { panic!("{:?}", story.actions()) };
    assert_eq!(Story::session(shown), Story::session(closed));
    let direction =
        |finding: &Finding| finding.subject.flow.as_ref()?.network.as_ref().map(|network| network.direction);
    assert_eq!(direction(shown), direction(closed));
    assert!(shown.subject.process.is_some() && story.correlate.sizes() == (1, 0, 0));
}

/// More of them at a time than are remembered.
#[test]
fn each_of_many_sessions_that_end_together_has_its_end() {
    let mut story = Story::limited(Limits { processes: 1000, sessions: 500, connections: 10 });
    for root in 0..200 {
        story.login(1000 + 2 * root, 0).exit(1000 + 2 * root, LISTENER, 255);
    }
    story.time += 5_000_000_000;
    story.event(EventKind::Tick);
    assert_eq!(story.of(Action::SshSessionEnded).len(), 200);
    assert_eq!(story.correlate.sizes().1, 0);
}
