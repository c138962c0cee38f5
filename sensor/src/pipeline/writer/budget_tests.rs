//! What a budget admits, holds back and says.

use super::{Rates, budget::Budget};
use crate::event::record::{Action, Network, Outcome, Process, Record, Ssh, SshSession, User};

const SECOND: i64 = 1_000_000_000;

fn record(action: Action, session: &str, uid: u32, time: i64) -> Record {
    let mut record = Record::new(time, action, Outcome::Success);
    record.ssh = (!session.is_empty())
        .then(|| Ssh { session: SshSession { id: session.into(), ..SshSession::default() }, ..Ssh::default() });
    record.user = Some(User { id: Some(uid.to_string()), ..User::default() });
    record
}

fn exec(session: &str, time: i64) -> Record {
    record(Action::ProcessStarted, session, 1001, time)
}

fn budget(records: u64, bytes: u64, file: u64) -> Budget {
    Budget::new(Rates { records, bytes, file })
}

fn due(budget: &mut Budget, now: i64) -> Vec<Record> {
    let mut out = Vec::new();
    budget.due(now, &mut out);
    out
}

#[test]
fn a_session_has_ten_seconds_at_once_and_its_rate_from_then_on() {
    let mut budget = budget(100, 0, 0);
    let admitted =
        |budget: &mut Budget, session, time| (0..5000).filter(|_| budget.admits(&exec(session, time), None)).count();
    assert_eq!(admitted(&mut budget, "a", SECOND), 1000);
    assert_eq!(admitted(&mut budget, "a", 2 * SECOND), 100);
    // Another session, and the same user outside of sessions, have their own.
    assert_eq!(admitted(&mut budget, "b", 2 * SECOND), 1000);
    assert_eq!(admitted(&mut budget, "", 2 * SECOND), 1000);
    // A clock that is set back, or far ahead, gives nothing that was not earned, and no more than ten seconds.
    assert_eq!(admitted(&mut budget, "a", SECOND), 0);
    assert_eq!(admitted(&mut budget, "a", 1_000_000 * SECOND), 1000);
    assert_eq!(budget.suppressed(), 4000 + 4900 + 4000 + 4000 + 5000 + 4000);
}

#[test]
fn what_says_who_came_and_what_the_sensor_is_is_never_suppressed() {
    let mut budget = budget(1, 1, 1);
    while budget.admits(&exec("a", SECOND), None) {
        budget.charge(&exec("a", SECOND), 1000);
    }
    for action in Action::ALL {
        let flood = matches!(
            action,
            Action::ProcessStarted
                | Action::ProcessEnded
                | Action::ConnectionOpened
                | Action::ConnectionClosed
                | Action::ConnectionFailed
        );
        assert_eq!(budget.admits(&record(action, "a", 1001, SECOND), Some(1 << 40)), !flood, "{action:?}");
    }
    let mut failed_login = record(Action::ConnectionClosed, "a", 1001, SECOND);
    failed_login.network = Some(Network {
        transport: "tcp",
        protocol: Some("ssh"),
        kind: "ipv4",
        direction: "ingress",
        community_id: None,
    });
    assert!(budget.admits(&failed_login, None));
}

#[test]
fn bytes_are_limited_as_records_are() {
    let mut budget = budget(0, 1000, 0);
    let mut written = 0;
    while budget.admits(&exec("a", SECOND), None) {
        budget.charge(&exec("a", SECOND), 900);
        written += 900;
    }
    assert_eq!(written, 4500);
    assert!(!budget.admits(&exec("a", SECOND + SECOND / 10), None), "the last one overdrew by 500");
    assert!(budget.admits(&exec("a", 2 * SECOND), None));
}

#[test]
fn a_summary_names_what_was_held_back_and_a_notice_comes_once() {
    let mut budget = budget(1, 0, 0);
    let mut flood = |time, executable: &str| {
        let mut record = exec("a", time);
        record.process = Some(Box::new(Process { executable: Some(executable.into()), ..Process::default() }));
        budget.admits(&record, None)
    };
    let admitted = (0..30).filter(|_| flood(SECOND, "/bin/true")).count();
    assert_eq!(admitted, 10);
    flood(2 * SECOND - 1, "/usr/bin/curl");
    budget.admits(&record(Action::ProcessEnded, "a", 1001, 2 * SECOND - 1), None);
    let notices = due(&mut budget, 2 * SECOND);
    assert_eq!(notices.len(), 1);
    let degraded = notices[0].sensor.degraded.as_ref().unwrap();
    assert!(degraded.why.contains("limits.session_records_per_second = 1"), "{degraded:?}");
    let summaries = due(&mut budget, 12 * SECOND);
    assert_eq!(summaries.len(), 1);
    let (summary, held) = (&summaries[0], summaries[0].sensor.suppressed.as_ref().unwrap());
    assert_eq!((summary.action, held.count), (Action::SensorSuppressed, 22));
    let actions: Vec<_> = held.actions.iter().map(|count| (count.action, count.count)).collect();
    assert_eq!(actions, [("process-started", 21), ("process-ended", 1)]);
    assert_eq!(held.executables.as_deref().unwrap(), ["/bin/true".into(), "/usr/bin/curl".into()]);
    assert_eq!(summary.span, Some((SECOND, 2 * SECOND - 1)));
    assert_eq!(summary.ssh.as_ref().unwrap().session.id.as_ref(), "a");
    assert_eq!(summary.user.as_ref().unwrap().id.as_deref(), Some("1001"));
    // The notice is not repeated; at the end what is held comes out whenever it began.
    for _ in 0..50 {
        budget.admits(&exec("a", 13 * SECOND), None);
    }
    assert_eq!(due(&mut budget, 14 * SECOND).len(), 0);
    assert_eq!(due(&mut budget, i64::MAX).len(), 1);
}

#[test]
fn a_full_file_takes_no_floods_until_it_is_another_one() {
    let mut budget = budget(0, 0, 1000);
    assert!(budget.admits(&exec("a", SECOND), Some(999)) && budget.admits(&exec("a", SECOND), None));
    assert!(!budget.admits(&exec("a", SECOND), Some(1000)));
    assert!(budget.admits(&record(Action::SshCommandStarted, "a", 1001, SECOND), Some(1000)));
    assert_eq!(due(&mut budget, SECOND).len(), 1);
    budget.reopened();
    assert!(budget.admits(&exec("a", SECOND), Some(0)));
    assert!(!budget.admits(&exec("a", SECOND), Some(1000)));
    assert_eq!(due(&mut budget, SECOND).len(), 1, "said again of another file");
}

#[test]
fn memory_is_bounded_whatever_the_number_of_sessions() {
    let mut budget = budget(1, 0, 0);
    for n in 0..40_000 {
        budget.admits(&exec(&format!("{n}"), SECOND), None);
    }
    assert!(budget.buckets() <= 16_385, "{}", budget.buckets());
    due(&mut budget, 1000 * SECOND);
    assert_eq!(budget.buckets(), 0, "a full bucket is as good as none");
}
