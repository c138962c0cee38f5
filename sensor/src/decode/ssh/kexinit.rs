//! SSH_MSG_KEXINIT (RFC 4253, 7.1).

use serde_bytes::ByteBuf;

use super::reader::{Reader, Result};
use crate::event::ssh::{KexInit, MalformedWhat};

/// The payload after the message number.
pub(super) fn read(payload: &[u8]) -> Result<KexInit> {
    let mut reader = Reader::new(payload, false);
    let cookie = reader.array()?;
    let mut list = || -> Result<ByteBuf> {
        let names = reader.string()?;
        // Names are printable US-ASCII without commas, and commas part them (RFC 4251, 5).
        if names.iter().all(u8::is_ascii_graphic) {
            Ok(ByteBuf::from(names.to_vec()))
        } else {
            Err(MalformedWhat::Value)
        }
    };
    Ok(KexInit {
        cookie,
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
