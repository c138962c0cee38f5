//! Public keys and certificates: type and fingerprint, as `ssh-keygen -lf` shows them.
//!
//! A key's blob begins with its type (RFC 4253, 6.6). A certificate (OpenSSH's PROTOCOL.certkeys) has the fields of the
//! plain key inside: type, nonce, these fields, serial, kind, key id, principals, validity, options, CA key, signature.
//! Its fingerprint is the plain key's, so that is put together again and hashed.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};

use super::reader::{Reader, Result};
use crate::event::ssh::{Certificate, Key};

const CERTIFICATE: &[u8] = b"-cert-v01@openssh.com";
/// Principals that are kept; OpenSSH allows 256.
const PRINCIPALS_MAX: usize = 256;

/// `SHA256:` and base64 without padding.
pub(super) fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// A key whose blob was cut: by its algorithm only.
pub(super) fn unread(algorithm: &[u8]) -> Key {
    let kind: &[u8] = match algorithm {
        b"rsa-sha2-256" | b"rsa-sha2-512" => b"ssh-rsa",
        other => other,
    };
    Key { kind: ByteBuf::from(kind.to_vec()), fingerprint: None, certificate: None }
}

/// A whole blob.
pub(super) fn read(blob: &[u8]) -> Key {
    let Ok(kind) = Reader::new(blob, false).string() else { return unread(b"") };
    let plain = Key { kind: ByteBuf::from(kind.to_vec()), fingerprint: Some(fingerprint(blob)), certificate: None };
    let Some(base) = kind.strip_suffix(CERTIFICATE) else { return plain };
    match certificate(blob, base) {
        Ok((fingerprint, certificate)) => {
            Key { fingerprint: Some(fingerprint), certificate: Some(certificate), ..plain }
        }
        // Says that it is a certificate and is none: no fingerprint that could be taken for a key's.
        Err(_) => Key { fingerprint: None, ..plain },
    }
}

fn certificate(blob: &[u8], base: &[u8]) -> Result<(String, Certificate)> {
    let mut reader = Reader::new(blob, false);
    reader.string()?; // type
    reader.string()?; // nonce
    // sk-ssh-ed25519@openssh.com-cert... is not the pattern: the certificate's name drops the vendor, the key's keeps
    // it.
    let (name, fields): (Vec<u8>, usize) = match base {
        b"ssh-rsa" => (base.to_vec(), 2),
        b"ssh-dss" => (base.to_vec(), 4),
        b"sk-ssh-ed25519" => ([base, b"@openssh.com"].concat(), 2),
        b"sk-ecdsa-sha2-nistp256" => ([base, b"@openssh.com"].concat(), 3),
        _ if base.starts_with(b"ecdsa-sha2-") => (base.to_vec(), 2),
        _ => (base.to_vec(), 1),
    };
    let mut plain = Vec::new();
    let mut put = |bytes: &[u8]| {
        plain.extend((bytes.len() as u32).to_be_bytes());
        plain.extend_from_slice(bytes);
    };
    put(&name);
    for _ in 0..fields {
        put(reader.string()?);
    }
    let serial = reader.u64()?;
    let _kind = reader.u32()?;
    let key_id = ByteBuf::from(reader.string()?.to_vec());
    let mut list = Reader::new(reader.string()?, false);
    let mut principals = Vec::new();
    while !list.is_empty() && principals.len() < PRINCIPALS_MAX {
        principals.push(ByteBuf::from(list.string()?.to_vec()));
    }
    let _validity = (reader.u64()?, reader.u64()?);
    let _options = (reader.string()?, reader.string()?, reader.string()?);
    let ca = reader.string()?;
    Ok((fingerprint(&plain), Certificate { key_id, serial, principals, ca_fingerprint: Some(fingerprint(ca)) }))
}
