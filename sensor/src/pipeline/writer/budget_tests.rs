//! What a budget admits, holds back and says.

use super::{Rates, budget::Budget};
use crate::{
    finding::{
        Account, Action, Direction, Finding, FindingKind, Flow, Network, Outcome, Process, Protocol, Session, Ssh,
        Subject, Time, User,
    },
    schema::sample,
};

const SECOND: i64 = 1_000_000_000;

fn finding(action: Action, session: &str, uid: u32, time: i64) -> Finding {
    let session = Session { id: session.into(), ..Session::default() };
    let ssh = (!session.id.is_empty()).then(|| Ssh { session: Some(session), ..Ssh::default() });
    let real = Account { id: Some(uid), name: None };
    let subject = Subject { ssh, user: Some(User { real, ..User::default() }), ..Subject::default() };
    Finding { subject, ..Finding::new(Time(time), Outcome::Success, sample::finding(action, "x").kind) }
}

fn exec(session: &str, time: i64) -> Finding {
    finding(Action::ProcessStarted, session, 1001, time)
}

fn budget(records: u64, bytes: u64, file: u64) -> Budget {
    Budget::new(Rates { records, bytes, file })
}

fn due(budget: &mut Budget, now: i64) -> Vec<Finding> {
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
    for action in Action::ALL.iter().copied() {
        let flood = matches!(
            action,
            Action::ProcessStarted
                | Action::ProcessEnded
                | Action::ConnectionOpened
                | Action::ConnectionClosed
                | Action::ConnectionFailed
        );
        assert_eq!(budget.admits(&finding(action, "a", 1001, SECOND), Some(1 << 40)), !flood, "{action:?}");
    }
    let mut failed_login = finding(Action::ConnectionClosed, "a", 1001, SECOND);
    let network = Network { direction: Direction::Ingress, protocol: Some(Protocol::Ssh), community_id: None };
    failed_login.subject.flow = Some(Flow { network: Some(network), ..Flow::default() });
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
        let mut finding = exec("a", time);
        let process = Process { executable: Some(executable.into()), ..Process::default() };
        finding.subject.process = Some(Box::new(process));
        budget.admits(&finding, None)
    };
    let admitted = (0..30).filter(|_| flood(SECOND, "/bin/true")).count();
    assert_eq!(admitted, 10);
    flood(2 * SECOND - 1, "/usr/bin/curl");
    budget.admits(&finding(Action::ProcessEnded, "a", 1001, 2 * SECOND - 1), None);
    let notices = due(&mut budget, 2 * SECOND);
    assert_eq!(notices.len(), 1);
    let FindingKind::SensorDegraded(degraded) = &notices[0].kind else { panic!("{notices:?}") };
    assert!(degraded.why.contains("limits.session_records_per_second = 1"), "{degraded:?}");
    let summaries = due(&mut budget, 12 * SECOND);
    assert_eq!(summaries.len(), 1);
    let summary = &summaries[0];
    let FindingKind::SensorSuppressed(held) = &summary.kind else { panic!("{summary:?}") };
    assert_eq!(held.count, 22);
    assert_eq!(held.actions, [(Action::ProcessStarted, 21), (Action::ProcessEnded, 1)]);
    assert_eq!(held.executables, ["/bin/true".into(), "/usr/bin/curl".into()]);
    assert_eq!(summary.span, Some((Time(SECOND), Time(2 * SECOND - 1))));
    let subject = &summary.subject;
    assert_eq!(subject.ssh.as_ref().unwrap().session.as_ref().unwrap().id.as_str(), "a");
    assert_eq!(subject.user.as_ref().unwrap().real.id, Some(1001));
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
    assert!(budget.admits(&finding(Action::SshCommandStarted, "a", 1001, SECOND), Some(1000)));
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
