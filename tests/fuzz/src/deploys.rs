//! Logs that `sensor deploys` reads: arbitrary bytes, and records whose ids meet but whose texts are anything.
//!
//! Asserted: every deploy that is listed can be drawn, nothing in a log reaches a terminal as a control character, a
//! tree has a bounded depth, and a line that gives a finding gives the same one when it was written again.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "what fails here is what is looked for")]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sensor::{
    event::hidden::is_hidden,
    render::review::{self, Look},
    review::{DeployDetail, Index, Node, lines},
    schema::{Origin, Stamp, ecs::Line},
};
use serde_json::{Value, json};

/// No tree is deeper: host, connection, command, and processes as deep as they are shown.
const DEPTH: usize = 40;

const ACTIONS: [&str; 12] = [
    "deploy-started",
    "deploy-finished",
    "deploy-step",
    "deploy-config-changed",
    "process-started",
    "process-ended",
    "ssh-command-started",
    "ssh-command-ended",
    "ssh-session-started",
    "ssh-authentication",
    "connection-failed",
    "sensor-stopped",
];

pub fn run(data: &[u8]) {
    read(data);
    let mut input = Unstructured::new(data);
    let mut log = Vec::new();
    while !input.is_empty() {
        let Ok(record) = record(&mut input) else { break };
        log.extend_from_slice(record.to_string().as_bytes());
        log.push(b'\n');
    }
    read(&log);
}

fn comes_back(line: &[u8]) {
    let Ok(finding) = Line::read(line).and_then(Line::finding) else { return };
    let written = serde_json::to_vec(&Line::new(&Origin::default(), &Stamp::default(), &finding));
    let (.., again) = Line::parse(&written.expect("it is plain data")).expect("a line of our own");
    assert_eq!(again, finding);
}

fn read(log: &[u8]) {
    lines::read(log, &mut lines::Report::default(), |line| {
        comes_back(line);
        Ok(())
    })
    .expect("memory can be read");
    let mut index = Index::new().expect("three words");
    lines::read(log, &mut lines::Report::default(), |line| index.observe(line)).expect("memory can be read");
    let deploys = index.deploys();
    let look = Look { color: false, width: Some(100), zone: jiff::tz::TimeZone::UTC };
    assert_harmless(&review::list(&look, &deploys));
    for deploy in deploys.into_iter().take(3) {
        let mut story = DeployDetail::new(deploy).expect("few ids");
        lines::read(log, &mut lines::Report::default(), |line| story.observe(line)).expect("memory can be read");
        let (deploy, tree) = story.tell();
        assert!(tree.iter().map(depth).max().unwrap_or(0) <= DEPTH);
        assert_harmless(&review::show(&look, &deploy, &tree));
        serde_json::to_string(&(&deploy, &tree)).expect("it is plain data");
    }
}

fn assert_harmless(shown: &str) {
    let bad = shown.chars().find(|c| *c != '\n' && is_hidden(*c));
    assert_eq!(bad, None, "{shown:?}");
}

fn depth(node: &Node) -> usize {
    1 + node.children.iter().map(depth).max().unwrap_or(0)
}

fn record(input: &mut Unstructured<'_>) -> Result<Value> {
    let entity = |input: &mut Unstructured<'_>| Ok(format!("e{}", input.int_in_range(0..=20u8)?));
    let id = |input: &mut Unstructured<'_>| Ok(format!("d{}", input.int_in_range(0..=2u8)?));
    let connection = |input: &mut Unstructured<'_>| Ok(format!("c{}", input.int_in_range(0..=3u8)?));
    let host = format!("h{}", input.int_in_range(0..=1u8)?);
    let mut deploy = json!({
        "step": { "kind": text(input)?, "line": text(input)?, "host": text(input)?, "exit_status": input.arbitrary::<u8>()? },
        "performer": text(input)?, "version": text(input)?, "service": text(input)?, "reason": text(input)?,
        "connections": [connection(input)?], "hosts": [text(input)?], "secrets": text(input)?,
        "config": { "files": [text(input)?], "unread": [text(input)?], "previous_sha256": text(input)? },
    });
    if input.arbitrary()? {
        deploy["id"] = id(input)?.into();
    }
    Ok(json!({
        "@timestamp": format!("2026-11-21T21:18:{:02}Z", input.int_in_range(0..=59u8)?),
        "event": { "action": input.choose(&ACTIONS)?, "outcome": input.choose(&["success", "failure", "unknown", ""])?, "duration": input.arbitrary::<u64>()? },
        "host": { "id": host, "name": text(input)? },
        "process": { "pid": 1, "entity_id": entity(input)?, "parent": { "pid": 2, "entity_id": entity(input)? }, "command_line": text(input)?, "exit_code": input.arbitrary::<u8>()? },
        "ssh": { "role": input.choose(&["client", "server"])?, "connection": { "id": connection(input)? }, "session": { "id": "s" },
            "command": { "id": format!("s-{}", input.int_in_range(0..=4u8)?), "kind": "exec", "line": text(input)? },
            "auth": { "method": text(input)? } },
        "deploy": deploy, "file": { "path": text(input)? }, "error": { "message": text(input)? }, "destination": { "ip": text(input)? },
    }))
}

/// One of few, so that texts meet; or anything.
fn text(input: &mut Unstructured<'_>) -> Result<String> {
    let known =
        ["", "a", "remote", "lock", "local hook", "docker login r -u x", "\u{1b}[2J\u{202e}", "a -c a", "5f95e7b"];
    match input.int_in_range(0..=known.len())? {
        n if n < known.len() => Ok(known[n].to_owned()),
        _ => {
            let length = input.int_in_range(0..=40usize)?;
            Ok(String::from_utf8_lossy(input.bytes(length.min(input.len()))?).into_owned())
        }
    }
}
