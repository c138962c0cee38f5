//! A decrypted packet's payload to a message. The fields are those that the kernel's allow-list lets pass
//! (`sensor-ebpf/src/ssh/allow.rs`), in their order on the wire.

use sensor_common::ssh::message as number;
use serde_bytes::ByteBuf;

use super::{
    key,
    reader::{Reader, Result},
};
use crate::{
    decode::redact::redact_line,
    event::ssh::{AuthRequest, ChannelOpen, MalformedWhat, Message, Request},
};

/// What the payload of message `n` after its number says. None: no message of ours.
pub(in crate::decode) fn message(n: u8, payload: &[u8], cut: bool, bytes: u64) -> Option<Message> {
    let reader = Reader::new(payload, cut);
    Some(read(n, reader, bytes)?.unwrap_or_else(|what| Message::Malformed { number: n, what }))
}

fn read(n: u8, mut reader: Reader<'_>, bytes: u64) -> Option<Result<Message>> {
    let reader = &mut reader;
    Some(match n {
        number::DISCONNECT => disconnect(reader),
        number::KEXINIT => Ok(Message::Rekey),
        number::USERAUTH_REQUEST => auth_request(reader),
        number::USERAUTH_FAILURE => auth_failure(reader),
        number::USERAUTH_SUCCESS => Ok(Message::AuthSuccess),
        number::USERAUTH_60 => Ok(Message::AuthAsk),
        number::USERAUTH_61 => Ok(Message::AuthAnswer),
        number::GLOBAL_REQUEST => global_request(reader),
        // Another request's answer has other contents, which were not copied.
        number::REQUEST_SUCCESS => Ok(Message::RequestSuccess { port: reader.u32().ok() }),
        number::REQUEST_FAILURE => Ok(Message::RequestFailure),
        number::CHANNEL_OPEN => channel_open(reader),
        number::CHANNEL_OPEN_CONFIRMATION => confirmed(reader),
        number::CHANNEL_OPEN_FAILURE => refused(reader),
        number::CHANNEL_EOF => reader.u32().map(|recipient| Message::ChannelEof { recipient, bytes }),
        number::CHANNEL_CLOSE => reader.u32().map(|recipient| Message::ChannelClose { recipient, bytes }),
        number::CHANNEL_REQUEST => channel_request(reader),
        number::CHANNEL_SUCCESS => reader.u32().map(|recipient| Message::ChannelSuccess { recipient }),
        number::CHANNEL_FAILURE => reader.u32().map(|recipient| Message::ChannelFailure { recipient }),
        _ => return None,
    })
}

fn text(bytes: &[u8]) -> ByteBuf {
    ByteBuf::from(bytes.to_vec())
}

fn disconnect(reader: &mut Reader<'_>) -> Result<Message> {
    Ok(Message::Disconnect { reason: reader.u32()?, description: text(reader.string()?) })
}

fn auth_request(reader: &mut Reader<'_>) -> Result<Message> {
    let user = text(reader.string()?);
    let _service = reader.string()?;
    let method = reader.string()?;
    let (mut key, mut signed) = (None, false);
    let method: &[u8] = match method {
        b"publickey" | b"publickey-hostbound-v00@openssh.com" => {
            signed = reader.boolean()?;
            key = Some(offered(reader)?);
            b"publickey"
        }
        b"hostbased" => {
            signed = true;
            key = Some(offered(reader)?);
            method
        }
        other => other,
    };
    Ok(Message::AuthRequest(Box::new(AuthRequest { user, method: text(method), key, signed })))
}

/// Signature algorithm, then the key's blob.
fn offered(reader: &mut Reader<'_>) -> Result<crate::event::ssh::Key> {
    let algorithm = reader.string()?;
    Ok(match reader.whole_string()? {
        Some(blob) => key::read(blob),
        // The algorithm names the key's type, but for RSA, where it names the hash too.
        None => key::unread(algorithm),
    })
}

fn auth_failure(reader: &mut Reader<'_>) -> Result<Message> {
    Ok(Message::AuthFailure { methods: text(reader.string()?), partial: reader.boolean()? })
}

fn global_request(reader: &mut Reader<'_>) -> Result<Message> {
    let name = reader.string()?;
    let wants_reply = reader.boolean()?;
    let (mut bind, mut path) = (None, None);
    match name {
        b"tcpip-forward" | b"cancel-tcpip-forward" => bind = Some((text(reader.string()?), reader.u32()?)),
        b"streamlocal-forward@openssh.com" | b"cancel-streamlocal-forward@openssh.com" => {
            path = Some(text(reader.string()?));
        }
        _ => {}
    }
    Ok(Message::GlobalRequest { name: text(name), wants_reply, bind, path })
}

fn channel_open(reader: &mut Reader<'_>) -> Result<Message> {
    let kind = reader.string()?;
    let sender = reader.u32()?;
    let _window = reader.u32()?;
    let _packet_max = reader.u32()?;
    let mut open = ChannelOpen { kind: text(kind), sender, destination: None, originator: None, path: None };
    let endpoint = |reader: &mut Reader<'_>| -> Result<_> { Ok((text(reader.string()?), reader.u32()?)) };
    match kind {
        b"direct-tcpip" | b"forwarded-tcpip" => {
            open.destination = Some(endpoint(reader)?);
            open.originator = Some(endpoint(reader)?);
        }
        b"x11" => open.originator = Some(endpoint(reader)?),
        b"direct-streamlocal@openssh.com" | b"forwarded-streamlocal@openssh.com" => {
            open.path = Some(text(reader.string()?));
        }
        _ => {}
    }
    Ok(Message::ChannelOpen(Box::new(open)))
}

fn confirmed(reader: &mut Reader<'_>) -> Result<Message> {
    Ok(Message::ChannelConfirmed { recipient: reader.u32()?, sender: reader.u32()? })
}

fn refused(reader: &mut Reader<'_>) -> Result<Message> {
    let (recipient, reason) = (reader.u32()?, reader.u32()?);
    Ok(Message::ChannelRefused { recipient, reason, description: text(reader.string()?) })
}

fn channel_request(reader: &mut Reader<'_>) -> Result<Message> {
    let recipient = reader.u32()?;
    let name = reader.string()?;
    let wants_reply = reader.boolean()?;
    let request = match name {
        b"exec" => exec(reader.string()?),
        b"shell" => Request::Shell,
        b"subsystem" => Request::Subsystem(text(reader.string()?)),
        b"pty-req" => Request::Pty,
        b"env" => Request::Env(text(reader.string()?)),
        b"exit-status" => Request::ExitStatus(reader.u32()?),
        b"exit-signal" => Request::ExitSignal(text(reader.string()?)),
        // Names are at most 64 characters of US-ASCII (RFC 4251, 6); anything else is no request.
        other if other.len() <= 64 && other.iter().all(u8::is_ascii_graphic) => Request::Other(text(other)),
        _ => return Err(MalformedWhat::Value),
    };
    Ok(Message::ChannelRequest { recipient, wants_reply, request })
}

fn exec(line: &[u8]) -> Request {
    match redact_line(line) {
        Some(clean) => Request::Exec { line: clean.into(), redacted: true },
        None => Request::Exec { line: text(line), redacted: false },
    }
}
