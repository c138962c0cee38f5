//! What does not answer: a file system without a server, sleep, loops. Deadlines, and that others do not wait.

use std::{os::fd::AsRawFd as _, process::Stdio};

use super::*;

const SHORT: Duration = Duration::from_millis(300);

/// A FUSE mount whose server never answers, as any user can have one: whatever asks it waits.
struct Silent {
    folder: TempDir,
    _server: fs::File,
}

impl Silent {
    /// `None`: this machine has no FUSE.
    fn new() -> Option<Self> {
        let server = fs::File::options().read(true).write(true).open("/dev/fuse").ok()?;
        rustix::io::fcntl_setfd(&server, rustix::io::FdFlags::empty()).unwrap();
        let folder = folder();
        let options = format!("fd={},rootmode=40755,user_id=1234,group_id=1234,allow_other", server.as_raw_fd());
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", &options, "silent"]).arg(folder.path());
        let mounted = mount.stderr(Stdio::null()).status().unwrap().success();
        rustix::io::fcntl_setfd(&server, rustix::io::FdFlags::CLOEXEC).unwrap();
        mounted.then_some(Self { folder, _server: server })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[test]
fn a_file_system_that_does_not_answer_costs_its_user_the_answer_and_others_nothing() {
    let Some(silent) = Silent::new() else { return eprintln!("no FUSE here") };
    let (mut lab, folder) = (Lab::new(), folder());
    let (slow, other) = (User::new(1234, 1234, ""), User::new(1235, 1235, ""));
    let path = file(&folder, "own", (1235, 1235), 0o600);
    let ticket = lab.send(&slow.subject(), Trial::Read(silent.folder.path().join("x").to_str().unwrap().into()), SHORT);
    let began = Instant::now();
    assert_eq!(lab.read(&other.subject(), &path), Ok(b"own".into()));
    assert!(began.elapsed() < SHORT, "meanwhile");
    assert_eq!(lab.wait(ticket).answer, Err(Unknown::Deadline));
    assert!(began.elapsed() < SHORT * 3);
    assert_eq!(lab.read(&slow.subject(), "/etc/hostname".as_ref()).map(drop), Ok(()), "a new worker");
    let counters = lab.inspector.counters();
    assert_eq!((counters.deadline, counters.children.killed), (1, 1), "{counters:?}");
}

#[test]
fn a_user_whose_questions_miss_their_deadlines_is_put_aside_and_it_is_reported_once() {
    let mut lab = Lab::new();
    let (slow, other) = (User::new(1234, 1234, ""), User::new(1235, 1235, ""));
    let sleep = || Trial::Sleep { milliseconds: 60_000 };
    let tickets: Vec<Ticket> = (0..6).map(|_| lab.send(&slow.subject(), sleep(), SHORT * 2)).collect();
    let answers: Vec<_> = tickets.into_iter().map(|ticket| lab.wait(ticket).answer.unwrap_err()).collect();
    assert!(answers.contains(&Unknown::Deadline), "{answers:?}");
    let ticket = lab.send(&slow.subject(), sleep(), SHORT);
    assert_eq!(lab.wait(ticket).answer, Err(Unknown::Deadline), "two at a time were asked, two missed");
    let began = Instant::now();
    let ticket = lab.send(&slow.subject(), sleep(), SHORT);
    assert_eq!(lab.wait(ticket).answer, Err(Unknown::Refused(Why::Penalty)));
    assert!(began.elapsed() < SHORT, "at once");
    assert!(lab.text(&other.subject(), Trial::Status).contains("61179"));
    let degraded = lab.inspector.take_degraded();
    assert_eq!(degraded.len(), 1, "{degraded:?}");
    assert!(degraded[0].what.contains("1234"));
    assert_eq!(lab.inspector.counters().children.penalties, 1);
}

#[test]
fn workers_that_loop_take_too_much_memory_panic_or_talk_nonsense_are_one_answer_each() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    let subject = user.subject();
    assert_eq!(lab.try_bytes(&subject, Trial::Bomb), Err(Unknown::Crashed));
    assert_eq!(lab.try_bytes(&subject, Trial::Panic), Err(Unknown::Crashed));
    assert_eq!(lab.try_bytes(&subject, Trial::Garbage), Err(Unknown::Crashed));
    let ticket = lab.send(&subject, Trial::Spin, SHORT);
    assert_eq!(lab.wait(ticket).answer, Err(Unknown::Deadline));
    assert_eq!(lab.try_bytes(&subject, Trial::Size(message::MESSAGE_MAX)), Err(Unknown::Budget), "too large to send");
    assert_eq!(lab.try_bytes(&subject, Trial::Size(100_000)).map(|bytes| bytes.len()), Ok(100_000));
    let children = lab.inspector.counters().children;
    assert_eq!((children.died, children.distrusted, children.killed), (2, 1, 1), "{children:?}");
}
