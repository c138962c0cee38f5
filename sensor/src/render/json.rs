//! Native records: one JSON object a line.
//!
//! Adds what only the writer knows: event id, sequence, host, version. Serialising our own structs into memory cannot
//! fail.

use std::hash::{BuildHasher as _, RandomState};

use serde::Serialize;
use uuid::{Builder, Uuid};

use super::json_writer;
use crate::event::{
    record::{Outcome, Protocol, Record, Time},
    stream::Host,
};

const ECS_VERSION: &str = "8.17.0";
/// A longer line is cut by its longest parts: collectors have limits of their own, and cut anywhere (`maxMessageSize`
/// in deploy/rsyslog-sensor.conf).
const RECORD_MAX: usize = 256 << 10;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Time,
    ecs: Ecs,
    event: Event,
    host: HostFields<'a>,
    sensor: Sensor<'a>,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Serialize)]
struct Ecs {
    version: &'static str,
}

#[derive(Serialize)]
struct Event {
    id: Uuid,
    sequence: u64,
    kind: &'static str,
    category: &'static [&'static str],
    #[serde(rename = "type")]
    kinds: &'static [&'static str],
    action: &'static str,
    outcome: Outcome,
    dataset: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Time>,
}

#[derive(Serialize)]
struct HostFields<'a> {
    name: &'a str,
    id: &'a str,
}

#[derive(Serialize)]
struct Sensor<'a> {
    version: &'static str,
    boot_id: &'a str,
    #[serde(flatten)]
    fields: &'a crate::event::record::Sensor,
}

/// Renders the records of one run.
#[derive(Default)]
pub struct Json {
    host: Host,
    sequence: u64,
    keys: RandomState,
}

impl Json {
    /// UUIDv7: sorts by the record's own time. Its other bits are the sequence under random keys of this run: asking
    /// the kernel for random bytes for each record took a tenth of the time.
    fn event_id(&self, time: i64) -> Uuid {
        let mut bits = [0; 10];
        for (part, half) in bits.chunks_mut(8).zip([0u8, 1]) {
            part.copy_from_slice(
                self.keys.hash_one((self.sequence, half)).to_ne_bytes().get(..part.len()).unwrap_or_default(),
            );
        }
        Builder::from_unix_timestamp_millis(time.div_euclid(1_000_000) as u64, &bits).into_uuid()
    }

    pub fn set_host(&mut self, host: &Host) {
        self.host = host.clone();
    }

    /// The number of the last record.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends one record and a newline.
    pub fn render(&mut self, record: &Record, out: &mut Vec<u8>) {
        let before = out.len();
        self.append(record, out);
        let size = out.len() - before;
        if size <= RECORD_MAX {
            return;
        }
        // Each part is bounded where it is made; only all of them together can come here. What says who, where and when
        // is left.
        out.truncate(before);
        self.sequence -= 1;
        let mut less = record.clone();
        if let Some(process) = &mut less.process {
            (process.args, process.command_line) = (None, None);
        }
        less.deploy = None;
        less.config = None;
        if let Some(protocol) = less.ssh.as_mut().and_then(|ssh| ssh.protocol.as_mut()) {
            **protocol = Protocol::default();
        }
        less.sensor.truncated = Some(vec!["record"]);
        less.sensor.original_size = u32::try_from(size).ok();
        self.append(&less, out);
    }

    fn append(&mut self, record: &Record, out: &mut Vec<u8>) {
        self.sequence += 1;
        let meaning = record.action.meaning();
        let line = Line {
            timestamp: Time(record.time),
            ecs: Ecs { version: ECS_VERSION },
            event: Event {
                id: self.event_id(record.time),
                sequence: self.sequence,
                kind: "event",
                category: meaning.category,
                kinds: meaning.kind,
                action: meaning.name,
                outcome: record.outcome,
                dataset: meaning.dataset,
                duration: record.duration,
                start: record.span.map(|(start, _)| Time(start)),
                end: record.span.map(|(_, end)| Time(end)),
            },
            host: HostFields { name: &self.host.name, id: &self.host.id },
            sensor: Sensor { version: env!("CARGO_PKG_VERSION"), boot_id: &self.host.run, fields: &record.sensor },
            record,
        };
        let before = out.len();
        if let Err(error) = json_writer::write(&line, out) {
            // Only a bug gets here; half a line must not.
            out.truncate(before);
            self.sequence -= 1;
            tracing::error!(%error, action = meaning.name, "a record could not be rendered");
            return;
        }
        out.push(b'\n');
    }
}
