//! Servers whose program was not examined in time.

use super::*;
use crate::event::ssh::{Direction, Message, Packet};

/// Another program that listens.
const UNKNOWN: u32 = 50;

impl Story {
    fn identifies(&mut self, connection: u64, direction: Direction) -> &mut Self {
        let message = Message::Identification(b"SSH-2.0-Test".to_vec().into());
        let packet =
            Packet { connection, process: None, endpoints: None, direction, before_mac: false, cut: false, message };
        self.event(EventKind::Ssh(Box::new(packet)))
    }

    /// A login as `login` has it; of the server's program `role` is known.
    fn login_at(&mut self, root: u32, role: Option<Role>) -> &mut Self {
        let served = served(root as u16);
        self.fork(root, UNKNOWN, Some(served))
            .exec_as(task(root, UNKNOWN, 0), "/usr/sbin/sshd", role, Some(served))
            .identifies(root.into(), Direction::Out)
            .fork(root + 1, root, None)
            .exit(root + 1, root, 0)
            .fork(root + 2, root, None)
            .exec_as(task(root + 2, root, 1000), "/bin/sh", None, None)
            .exit(root + 2, root, 0)
            .exit(root, UNKNOWN, 0)
            .tcp(root.into(), TcpState::Close, None)
    }
}

#[test]
fn a_server_that_was_not_examined_is_known_by_its_identification() {
    let mut story = Story::begin();
    story.found(UNKNOWN, 1, Role::Other, None);
    story.login_at(20, None);
    let [end] = story.of(Action::SshSessionEnded)[..] else { panic!("one end: {:?}", story.actions()) };
    assert_eq!(counts(end).commands, Some(1));
    assert_eq!(story.of(Action::SshSessionStarted).len(), 1);
    assert_eq!(story.of(Action::ProcessStarted).len(), 1, "the command");
}

#[test]
fn what_is_known_to_be_no_server_and_what_a_client_says_makes_no_session() {
    let mut story = Story::begin();
    story.found(UNKNOWN, 1, Role::Other, None);
    story.login_at(20, Some(Role::Other));
    // A proxy: what it accepted says nothing, what it connected to does.
    story.fork(30, UNKNOWN, Some(served(30))).identifies(30, Direction::In).identifies(31, Direction::Out);
    story.fork(32, 30, None).exit(32, 30, 0).fork(33, 30, None);
    story.exec_as(task(33, 30, 1000), "/bin/sh", None, None).tcp(30, TcpState::Close, None);
    assert!(story.of(Action::SshSessionStarted).is_empty(), "{:?}", story.actions());
}

#[test]
fn nobody_leaves_a_session_by_playing_a_server() {
    let mut story = Story::begin();
    story.login(20, 0).fork(22, 20, None).exec(22, 20, "/bin/sh", Role::Other, None);
    story.fork(23, 22, Some(served(60))).identifies(60, Direction::Out);
    story.exec(23, 22, "/bin/true", Role::Other, None);
    let sessions = story.of(Action::ProcessStarted).into_iter().map(Story::session).collect::<Vec<_>>();
    assert_eq!(sessions.len(), 3, "sshd, sh and true");
    assert!(sessions.iter().all(|session| *session == sessions[0]), "{sessions:?}");
    assert_eq!(story.of(Action::SshSessionStarted).len(), 1);
}
