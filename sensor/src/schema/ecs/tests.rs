//! Lines of real recordings and findings made by hand, there and back.

use serde_json::{Value, json};

use super::*;
use crate::{
    event::hidden::tests::{KINDS, TEXT},
    finding::{Action, Finding, FindingKind, Outcome, Process, Subject, Time},
    schema::{self, Origin, Stamp, sample},
};

/// Lines of the golden recordings; fields there are in the alphabet's order (`tests/tests/golden.rs` looks at the
/// real one), and without `event.id`.
const GOLDEN: [&str; 2] =
    [include_str!("../../../../tests/golden/session.json"), include_str!("../../../../tests/golden/ssh.json")];

fn golden() -> impl Iterator<Item = Value> {
    GOLDEN.iter().flat_map(|golden| golden.lines()).map(|text| {
        let mut line: Value = serde_json::from_str(text).unwrap();
        line["event"]["id"] = "01a200af-9b49-7e4f-a5df-8eb7f0ed1803".into();
        line
    })
}

fn written(finding: &Finding) -> String {
    serde_json::to_string(&Line::new(&Origin::default(), &Stamp::default(), finding)).unwrap()
}

#[track_caller]
fn comes_back(finding: &Finding) {
    let line = written(finding);
    let (origin, stamp, again) = Line::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((origin, stamp), (Origin::default(), Stamp::default()));
    assert_eq!(again, *finding, "{line}");
    assert_eq!(written(&again), line);
}

#[test]
fn every_golden_line_is_the_same_when_it_was_read_and_written() {
    let mut lines = 0;
    for line in golden() {
        let text = line.to_string();
        let (origin, stamp, finding) = Line::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
        let written = serde_json::to_string(&Line::new(&origin, &stamp, &finding)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), line);
        assert_eq!(Line::parse(written.as_bytes()).unwrap(), (origin, stamp, finding));
        lines += 1;
    }
    assert!(lines > 100);
}

/// Every field of every kind, with text that JSON escapes, that a terminal obeys, and that is not there.
#[test]
fn a_finding_of_each_kind_comes_back_whole() {
    let hidden = KINDS.iter().map(|(_, text)| *text);
    for text in hidden.chain([TEXT, "", "\"\\\u{0}\n", "null", "a/b"]) {
        for action in Action::ALL {
            let finding = sample::finding(*action, text);
            assert_eq!(finding.action(), *action);
            comes_back(&finding);
        }
    }
}

#[test]
fn a_finding_with_nothing_but_its_kind_comes_back() {
    for action in Action::ALL {
        let mut finding = sample::finding(*action, "x");
        finding.subject = Subject::default();
        (finding.duration, finding.span) = (None, None);
        finding.quality = crate::finding::Quality::default();
        // `login` is shown as the flow's; without one it is the kind's.
        if let FindingKind::ConnectionClosed(closed) = &mut finding.kind {
            *closed = crate::finding::ConnectionClosed::default();
        }
        comes_back(&finding);
    }
}

/// Each part of a subject is there or not, whatever the others are.
#[test]
fn parts_of_a_subject_do_not_depend_on_each_other() {
    let drop: [fn(&mut Subject); 14] = [
        |subject| subject.process = None,
        |subject| subject.user = None,
        |subject| subject.audit_session = None,
        |subject| subject.container = None,
        |subject| subject.flow = None,
        |subject| subject.ssh = None,
        |subject| subject.deploy = None,
        |subject| **subject.process.get_or_insert_default() = Process::new(0, "".into()),
        |subject| subject.flow.get_or_insert_default().source = None,
        |subject| subject.flow.get_or_insert_default().network = None,
        |subject| subject.flow.get_or_insert_default().destination = crate::finding::Destination::default(),
        |subject| subject.ssh.get_or_insert_default().session = None,
        |subject| subject.ssh.get_or_insert_default().role = None,
        |subject| subject.user.get_or_insert_default().real = crate::finding::Account::default(),
    ];
    let findings = golden().map(|line| (Line::parse(line.to_string().as_bytes()).unwrap().2, 1));
    let findings = findings.chain(Action::ALL.iter().map(|action| (sample::finding(*action, "x"), 2)));
    for (finding, most) in findings {
        for set in (0..1_u32 << drop.len()).filter(|set| set.count_ones() <= most) {
            let mut finding = finding.clone();
            for (at, drop) in drop.iter().enumerate() {
                if set & (1 << at) != 0 {
                    drop(&mut finding.subject);
                }
            }
            if finding.subject.ssh == Some(crate::finding::Ssh::default()) {
                finding.subject.ssh = None;
            }
            comes_back(&finding);
        }
    }
}

#[test]
fn what_is_too_long_leaves_who_where_and_when() {
    for action in Action::ALL {
        let mut finding = sample::finding(*action, "x");
        finding.shorten(300_000);
        assert_eq!(finding.quality.original_size, Some(300_000));
        comes_back(&finding);
    }
}

#[test]
fn times_of_all_years_come_back() {
    for time in [i64::MIN, -1, 0, 999_999_999, i64::MAX] {
        comes_back(&Finding::new(Time(time), Outcome::Unknown, FindingKind::ProcessStarted));
    }
}

#[test]
fn a_field_that_a_finding_needs_is_named() {
    let whole: Value = serde_json::from_str(&written(&sample::finding(Action::DeployStep, "x"))).unwrap();
    for (pointer, field) in [
        ("/@timestamp", "@timestamp"),
        ("/event", "event.id"),
        ("/event/id", "event.id"),
        ("/event/sequence", "event.sequence"),
        ("/event/action", "event.action"),
        ("/event/outcome", "event.outcome"),
        ("/host/id", "host.id"),
        ("/sensor/boot_id", "sensor.boot_id"),
        ("/process/pid", "process.pid"),
        ("/process/parent/entity_id", "process.parent.entity_id"),
        ("/process/entry_leader/entry_meta", "process.entry_leader.entry_meta.source.ip"),
        ("/deploy/step/kind", "deploy.step.kind"),
    ] {
        for wrong in [Value::Null, json!([{}]), json!(-1.5)] {
            let mut line = whole.clone();
            *line.pointer_mut(pointer).unwrap() = wrong;
            let text = line.to_string();
            let Err(schema::Error::Field(name)) = Line::parse(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(name, field, "{text}");
        }
    }
    assert_eq!(
        Line::parse(b"{\"event\":{}}").unwrap_err().to_string(),
        "the record has no usable `host.name`",
        "the error is a sentence"
    );
}

/// What a newer or a hostile writer puts in place of a value: each place, each shape.
#[test]
fn a_value_of_another_shape_is_absent_and_the_rest_is_read() {
    for action in Action::ALL {
        let whole: Value = serde_json::from_str(&written(&sample::finding(*action, "x"))).unwrap();
        let mut pointers = Vec::new();
        paths(&whole, "", &mut pointers);
        for pointer in pointers {
            for wrong in [Value::Null, json!(true), json!(-1), json!(1e300), json!("\u{202e}"), json!([[]]), json!({})]
            {
                let mut line = whole.clone();
                *line.pointer_mut(&pointer).unwrap() = wrong;
                line["new"] = json!({ "a": [null] });
                let text = line.to_string();
                match Line::parse(text.as_bytes()) {
                    Ok((.., finding)) => assert_eq!(finding.action(), *action),
                    Err(schema::Error::Field(_)) => {}
                    Err(error) => panic!("{error}: {text}"),
                }
            }
        }
    }
}

#[test]
fn what_is_no_json_is_an_error_at_any_length() {
    let line = written(&sample::finding(Action::ProcessStarted, "x"));
    for end in 0..line.len() {
        assert!(matches!(Line::parse(&line.as_bytes()[..end]), Err(schema::Error::Json(_))), "{end}");
    }
    let deep = format!("{{\"process\":{}", "[".repeat(100_000));
    assert!(matches!(Line::parse(deep.as_bytes()), Err(schema::Error::Json(_))));
    for text in ["{\"process\":1}x", "\u{feff}{}", "[", ""] {
        assert!(matches!(Line::parse(text.as_bytes()), Err(schema::Error::Json(_))), "{text}");
    }
    for text in ["[]", "1", "\"x\"", "null"] {
        assert!(matches!(Line::parse(text.as_bytes()), Err(schema::Error::NoObject)), "{text}");
    }
}

#[test]
fn text_is_lent_and_not_copied() {
    let finding = sample::finding(Action::ProcessStarted, "plain");
    let text = written(&finding);
    let line = Line::read(text.as_bytes()).unwrap();
    let name = line.process.unwrap().name.unwrap();
    assert!(matches!(name.0, std::borrow::Cow::Borrowed("plain")));
}

fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
    if let Value::Object(fields) = value {
        for (name, value) in fields {
            let path = format!("{at}/{}", name.replace('/', "~1"));
            paths(value, &path, out);
            out.push(path);
        }
    }
}
