//! Connections of processes.

use super::*;
use crate::{event::stream::Connect, finding::Failure};

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
