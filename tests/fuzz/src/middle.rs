//! The whole middle: any events in any order.
//!
//! Asserted: tables stay within their limits, each finding is one line of JSON, which reads back as the finding, and
//! one of the table, and the same events give the same findings (every `HashMap` has a seed of its own, so what depends
//! on their order shows).

use libfuzzer_sys::arbitrary::Unstructured;
use sensor::{
    correlate::{Correlate, Scope},
    enrich::Enrich,
    event::{
        hidden::is_hidden,
        stream::{Event, EventKind, Limits},
    },
    finding::{Field, Finding},
    render::{json::Json, table::Table},
    schema::{Stamp, ecs::Line},
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

fn records(events: &[Event], all: bool) -> Vec<Finding> {
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

    pub(crate) fn check(&mut self, finding: &Finding) {
        self.out.clear();
        self.json.render(&Stamp { sequence: 1, ..Stamp::default() }, finding, &mut self.out);
        assert!(self.is_one_line(), "{finding:?}");
        assert!(self.is_harmless(), "{finding:?}");
        let read = Line::parse(&self.out);
        assert!(read.is_ok(), "{finding:?}");
        let Ok((_, stamp, back)) = read else { return };
        assert_eq!(stamp.sequence, 1);
        if !back.quality.truncated.contains(Field::Record) {
            let mut written = finding.clone();
            written.quality.sshd_internal = false;
            assert_eq!(back, written);
        }
        self.out.clear();
        self.table.render(finding, &mut self.out);
        assert!(self.out.is_empty() || self.is_one_line(), "{finding:?}");
        assert!(self.is_harmless(), "{finding:?}");
    }

    /// No character in it that a viewer obeys or hides.
    fn is_harmless(&self) -> bool {
        std::str::from_utf8(&self.out).is_ok_and(|text| !text.chars().any(|c| c != '\n' && is_hidden(c)))
    }

    fn is_one_line(&self) -> bool {
        self.out.iter().position(|byte| *byte == b'\n') == Some(self.out.len().wrapping_sub(1))
    }
}
