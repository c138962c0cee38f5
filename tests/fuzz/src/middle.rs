//! The whole middle: any events in any order.
//!
//! Asserted: tables stay within their limits, each record is one line of JSON and one of the table, a line is the same
//! when the schema has read and written it, and the same events give the same records (every `HashMap` has a seed of its
//! own, so whatever depends on their order shows).

#![allow(clippy::panic, reason = "what fails here is what is looked for")]

use libfuzzer_sys::arbitrary::Unstructured;
use sensor::{
    correlate::{Correlate, Scope},
    enrich::Enrich,
    event::{
        hidden::is_hidden,
        record::Record,
        stream::{Event, EventKind, Limits},
    },
    render::{json::Json, json_writer, table::Table},
    schema::ecs::Line,
};

use crate::stream;

pub const LIMITS: Limits = Limits { processes: 12, sessions: 4, connections: 3 };

pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let all = input.arbitrary().unwrap_or_default();
    let mut events = Vec::new();
    while !input.is_empty()
        && let Ok(event) = stream::event(&mut input)
    {
        events.push(event);
    }
    let first = records(&events, all);
    let mut lines = Lines::default();
    for record in &first {
        lines.check(record);
    }
    let second = records(&events, all);
    assert_eq!(first.len(), second.len(), "{events:#?}");
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(format!("{first:?}"), format!("{second:?}"), "{events:#?}");
    }
}

fn records(events: &[Event], all: bool) -> Vec<Record> {
    let (mut enrich, mut correlate) = (Enrich::default(), Correlate::new(LIMITS, Scope { all, pids: Vec::new() }));
    let mut records = Vec::new();
    let mut limits = LIMITS;
    for event in events {
        if let EventKind::Reloaded { limits: new, .. } = &event.what {
            // What is there stays, but no more comes.
            limits.processes = limits.processes.max(new.processes);
            limits.sessions = limits.sessions.max(new.sessions);
            limits.connections = limits.connections.max(new.connections);
        }
        let mut event = event.clone();
        enrich.apply(&mut event);
        correlate.observe(&event, &mut records);
        let (processes, sessions, connections) = correlate.sizes();
        assert!(processes <= limits.processes, "{processes} processes");
        assert!(sessions <= limits.sessions, "{sessions} sessions");
        assert!(connections <= limits.connections, "{connections} connections");
        assert!(correlate.ssh_connections() <= limits.sessions, "{} SSH connections", correlate.ssh_connections());
    }
    records
}

/// Renders records both ways.
pub(crate) struct Lines {
    json: Json,
    table: Table,
    out: Vec<u8>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { json: Json::default(), table: Table::new(false, Some(80), true), out: Vec::new() }
    }
}

impl Lines {
    pub(crate) fn learn(&mut self, event: &Event) {
        if let EventKind::Host(host) = &event.what {
            self.json.set_host(host);
        }
    }

    pub(crate) fn check(&mut self, record: &Record) {
        self.out.clear();
        self.json.render(record, &mut self.out);
        assert!(self.is_one_line(), "{record:?}");
        assert!(self.is_harmless(), "{record:?}");
        self.comes_back();
        self.out.clear();
        self.table.render(record, &mut self.out);
        assert!(self.out.is_empty() || self.is_one_line(), "{record:?}");
        assert!(self.is_harmless(), "{record:?}");
    }

    /// The schema reads the line into a finding, and writes the finding as the same line.
    fn comes_back(&self) {
        let line = self.out.trim_ascii_end();
        let (origin, stamp, finding) = match Line::parse(line) {
            Ok(parts) => parts,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(line)),
        };
        let mut again = Vec::new();
        assert!(json_writer::write(&Line::new(&origin, &stamp, &finding), &mut again).is_ok());
        // A client may write an address in another way than the one that is written here.
        if again != line {
            let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
            let (Some(mut ours), Some(mut theirs)) = (value(&again), value(line)) else { panic!("{finding:?}") };
            for line in [&mut ours, &mut theirs] {
                line.pointer_mut("/destination/ip").map(serde_json::Value::take);
            }
            assert_eq!(ours, theirs);
        }
    }

    /// No character in it that a viewer obeys or hides.
    fn is_harmless(&self) -> bool {
        std::str::from_utf8(&self.out).is_ok_and(|text| !text.chars().any(|c| c != '\n' && is_hidden(c)))
    }

    fn is_one_line(&self) -> bool {
        self.out.iter().position(|byte| *byte == b'\n') == Some(self.out.len().wrapping_sub(1))
    }
}
