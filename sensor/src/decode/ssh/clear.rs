//! The clear phase of a connection, put together and read: identification (RFC 4253, 4.2), then binary packets (6)
//! until NEWKEYS.
//!
//! What enters: pieces of one direction of a connection, each with its place in the stream. What leaves: messages. The
//! kernel sends pieces in order and once, so one that is ahead means that others are missing: that direction is given
//! up and said to be. Memory: a direction keeps what it has not read yet, at most one packet; when there are too many,
//! the oldest goes.

use sensor_common::ssh::{clear_flag, message as number};
use serde_bytes::ByteBuf;

use super::{
    kexinit, key,
    packet::message,
    reader::{Reader, Result},
};
use crate::bounded::Bounded;
use crate::event::ssh::{ClearLoss, Direction, MalformedWhat, Message};

/// Directions followed at a time, those included that are done: some hundred bytes each, and up to `PACKET_MAX` while
/// they are read.
const STREAMS_MAX: usize = 4096;
/// RFC 4253, 6.1: implementations must be able to handle 35,000 bytes; nothing in the clear phase is larger.
const PACKET_MAX: usize = 35_000;
/// RFC 4253, 4.2: 255 bytes with the line end. Some have sent more.
const LINE_MAX: usize = 1024;
/// Lines before a server's identification.
const LINES_MAX: u8 = 64;

/// Bytes of one direction of a connection.
pub(in crate::decode) struct Piece<'a> {
    pub(in crate::decode) connection: u64,
    pub(in crate::decode) direction: Direction,
    /// From the first byte of this direction.
    pub(in crate::decode) offset: u32,
    pub(in crate::decode) flags: u16,
    pub(in crate::decode) data: &'a [u8],
}

pub(in crate::decode) struct Streams {
    table: Bounded<(u64, Direction), Stream>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { table: Bounded::new(STREAMS_MAX) }
    }
}

#[derive(Default)]
struct Stream {
    /// Offset of the byte that is to come.
    next: u32,
    /// What is not read yet.
    buffer: Vec<u8>,
    phase: Phase,
    lines: u8,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Identification,
    Packets,
    Done,
}

impl Streams {
    /// Takes a piece; passes on the messages that it completes.
    pub(in crate::decode) fn take(&mut self, piece: &Piece<'_>, mut tell: impl FnMut(Message)) {
        let key = (piece.connection, piece.direction);
        if piece.flags & clear_flag::ENCRYPTED != 0 {
            return tell(Message::Encrypted);
        }
        self.table.get_or_default(key).take(piece, &mut tell);
    }
}

impl Stream {
    fn take(&mut self, piece: &Piece<'_>, tell: &mut impl FnMut(Message)) {
        if self.phase == Phase::Done {
            return;
        }
        let Some(known) = self.next.checked_sub(piece.offset) else {
            return self.give_up(ClearLoss::Gap, tell);
        };
        // What came before is left out.
        let fresh = piece.data.get(known as usize..).unwrap_or_default();
        self.buffer.extend_from_slice(fresh);
        self.next = self.next.saturating_add(fresh.len() as u32);
        if let Err(_broken) = self.read(tell) {
            return self.give_up(ClearLoss::Malformed, tell);
        }
        if piece.flags & clear_flag::LAST != 0 && self.phase != Phase::Done {
            self.give_up(ClearLoss::Limit, tell);
        }
    }

    fn give_up(&mut self, loss: ClearLoss, tell: &mut impl FnMut(Message)) {
        tell(Message::ClearLost(loss));
        self.done();
    }

    fn done(&mut self) {
        self.phase = Phase::Done;
        self.buffer = Vec::new();
    }

    /// Reads what is complete.
    fn read(&mut self, tell: &mut impl FnMut(Message)) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while self.phase == Phase::Identification {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                if rest.len() > LINE_MAX {
                    return Err(MalformedWhat::Length);
                }
                break;
            };
            let (line, tail) = rest.split_at(end);
            rest = tail.get(1..).unwrap_or_default();
            self.line(line.strip_suffix(b"\r").unwrap_or(line), tell)?;
        }
        while self.phase == Phase::Packets {
            let Some((payload, tail)) = packet(rest)? else { break };
            rest = tail;
            if let [number::NEWKEYS, ..] = payload {
                tell(Message::NewKeys);
                self.done();
                return Ok(());
            }
            if let [number, fields @ ..] = payload
                && let Some(message) = clear_message(*number, fields)?
            {
                tell(message);
            }
        }
        self.buffer = rest.to_vec();
        Ok(())
    }

    fn line(&mut self, line: &[u8], tell: &mut impl FnMut(Message)) -> Result<()> {
        if line.len() > LINE_MAX {
            return Err(MalformedWhat::Length);
        }
        if let Some(version) = line.strip_prefix(b"SSH-") {
            let software = version.strip_prefix(b"2.0-").or_else(|| version.strip_prefix(b"1.99-")).unwrap_or(version);
            tell(Message::Identification(ByteBuf::from(software.to_vec())));
            self.phase = Phase::Packets;
            return Ok(());
        }
        self.lines += 1;
        if self.lines > LINES_MAX { Err(MalformedWhat::Length) } else { Ok(()) }
    }
}

/// A binary packet's payload and what follows it; None: it is not whole yet.
fn packet(bytes: &[u8]) -> Result<Option<(&[u8], &[u8])>> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(*head) as usize;
    // One byte of padding length, one of payload, four of padding.
    if !(6..=PACKET_MAX).contains(&len) {
        return Err(MalformedWhat::Length);
    }
    let Some((packet, tail)) = rest.split_at_checked(len) else { return Ok(None) };
    let [padding, rest @ ..] = packet else { return Err(MalformedWhat::Length) };
    let payload = rest.len().checked_sub((*padding).into()).and_then(|len| rest.get(..len));
    match payload {
        Some(payload @ [_, ..]) => Ok(Some((payload, tail))),
        _ => Err(MalformedWhat::Length),
    }
}

/// Messages of the key exchange (RFC 4253, 8; RFC 4419; RFC 5656). The numbers 30 to 34 mean different things in
/// different methods.
fn clear_message(n: u8, fields: &[u8]) -> Result<Option<Message>> {
    /// KEXDH_INIT, KEX_ECDH_INIT; KEX_DH_GEX_REQUEST.
    const INIT: u8 = 30;
    const GEX_REQUEST: u8 = 34;
    /// KEXDH_REPLY, KEX_ECDH_REPLY, or KEX_DH_GEX_GROUP; KEX_DH_GEX_REPLY.
    const REPLY: u8 = 31;
    const GEX_REPLY: u8 = 33;
    Ok(match n {
        number::KEXINIT => Some(Message::KexInit(Box::new(kexinit::read(fields)?))),
        INIT | GEX_REQUEST => Some(Message::KexStart),
        REPLY | GEX_REPLY => {
            let blob = Reader::new(fields, false).string()?;
            // A group begins with a large number instead of a key: what would be the length of its type's name is too
            // large.
            let is_key = Reader::new(blob, false).string().is_ok_and(|kind| kind.iter().all(u8::is_ascii_graphic));
            is_key.then(|| Message::HostKey(key::read(blob)))
        }
        number::DISCONNECT => message(n, fields, false, 0),
        _ => None,
    })
}
