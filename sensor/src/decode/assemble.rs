//! Ring records to events: pieces of a long argv are put together and redacted.
//!
//! The pieces of an argv precede their exec record, so when that comes everything that will ever come is there: no
//! waiting, no timer. Pieces whose exec record was lost (a full ring) are dropped when `PENDING_MAX` newer ones have
//! come, so memory is bounded.

use std::collections::VecDeque;

use sensor_common::ARGS_MAX;
use serde_bytes::ByteBuf;

use super::{
    redact::redact_args,
    ssh::{Piece, Streams},
    wire::{self, Error, RawArgs, Record},
};
use crate::event::{
    ssh::Packet,
    stream::{Args, Event, EventKind},
};

/// Execs that can have pieces in flight at once: one per CPU, and some that lost their exec record. 64 x 32 KiB.
const PENDING_MAX: usize = 64;

struct Pending {
    tgid: u32,
    exec_time: u64,
    bytes: Vec<u8>,
    /// A piece in the middle was lost: what follows it would be misplaced.
    broken: bool,
}

/// Decodes the records of one ring, in order.
#[derive(Default)]
pub struct Decoder {
    pending: VecDeque<Pending>,
    clear: Streams,
}

impl Decoder {
    /// One record. A piece of something larger gives no event; the last one of a clear phase can give several.
    pub fn decode(&mut self, record: &[u8], out: &mut Vec<Event>) -> Result<(), Error> {
        match wire::read(record)? {
            Record::Event(event) => out.push(*event),
            Record::Piece { tgid, exec_time, offset, data } => self.keep(tgid, exec_time, offset, &data),
            Record::Exec { mut event, time, args } => {
                let executable = event.executable.as_ref().map(|path| path.bytes.as_slice());
                event.args = self.args(event.task.id.tgid, time, args, executable);
                out.push(Event { time, what: EventKind::Exec(event) });
            }
            Record::Clear { time, connection, endpoints, direction, offset, flags, data } => {
                self.clear.take(&Piece { connection, direction, offset, flags, data: &data }, |message| {
                    let (process, before_mac, cut) = (None, false, false);
                    let packet = Packet { connection, process, endpoints, direction, before_mac, cut, message };
                    out.push(Event { time, what: EventKind::Ssh(Box::new(packet)) });
                });
            }
        }
        Ok(())
    }

    fn keep(&mut self, tgid: u32, exec_time: u64, offset: u32, data: &[u8]) {
        let known = self.pending.iter().position(|p| p.tgid == tgid && p.exec_time == exec_time);
        if known.is_none() {
            if self.pending.len() >= PENDING_MAX {
                self.pending.pop_front();
            }
            self.pending.push_back(Pending { tgid, exec_time, bytes: Vec::new(), broken: false });
        }
        let slot = known.unwrap_or(self.pending.len().saturating_sub(1));
        if let Some(pending) = self.pending.get_mut(slot) {
            let fits = pending.bytes.len() == offset as usize && pending.bytes.len() + data.len() <= ARGS_MAX as usize;
            if fits && !pending.broken {
                pending.bytes.extend_from_slice(data);
            } else {
                pending.broken = true;
            }
        }
    }

    fn args(&mut self, tgid: u32, time: u64, raw: RawArgs, executable: Option<&[u8]>) -> Args {
        let mut bytes = match raw.inline {
            Some(bytes) => bytes,
            None => match self.pending.iter().position(|p| p.tgid == tgid && p.exec_time == time) {
                Some(slot) => self.pending.remove(slot).map(|p| p.bytes).unwrap_or_default(),
                None => Vec::new(),
            },
        };
        let cut = bytes.len() < raw.total as usize || raw.copied < raw.total;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        let mut list: Vec<Vec<u8>> = match bytes.is_empty() {
            // argv[0] may be empty; no argv at all looks the same and is as rare.
            true => Vec::new(),
            false => bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect(),
        };
        let redacted = redact_args(&mut list, executable);
        // The raw bytes are gone from here on but for the ring itself.
        bytes.fill(0);
        Args { list: list.into_iter().map(ByteBuf::from).collect(), total: raw.total, cut, redacted }
    }
}
