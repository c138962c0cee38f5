//! Names are claims, ids and executed files are facts: what a namespace of a user's own calls its users, and what a
//! program is called with, do not change what is recorded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use sensor_tests::{Record, hostile::Siege};
use serde_json::Value;

/// Every field of a record that has this value, by its dotted name.
fn fields_with(value: &Value, text: &str, name: &str, found: &mut Vec<String>) {
    match value {
        Value::String(own) if own == text => found.push(name.to_owned()),
        Value::Array(list) => list.iter().for_each(|value| fields_with(value, text, name, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                fields_with(value, text, &format!("{name}.{key}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn names_from_a_users_own_namespace_are_claims() {
    let mut siege = Siege::new("hostile-names", "[scope]\nall = true\n");
    let uid = siege.attacker.uid;
    // A process long enough to be looked at, with its own names for its user: root, and another user of the host; in a
    // namespace where it is root, and in one below.
    let inner = |name: &str| {
        format!(
            "printf \"{name}:x:{uid}:{uid}::/root:/bin/sh\\n{name}:x:0:0::/root:/bin/sh\\n\" > passwd && mount --bind passwd /etc/passwd && sh -c \"sleep 0.3; :\" called-{name}"
        )
    };
    let (root, victim) = (inner("root"), inner(&siege.victim.name));
    for line in [
        format!("unshare -Urm sh -c '{root}'"),
        format!("unshare -Urm sh -c '{victim}'"),
        format!("unshare -Urm unshare -Urmpf --mount-proc sh -c '{root}'"),
    ] {
        let ended = siege.sshd.session(&siege.attacker.name, &line);
        assert_eq!(ended.code(), 0, "{ended:?}");
    }
    siege.assert_awake("names of a namespace");
    let records = siege.stop();
    records.assert_nothing_lost();
    for name in ["root", &siege.victim.name] {
        let mark = format!("called-{name}");
        let execs: Vec<&Record> = records
            .of("process-started")
            .filter(|record| record.list("process.args").last() == Some(&mark.as_str()))
            .collect();
        assert_eq!(execs.len(), if name == "root" { 2 } else { 1 }, "{execs:?}");
        for exec in execs {
            assert_eq!(exec.text("user.id"), uid.to_string(), "{exec:?}");
            let mut fields = Vec::new();
            fields_with(&exec.0, name, "", &mut fields);
            // A claim is marked as what the container says.
            fields.retain(|field| !field.starts_with(".container."));
            assert_eq!(fields, Vec::<String>::new(), "{name} is a name of user {uid} in {:?}", exec.0);
            let claimed = exec.text("container.user.name");
            assert!(claimed.is_empty() || claimed == name, "{exec:?}");
        }
    }
    // Of all that is written about this user, nothing has a name that is not its own.
    for record in records.iter().filter(|record| record.text("user.id") == uid.to_string()) {
        for field in ["user.name", "user.effective.name", "user.audit.name"] {
            assert!(["", &siege.attacker.name].contains(&record.text(field)), "{field}: {:?}", record.0);
        }
    }
}

#[test]
fn a_false_name_hides_no_code_and_leaks_no_secret() {
    let mut siege = Siege::new("hostile-argv", "");
    let lines = [
        "exec -a snmpget /usr/bin/python3 -c 'print(\"EVIDENCE-ONE\")'",
        "exec -a mysql /usr/bin/perl -pe 'EVIDENCE-TWO' /dev/null",
        "/usr/bin/python3 -c 'TOKEN=1;print(\"EVIDENCE-THREE\")'",
        "exec -a sshd /usr/bin/python3 -c 'print(\"EVIDENCE-FOUR\")'",
        "exec -a ssh /usr/bin/true EVIDENCE-FIVE",
    ];
    for line in lines {
        let ended = siege.sshd.session(&siege.attacker.name, line);
        assert_ne!(ended.code(), 255, "{ended:?}");
    }
    siege.assert_awake("false names");
    let records = siege.stop();
    records.assert_nothing_lost();
    for (word, executable) in [
        ("EVIDENCE-ONE", "python3"),
        ("EVIDENCE-TWO", "perl"),
        ("EVIDENCE-THREE", "python3"),
        ("EVIDENCE-FOUR", "python3"),
        ("EVIDENCE-FIVE", "true"),
    ] {
        let exec =
            |record: &Record| record.args_contain(word) && record.text("process.executable").contains(executable);
        records.one("process-started", exec);
    }
    // The name that was given is shown.
    records.one("process-started", |record| record.list("process.args").first() == Some(&"snmpget"));
}
