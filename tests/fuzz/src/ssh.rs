//! Messages of SSH connections, in any order and from anybody.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sensor::event::{
    host_key::{Checking, Entry, KnownHosts, Marker},
    ssh::{
        AuthRequest, Bound, ChannelOpen, ClearLoss, Direction, KexInit, Key, MalformedWhat, Message, Packet, Request,
    },
    stream::What,
};
use serde_bytes::ByteBuf;

use crate::stream::{address, bytes, maybe, number, process, small, text};

pub(crate) fn what(input: &mut Unstructured<'_>) -> Result<What> {
    let connection = number(input, 5)?;
    Ok(match input.int_in_range(0..=15u8)? {
        0 => What::SshBound(Bound {
            process: process(input)?,
            connection,
            endpoints: maybe(input, |input| Ok((address(input)?, address(input)?)))?,
        }),
        1 => What::KnownHosts(Box::new(KnownHosts {
            connection,
            entries: vec![Entry {
                marker: *input.choose(&[Marker::None, Marker::Authority, Marker::Revoked])?,
                same_key: input.arbitrary()?,
                named: input.arbitrary()?,
                late: input.arbitrary()?,
            }],
            complete: input.arbitrary()?,
            checking: maybe(input, |input| Ok(*input.choose(&[Checking::Ask, Checking::Off])?))?,
        })),
        _ => What::Ssh(Box::new(Packet {
            connection,
            process: maybe(input, process)?,
            endpoints: maybe(input, |input| Ok((address(input)?, address(input)?)))?,
            direction: *input.choose(&[Direction::In, Direction::Out])?,
            before_mac: input.arbitrary()?,
            cut: input.arbitrary()?,
            message: message(input)?,
        })),
    })
}

fn message(input: &mut Unstructured<'_>) -> Result<Message> {
    let buf = |input: &mut Unstructured<'_>| Ok(ByteBuf::from(bytes(input)?));
    let recipient = small(input)?;
    Ok(match input.int_in_range(0..=24u8)? {
        0 => Message::Identification(buf(input)?),
        1 => Message::KexInit(Box::new(kexinit(input)?)),
        2 => Message::KexStart,
        3 => Message::HostKey(key(input)?),
        4 => Message::NewKeys,
        5 => Message::ClearLost(*input.choose(&[ClearLoss::Gap, ClearLoss::Malformed, ClearLoss::Limit])?),
        6 => Message::Disconnect { reason: small(input)?, description: buf(input)? },
        7 => Message::Rekey,
        8 => Message::AuthRequest(Box::new(AuthRequest {
            user: buf(input)?,
            method: buf(input)?,
            key: maybe(input, key)?,
            signed: input.arbitrary()?,
        })),
        9 => Message::AuthFailure { methods: buf(input)?, partial: input.arbitrary()? },
        10 => Message::AuthSuccess,
        11 => Message::AuthAsk,
        12 => Message::AuthAnswer,
        13 => Message::GlobalRequest {
            name: ByteBuf::from(*input.choose(&["tcpip-forward", "x"])?),
            wants_reply: input.arbitrary()?,
            bind: maybe(input, |input| Ok((ByteBuf::from(bytes(input)?), small(input)?)))?,
            path: None,
        },
        14 => Message::RequestSuccess { port: maybe(input, small)? },
        15 => Message::RequestFailure,
        16 | 17 => Message::ChannelOpen(Box::new(ChannelOpen {
            kind: buf(input)?,
            sender: small(input)?,
            destination: None,
            originator: None,
            path: maybe(input, |input| Ok(ByteBuf::from(bytes(input)?)))?,
        })),
        18 => Message::ChannelConfirmed { recipient, sender: small(input)? },
        19 => Message::ChannelRefused { recipient, reason: small(input)?, description: buf(input)? },
        20 => Message::ChannelClose { recipient, bytes: input.arbitrary()? },
        21 => {
            let wants_reply = input.arbitrary()?;
            let request = match input.int_in_range(0..=3u8)? {
                0 => Request::Exec { line: buf(input)?, redacted: false },
                1 => Request::Shell,
                2 => Request::ExitStatus(small(input)?),
                _ => Request::ExitSignal(buf(input)?),
            };
            Message::ChannelRequest { recipient, wants_reply, request }
        }
        22 => Message::ChannelSuccess { recipient },
        23 => Message::Compressed,
        _ => Message::Malformed { number: input.arbitrary()?, what: MalformedWhat::Value },
    })
}

fn kexinit(input: &mut Unstructured<'_>) -> Result<KexInit> {
    let mut list = || Ok::<_, libfuzzer_sys::arbitrary::Error>(ByteBuf::from(*input.choose(&["a", "b", "a,b", ""])?));
    Ok(KexInit {
        cookie: [1; 16],
        kex: list()?,
        host_key: list()?,
        cipher_client: list()?,
        cipher_server: list()?,
        mac_client: list()?,
        mac_server: list()?,
        compression_client: list()?,
        compression_server: list()?,
    })
}

fn key(input: &mut Unstructured<'_>) -> Result<Key> {
    Ok(Key { kind: ByteBuf::from(bytes(input)?), fingerprint: maybe(input, text)?, certificate: None })
}
