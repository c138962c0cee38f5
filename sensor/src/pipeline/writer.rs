//! The last stages: filter, render, sink, and the recording on the side.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::{
    decode::recording,
    event::{
        record::Record,
        stream::{Event, What},
    },
    render::{filter::Filter, json::Json, table::Table},
    sink::{OpenError, Sink},
};

/// Rendered bytes are handed to the sink from here on.
const LARGE: usize = 256 << 10;

/// How records are shown.
pub enum Format {
    Json(Json),
    Table(Table),
}

pub struct Writer {
    format: Format,
    filter: Filter,
    sink: Sink,
    recording: Option<recording::Writer<BufWriter<File>>>,
    pending: Vec<Record>,
    buffer: Vec<u8>,
    lines: u64,
    written: u64,
    filtered: u64,
}

impl Writer {
    pub fn new(format: Format, filter: Filter, sink: Sink) -> Self {
        let buffer = match &format {
            Format::Table(table) => table.heading().into_bytes(),
            Format::Json(_) => Vec::new(),
        };
        Self { format, filter, sink, recording: None, pending: Vec::new(), buffer, lines: 0, written: 0, filtered: 0 }
    }

    /// Also records the stream into a new file, 0600.
    pub fn record_to(&mut self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        self.recording = Some(recording::Writer::new(BufWriter::with_capacity(256 << 10, file))?);
        Ok(())
    }

    pub(super) fn record(&mut self, event: &Event) -> io::Result<()> {
        match &mut self.recording {
            Some(recording) => recording.write(event),
            None => Ok(()),
        }
    }

    /// Learns which host the records are of.
    pub(super) fn host(&mut self, event: &Event) {
        if let (What::Host(host), Format::Json(json)) = (&event.what, &mut self.format) {
            json.set_host(host);
        }
    }

    /// Where the middle puts records.
    pub(super) fn records(&mut self) -> &mut Vec<Record> {
        &mut self.pending
    }

    pub(super) fn render(&mut self) {
        for record in self.pending.drain(..) {
            if !self.filter.admits(&record) {
                self.filtered += 1;
                continue;
            }
            match &mut self.format {
                Format::Json(json) => json.render(&record, &mut self.buffer),
                Format::Table(table) => table.render(&record, &mut self.buffer),
            }
            self.lines += 1;
        }
    }

    pub(super) fn flush(&mut self) {
        self.sink.emit(&self.buffer, self.lines);
        self.written += self.lines;
        self.lines = 0;
        self.buffer.clear();
        // A burst of large records must not be paid for ever after.
        self.buffer.shrink_to(LARGE);
    }

    pub(super) fn flush_if_large(&mut self) {
        if self.buffer.len() >= LARGE {
            self.flush();
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        match &mut self.recording {
            Some(recording) => recording.flush(),
            None => Ok(()),
        }
    }

    pub(super) fn reopen(&mut self, path: &Path) -> Result<(), OpenError> {
        self.sink.reopen(path)
    }

    pub(super) fn take_lost(&mut self) -> u64 {
        let lost = self.sink.take_lost();
        self.written -= lost.min(self.written);
        lost
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sink.is_closed()
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn filtered(&self) -> u64 {
        self.filtered
    }
}
