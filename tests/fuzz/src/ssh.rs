//! SSH as the probes send it: ring records of decrypted packets, of the clear phase and of who speaks, through the
//! decoder and the correlation.
//!
//! Contents are messages of the protocol with fields of the right kind, most of them whole, some with lengths that lie,
//! cut or followed by more; pieces of the clear phase mostly follow each other. Asserted: what is decoded survives a
//! recording, tables stay within their limits, each record is one line.

use std::{
    collections::HashMap,
    mem::{offset_of, size_of},
};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sensor::{
    correlate::{Correlate, Scope},
    decode::Decoder,
};
use sensor_common::{
    Head, Socket, VERSION,
    ssh::{CLEAR_LARGE, CLEAR_SMALL, Clear, ConnectionOwner, PACKET_LARGE, PACKET_SMALL, Packet, kind, message},
};

use crate::{
    decoder::{check, length, put, tgid, time},
    middle::{LIMITS, Lines},
};

pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut decoder = Decoder::default();
    let mut correlate = Correlate::new(LIMITS, Scope { all: true, pids: Vec::new() });
    let (mut lines, mut streams, mut records) = (Lines::default(), HashMap::new(), Vec::new());
    while !input.is_empty() {
        let Ok(record) = record(&mut input, &mut streams) else { return };
        let mut events = Vec::new();
        let _ = decoder.decode(&record, &mut events);
        for event in events {
            check(&event);
            correlate.observe(&event, &mut records);
        }
        assert!(correlate.ssh_connections() <= LIMITS.sessions, "{} connections", correlate.ssh_connections());
        for record in records.drain(..) {
            lines.check(&record);
        }
    }
}

/// Bytes so far, by connection and direction.
type Places = HashMap<(u8, u8), u32>;

pub(crate) fn record(input: &mut Unstructured<'_>, places: &mut Places) -> Result<Vec<u8>> {
    let (connection, direction) = (input.int_in_range(0..=6u8)?, input.int_in_range(0..=1u8)?);
    let id = u64::from(connection).to_ne_bytes();
    let mut record = match input.int_in_range(0..=9u8)? {
        0 => bound(input, id)?,
        1..=3 => {
            let place = places.entry((connection, direction)).or_default();
            clear(input, id, direction, place)?
        }
        _ => packet(input, id, direction)?,
    };
    let size = record.len() as u32;
    put(&mut record, offset_of!(Head, version), &VERSION.to_ne_bytes());
    put(&mut record, offset_of!(Head, size), &size.to_ne_bytes());
    put(&mut record, offset_of!(Head, time), &time(input)?);
    if input.ratio(1, 32)? {
        record.truncate(input.int_in_range(0..=record.len())?);
    }
    Ok(record)
}

fn bound(input: &mut Unstructured<'_>, id: [u8; 8]) -> Result<Vec<u8>> {
    let mut record = vec![0; size_of::<ConnectionOwner>()];
    put(&mut record, offset_of!(Head, kind), &kind::BOUND.to_ne_bytes());
    put(&mut record, offset_of!(ConnectionOwner, tgid), &tgid(input)?);
    socket(input, &mut record, offset_of!(ConnectionOwner, socket), id)?;
    Ok(record)
}

fn socket(input: &mut Unstructured<'_>, record: &mut [u8], at: usize, id: [u8; 8]) -> Result<()> {
    put(record, at + offset_of!(Socket, id), &id);
    let family = *input.choose(&[2u16, 2, 10, 0, 7])?;
    put(record, at + offset_of!(Socket, family), &family.to_ne_bytes());
    put(record, at + offset_of!(Socket, remote), &input.arbitrary::<[u8; 2]>()?);
    Ok(())
}

fn packet(input: &mut Unstructured<'_>, id: [u8; 8], direction: u8) -> Result<Vec<u8>> {
    type P = Packet<PACKET_LARGE>;
    let room = *input.choose(&[PACKET_SMALL, PACKET_SMALL, PACKET_LARGE])?;
    let mut record = vec![0; offset_of!(P, data) + room];
    let number = if input.ratio(1, 16)? { input.arbitrary()? } else { *input.choose(NUMBERS)? };
    let payload = payload(input, number)?;
    let len =
        if input.ratio(1, 16)? { length(input, room as u32)? } else { (payload.len().min(room) as u32).to_ne_bytes() };
    let flags: u16 = if input.ratio(1, 4)? { 1 << input.int_in_range(0..=5u8)? } else { 0 };
    put(&mut record, offset_of!(Head, kind), &kind::PACKET.to_ne_bytes());
    put(&mut record, offset_of!(P, connection), &id);
    put(&mut record, offset_of!(P, bytes), &input.arbitrary::<[u8; 2]>()?);
    put(&mut record, offset_of!(P, tgid), &tgid(input)?);
    put(&mut record, offset_of!(P, len), &len);
    put(&mut record, offset_of!(P, flags), &flags.to_ne_bytes());
    put(&mut record, offset_of!(P, message), &[number, if input.ratio(1, 64)? { 2 } else { direction }]);
    put(&mut record, offset_of!(P, data), &payload);
    Ok(record)
}

const NUMBERS: &[u8] = &[
    message::DISCONNECT,
    message::KEXINIT,
    message::USERAUTH_REQUEST,
    message::USERAUTH_REQUEST,
    message::USERAUTH_FAILURE,
    message::USERAUTH_SUCCESS,
    message::USERAUTH_60,
    message::USERAUTH_61,
    message::GLOBAL_REQUEST,
    message::REQUEST_SUCCESS,
    message::REQUEST_FAILURE,
    message::CHANNEL_OPEN,
    message::CHANNEL_OPEN,
    message::CHANNEL_OPEN_CONFIRMATION,
    message::CHANNEL_OPEN_FAILURE,
    message::CHANNEL_EOF,
    message::CHANNEL_CLOSE,
    message::CHANNEL_REQUEST,
    message::CHANNEL_REQUEST,
    message::CHANNEL_SUCCESS,
    message::CHANNEL_FAILURE,
];

/// Fields of a message after its number: `b` a boolean, `n` a number, `s` any string, `k` a key; `m`, `o`, `r`, `g`: a
/// name that means something.
fn payload(input: &mut Unstructured<'_>, number: u8) -> Result<Vec<u8>> {
    let fields = match number {
        message::DISCONNECT => "nss",
        message::USERAUTH_REQUEST => "ssmbsk",
        message::USERAUTH_FAILURE => "sb",
        message::GLOBAL_REQUEST => "gbsn",
        message::CHANNEL_OPEN => "onnnsnsn",
        message::CHANNEL_OPEN_CONFIRMATION => "nnnn",
        message::CHANNEL_OPEN_FAILURE => "nnss",
        message::CHANNEL_REQUEST => "nrbs",
        _ => "n",
    };
    let mut bytes = Vec::new();
    for field in fields.bytes() {
        match field {
            b'b' => bytes.push(if input.ratio(1, 16)? { input.arbitrary()? } else { input.int_in_range(0..=1)? }),
            b'n' => bytes.extend(number_bytes(input)?),
            b'm' => name(input, METHODS, &mut bytes)?,
            b'o' => name(input, CHANNELS, &mut bytes)?,
            b'r' => name(input, REQUESTS, &mut bytes)?,
            b'g' => name(input, GLOBAL, &mut bytes)?,
            b'k' => {
                let key = key(input)?;
                string(input, &key, &mut bytes)?;
            }
            _ => text(input, &mut bytes)?,
        }
    }
    if input.ratio(1, 16)? {
        bytes.truncate(input.int_in_range(0..=bytes.len())?);
    }
    Ok(bytes)
}

const METHODS: &[&str] =
    &["none", "password", "publickey", "publickey-hostbound-v00@openssh.com", "keyboard-interactive", "hostbased"];
const CHANNELS: &[&str] = &["session", "direct-tcpip", "forwarded-tcpip", "x11", "direct-streamlocal@openssh.com"];
const REQUESTS: &[&str] = &[
    "exec",
    "shell",
    "subsystem",
    "pty-req",
    "env",
    "exit-status",
    "exit-signal",
    "x11-req",
    "auth-agent-req@openssh.com",
];
const GLOBAL: &[&str] =
    &["tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "keepalive@openssh.com"];
const LISTS: &[&str] =
    &["curve25519-sha256,a", "chacha20-poly1305@openssh.com", "aes128-ctr,a", "hmac-sha2-256", "none", ",", "a\u{1}"];
const KINDS: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ssh-ed25519-cert-v01@openssh.com",
    "ssh-rsa-cert-v01@openssh.com",
    "-cert-v01@openssh.com",
];

fn name(input: &mut Unstructured<'_>, names: &[&str], bytes: &mut Vec<u8>) -> Result<()> {
    let name = input.choose(names)?.as_bytes();
    string(input, name, bytes)
}

fn text(input: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    let len = input.int_in_range(0..=24usize)?.min(input.len());
    let text = if input.ratio(1, 2)? { b"mysql -psecret; id" } else { input.bytes(len)? };
    string(input, text, bytes)
}

/// A length that is the string's, as a rule, and the string.
fn string(input: &mut Unstructured<'_>, text: &[u8], bytes: &mut Vec<u8>) -> Result<()> {
    let len = if input.ratio(1, 32)? { input.arbitrary()? } else { text.len() as u32 };
    bytes.extend(len.to_be_bytes());
    bytes.extend_from_slice(text);
    Ok(())
}

fn number_bytes(input: &mut Unstructured<'_>) -> Result<[u8; 4]> {
    Ok(if input.ratio(1, 16)? { input.arbitrary::<u32>()? } else { input.int_in_range(0..=4u32)? }.to_be_bytes())
}

/// A key's blob, or what a certificate has in it.
fn key(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut blob = Vec::new();
    name(input, KINDS, &mut blob)?;
    for field in "ssnnnslnnnnsssss".bytes().take(input.int_in_range(0..=16)?) {
        match field {
            b'n' => blob.extend(number_bytes(input)?),
            b'l' => {
                let mut list = Vec::new();
                for _ in 0..input.int_in_range(0..=3u8)? {
                    text(input, &mut list)?;
                }
                string(input, &list, &mut blob)?;
            }
            _ => text(input, &mut blob)?,
        }
    }
    Ok(blob)
}

fn clear(input: &mut Unstructured<'_>, id: [u8; 8], direction: u8, place: &mut u32) -> Result<Vec<u8>> {
    type C = Clear<CLEAR_LARGE>;
    let room = *input.choose(&[CLEAR_SMALL, CLEAR_LARGE])?;
    let mut record = vec![0; offset_of!(C, data) + room];
    let mut data = if *place == 0 { b"SSH-2.0-x\r\n".to_vec() } else { Vec::new() };
    for _ in 0..input.int_in_range(0..=3u8)? {
        clear_packet(input, &mut data)?;
    }
    // A piece can end anywhere.
    if input.ratio(1, 8)? {
        data.truncate(input.int_in_range(0..=data.len())?);
    }
    data.truncate(room);
    let offset = if input.ratio(1, 32)? { input.arbitrary()? } else { *place };
    *place = place.wrapping_add(data.len() as u32);
    let len = if input.ratio(1, 32)? { length(input, room as u32)? } else { (data.len() as u32).to_ne_bytes() };
    let flags: u16 = if input.ratio(1, 16)? { 1 << input.int_in_range(0..=3u8)? } else { 0 };
    put(&mut record, offset_of!(Head, kind), &kind::CLEAR.to_ne_bytes());
    socket(input, &mut record, offset_of!(C, socket), id)?;
    put(&mut record, offset_of!(C, offset), &offset.to_ne_bytes());
    put(&mut record, offset_of!(C, len), &len);
    put(&mut record, offset_of!(C, flags), &flags.to_ne_bytes());
    put(&mut record, offset_of!(C, direction), &[direction]);
    put(&mut record, offset_of!(C, data), &data);
    Ok(record)
}

/// A binary packet (RFC 4253, 6) of the key exchange.
fn clear_packet(input: &mut Unstructured<'_>, data: &mut Vec<u8>) -> Result<()> {
    let mut payload = vec![*input.choose(&[20u8, 20, 20, 30, 31, 33, 21, 1, 2])?];
    match payload.first() {
        Some(20) => {
            payload.extend([input.arbitrary::<u8>()?; 16]);
            for _ in 0..10 {
                name(input, LISTS, &mut payload)?;
            }
            payload.extend([0; 5]);
        }
        Some(31 | 33) => {
            let key = key(input)?;
            string(input, &key, &mut payload)?;
            text(input, &mut payload)?;
        }
        Some(1) => payload.extend([&number_bytes(input)?[..], b"\0\0\0\x01x\0\0\0\0"].concat()),
        _ => {}
    }
    let padding: u8 = if input.ratio(1, 32)? { input.arbitrary()? } else { 4 };
    let len = payload.len() as u32 + 5;
    let len = if input.ratio(1, 32)? { input.arbitrary()? } else { len };
    data.extend(len.to_be_bytes());
    data.push(padding);
    data.extend(payload);
    data.extend([0; 4]);
    Ok(())
}
