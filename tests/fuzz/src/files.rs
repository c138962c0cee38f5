//! Files of users: known_hosts and ssh's configuration, and ssh's arguments.
//!
//! The first byte says how the rest is cut into pieces. Asserted: what is found stays within its bounds, and a file
//! that is larger than what is looked at says so.

use sensor::{
    decode::ssh::{
        known_hosts::{Wanted, read},
        settings::Settings,
    },
    event::ssh::{Certificate, Key},
};
use serde_bytes::ByteBuf;

/// More says nothing that these do not.
const ENTRIES_MAX: usize = 16;

pub fn run(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else { return };
    let (left, right) = data.split_at(data.len() * usize::from(*cut) / 256);
    let certificate = Certificate {
        key_id: ByteBuf::new(),
        serial: 0,
        principals: Vec::new(),
        // The fingerprint of a blob of no bytes: an entry may well hold it.
        ca_fingerprint: Some("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into()),
    };
    let key = Key {
        kind: ByteBuf::from("ssh-ed25519"),
        fingerprint: certificate.ca_fingerprint.clone(),
        certificate: Some(certificate),
    };
    let names = ["a", "[a]:1"].map(str::to_owned);
    let wanted = Wanted { key: &key, names: &names, hosts: &names };
    for written in [false, true] {
        let (entries, _) = read(data, &wanted, written);
        assert!(entries.len() <= ENTRIES_MAX, "{} entries", entries.len());
    }
    let mut settings = Settings::of_arguments(left.split(|byte| *byte == 0));
    let mut included = 0;
    settings.read(right, &mut |_| {
        included += 1;
        // As `host` does: not without end.
        if included < 64 { vec![left.to_vec(), right.to_vec()] } else { Vec::new() }
    });
}
