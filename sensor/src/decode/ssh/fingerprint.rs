//! What two KEXINITs and two endpoints say about a connection: the algorithms agreed on, HASSH, connection id,
//! Community ID.

use std::net::{IpAddr, SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::event::ssh::KexInit;

/// The algorithms of a connection (RFC 4253, 7.1): the first of the client's that the server has too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    pub kex: Option<String>,
    pub host_key: Option<String>,
    pub cipher_client: Option<String>,
    pub cipher_server: Option<String>,
    /// None where the cipher authenticates by itself.
    pub mac_client: Option<String>,
    pub mac_server: Option<String>,
    pub compression_client: Option<String>,
    pub compression_server: Option<String>,
}

/// Names in a KEXINIT that say what an implementation can do and are no methods (RFC 8308, OpenSSH's PROTOCOL).
const MARKERS: &[&str] = &["ext-info-c", "ext-info-s", "kex-strict-c-v00@openssh.com", "kex-strict-s-v00@openssh.com"];

/// What both will use; a field is None where they have nothing in common.
pub fn negotiate(client: &KexInit, server: &KexInit) -> Negotiated {
    let cipher_client = common(&client.cipher_client, &server.cipher_client);
    let cipher_server = common(&client.cipher_server, &server.cipher_server);
    let mac = |cipher: &Option<String>, client: &[u8], server: &[u8]| match cipher {
        Some(cipher) if authenticates(cipher) => None,
        _ => common(client, server),
    };
    Negotiated {
        kex: common(&client.kex, &server.kex),
        host_key: common(&client.host_key, &server.host_key),
        mac_client: mac(&cipher_client, &client.mac_client, &server.mac_client),
        mac_server: mac(&cipher_server, &client.mac_server, &server.mac_server),
        cipher_client,
        cipher_server,
        compression_client: common(&client.compression_client, &server.compression_client),
        compression_server: common(&client.compression_server, &server.compression_server),
    }
}

/// Leaves of both what they agreed on, by which `negotiate` says the same: the lists are kilobytes for each connection.
/// HASSH is to be taken before.
pub fn keep_agreed(client: &mut KexInit, server: &mut KexInit) {
    let agreed = negotiate(client, server);
    for side in [client, server] {
        for (list, name) in [
            (&mut side.kex, &agreed.kex),
            (&mut side.host_key, &agreed.host_key),
            (&mut side.cipher_client, &agreed.cipher_client),
            (&mut side.cipher_server, &agreed.cipher_server),
            (&mut side.mac_client, &agreed.mac_client),
            (&mut side.mac_server, &agreed.mac_server),
            (&mut side.compression_client, &agreed.compression_client),
            (&mut side.compression_server, &agreed.compression_server),
        ] {
            *list = name.as_deref().unwrap_or_default().as_bytes().to_vec().into();
        }
    }
}

/// Does the cipher bring its own MAC?
pub fn authenticates(cipher: &str) -> bool {
    cipher == "chacha20-poly1305@openssh.com" || cipher.ends_with("-gcm@openssh.com")
}

fn common(client: &[u8], server: &[u8]) -> Option<String> {
    let (client, server) = (str::from_utf8(client).ok()?, str::from_utf8(server).ok()?);
    let found = client
        .split(',')
        .find(|name| !name.is_empty() && !MARKERS.contains(name) && server.split(',').any(|other| other == *name))?;
    Some(found.to_owned())
}

/// HASSH of a client: MD5 of its key exchange, cipher, MAC and compression lists towards the server.
pub fn hassh_client(kex: &KexInit) -> String {
    hassh([&kex.kex, &kex.cipher_client, &kex.mac_client, &kex.compression_client])
}

/// hasshServer: the same of a server, towards the client.
pub fn hassh_server(kex: &KexInit) -> String {
    hassh([&kex.kex, &kex.cipher_server, &kex.mac_server, &kex.compression_server])
}

fn hassh(lists: [&[u8]; 4]) -> String {
    hex::encode(Md5::digest(lists.join(&b';')))
}

/// `ssh.connection.id`: the same on both ends of a connection, whatever lies between.
pub fn connection_id(client_cookie: &[u8; 16], server_cookie: &[u8; 16]) -> String {
    let hash = Sha256::new().chain_update(client_cookie).chain_update(server_cookie).finalize();
    hex::encode(hash.get(..16).unwrap_or_default())
}

/// Community ID v1 with seed 0, of a TCP connection.
pub fn community_id(one: SocketAddr, other: SocketAddr) -> String {
    const TCP: u8 = 6;
    let key = |end: SocketAddr| (octets(end.ip()), end.port());
    let (low, high) = if key(one) <= key(other) { (one, other) } else { (other, one) };
    let hash = Sha1::new()
        .chain_update(0u16.to_be_bytes())
        .chain_update(octets(low.ip()))
        .chain_update(octets(high.ip()))
        .chain_update([TCP, 0])
        .chain_update(low.port().to_be_bytes())
        .chain_update(high.port().to_be_bytes())
        .finalize();
    format!("1:{}", STANDARD.encode(hash))
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kexinit(cookie: u8, lists: [&str; 8]) -> KexInit {
        let [kex, host_key, cipher_client, cipher_server, mac_client, mac_server, none, zlib] =
            lists.map(|list| list.as_bytes().to_vec().into());
        let cookie = [cookie; 16];
        let (compression_client, compression_server) = (none, zlib);
        KexInit {
            cookie,
            kex,
            host_key,
            cipher_client,
            cipher_server,
            mac_client,
            mac_server,
            compression_client,
            compression_server,
        }
    }

    #[test]
    fn what_was_agreed_on_is_all_that_is_needed_of_the_lists() {
        let gcm = "aes128-gcm@openssh.com";
        let client = kexinit(1, ["k2,k1", "h", &format!("{gcm},c1"), "c1,c2", "m1", "m2,m1", "none", "zlib,none"]);
        for server in [
            kexinit(2, ["k1,k2", "g,h", gcm, "c2,c1", "m1", "m1", "none", "none"]),
            kexinit(2, ["k3", "h", "c1", "c2", "m3", "m1", "none", "none"]),
        ] {
            let (mut one, mut other) = (client.clone(), server.clone());
            keep_agreed(&mut one, &mut other);
            assert_eq!(negotiate(&one, &other), negotiate(&client, &server));
            assert_eq!((one.cookie, other.cookie), (client.cookie, server.cookie));
            assert!(!one.kex.contains(&b','));
        }
    }
}
