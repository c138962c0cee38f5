//! Recorded real sessions replay into the records that stand beside them, on any machine: `golden/NAME.stream` and
//! `golden/NAME.json`.
//!
//! `SENSOR_GOLDEN=write cargo test -p sensor-tests --test golden` writes the JSON anew: read the difference before you
//! commit it. Only `event.id` is left out: it is the one field that is made when a record is written. How the streams
//! were recorded: `golden/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use ::sensor::{render::json_text::visible, schema::ecs::Line};
use sensor_tests::{running, sensor};

fn streams() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "stream"))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "there are no recordings in tests/golden");
    found
}

/// One record a line, without what differs between runs.
fn replay(stream: &Path) -> String {
    let ended = running::succeed(sensor::command(&["replay", "--all", "--format", "json"]).arg(stream));
    let mut out = String::new();
    for line in ended.text().lines() {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["event"].as_object_mut().unwrap().remove("id").expect("every record has an event.id");
        out += &record.to_string();
        out.push('\n');
    }
    out
}

#[test]
fn recorded_sessions_replay_into_the_same_records() {
    for stream in streams() {
        let (records, golden) = (replay(&stream), stream.with_extension("json"));
        assert_eq!(records, replay(&stream), "two replays of {} differ", stream.display());
        if std::env::var_os("SENSOR_GOLDEN").is_some_and(|value| value == "write") {
            fs::write(&golden, &records).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
        for (n, (record, expected)) in records.lines().zip(expected.lines()).enumerate() {
            assert_eq!(record, expected, "{} line {}", golden.display(), n + 1);
        }
        assert_eq!(records.lines().count(), expected.lines().count(), "{}", golden.display());
    }
}

/// The schema reads every record into a finding, and writes the finding as the same bytes.
#[test]
fn records_that_were_read_are_written_as_the_same_bytes() {
    for stream in streams() {
        let ended = running::succeed(sensor::command(&["replay", "--all", "--format", "json"]).arg(stream));
        for line in ended.text().lines() {
            let (origin, stamp, finding) =
                Line::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
            let written = serde_json::to_string(&Line::new(&origin, &stamp, &finding)).unwrap();
            assert_eq!(visible(&written), line);
        }
    }
}
