//! The protocol's bytes against ssh-keygen, published values and every way in which a stream can be cut.

use std::{fs, path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sensor_common::ssh::message as number;

use super::*;
use crate::event::ssh::{ClearLoss, Direction, KexInit, MalformedWhat, Message, Request};

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn run(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

struct Keys(PathBuf);

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Keys {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sensor-keys-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn generate(&self, name: &str, args: &[&str]) -> Option<PathBuf> {
        let path = self.0.join(name);
        run(Command::new("ssh-keygen").args(["-q", "-N", "", "-C", ""]).args(args).arg("-f").arg(&path))?;
        Some(path.with_extension("pub"))
    }
}

fn blob(path: &PathBuf) -> Vec<u8> {
    STANDARD.decode(fs::read_to_string(path).unwrap().split(' ').nth(1).unwrap().trim()).unwrap()
}

fn shown(path: &PathBuf) -> String {
    run(Command::new("ssh-keygen").arg("-lf").arg(path)).unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    let keys = Keys::new("plain");
    for (name, args) in
        [("ed25519", &["-t", "ed25519"][..]), ("rsa", &["-t", "rsa", "-b", "2048"]), ("ecdsa", &["-t", "ecdsa"])]
    {
        let Some(path) = keys.generate(name, args) else { return eprintln!("ssh-keygen is not here: not compared") };
        let key = key::read(&blob(&path));
        assert_eq!(key.fingerprint.unwrap(), shown(&path), "{name}");
        assert!(key.certificate.is_none());
    }
}

#[test]
fn a_certificate_has_the_fingerprint_of_its_key_and_names_its_authority() {
    let keys = Keys::new("certificate");
    let Some(ca) = keys.generate("ca", &["-t", "ed25519"]) else { return };
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let path = keys.generate(kind, &["-t", kind]).unwrap();
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-s"])
            .arg(ca.with_extension(""))
            .args(["-I", "some id", "-z", "9", "-n", "root,alice"])
            .arg(&path);
        run(&mut sign).unwrap();
        let key = key::read(&blob(&keys.0.join(format!("{kind}-cert.pub"))));
        assert_eq!(key.fingerprint.unwrap(), shown(&path), "{kind}");
        let certificate = key.certificate.unwrap();
        assert_eq!((certificate.key_id.as_slice(), certificate.serial), (&b"some id"[..], 9));
        assert_eq!(certificate.principals, ["root", "alice"].map(|name| serde_bytes::ByteBuf::from(name.as_bytes())));
        assert_eq!(certificate.ca_fingerprint.unwrap(), shown(&ca));
    }
}

#[test]
fn published_values_come_out() {
    let ends = ["128.232.110.120:34855", "66.35.250.204:80"].map(|end| end.parse().unwrap());
    assert_eq!(fingerprint::community_id(ends[0], ends[1]), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    assert_eq!(fingerprint::community_id(ends[1], ends[0]), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    let list = |text: &str| serde_bytes::ByteBuf::from(text.as_bytes());
    let kex = KexInit {
        kex: list("k"),
        cipher_client: list("c"),
        mac_client: list("m"),
        compression_client: list("z"),
        ..KexInit::default()
    };
    // printf 'k;c;m;z' | md5sum
    assert_eq!(fingerprint::hassh_client(&kex), "a43df007d8e88e96ede733eff566209f");
}

#[test]
fn what_both_have_first_on_the_clients_list_is_agreed() {
    let list = |text: &str| serde_bytes::ByteBuf::from(text.as_bytes());
    let of = |kex, cipher, mac| KexInit {
        kex: list(kex),
        cipher_client: list(cipher),
        cipher_server: list(cipher),
        mac_client: list(mac),
        mac_server: list(mac),
        ..KexInit::default()
    };
    let client = of("ext-info-c,a,b", "aes128-ctr,aes128-gcm@openssh.com", "hmac-sha2-256");
    let server = of("b,ext-info-c,a", "aes128-gcm@openssh.com,aes128-ctr", "hmac-md5,hmac-sha2-256");
    let agreed = fingerprint::negotiate(&client, &server);
    assert_eq!((agreed.kex.as_deref(), agreed.cipher_client.as_deref()), (Some("a"), Some("aes128-ctr")));
    assert_eq!(agreed.mac_server.as_deref(), Some("hmac-sha2-256"));
    let implicit =
        fingerprint::negotiate(&of("a", "aes256-gcm@openssh.com", "x"), &of("a", "aes256-gcm@openssh.com", "x"));
    assert_eq!(implicit.mac_client, None);
}

/// A binary packet (RFC 4253, 6).
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let mut bytes = ((payload.len() + padding + 1) as u32).to_be_bytes().to_vec();
    bytes.push(padding as u8);
    bytes.extend(payload);
    bytes.extend(vec![0; padding]);
    bytes
}

fn server_stream() -> Vec<u8> {
    let mut kexinit = vec![number::KEXINIT];
    kexinit.extend([9; 16]);
    for list in ["kex", "host", "c", "c", "m", "m", "none", "none", "", ""] {
        kexinit.extend(string(list.as_bytes()));
    }
    kexinit.extend([0; 5]);
    let key = [string(b"ssh-ed25519"), string(&[5; 32])].concat();
    let reply = [vec![31], string(&key), string(&[1; 32]), string(&[2; 64])].concat();
    [
        b"a line before\r\nSSH-2.0-Test_1.0 comment\r\n".to_vec(),
        packet(&kexinit),
        packet(&reply),
        packet(&[number::NEWKEYS]),
    ]
    .concat()
}

fn read(pieces: &[(usize, &[u8])], last: bool) -> Vec<Message> {
    let mut streams = Streams::default();
    let mut recorded = Vec::new();
    for (n, (offset, data)) in pieces.iter().enumerate() {
        let flags = if last && n + 1 == pieces.len() { sensor_common::ssh::clear_flag::LAST } else { 0 };
        let piece = Piece { connection: 1, direction: Direction::In, offset: *offset as u32, flags, data };
        streams.take(&piece, |message| recorded.push(message));
    }
    recorded
}

#[test]
fn a_clear_phase_reads_the_same_however_it_is_cut() {
    let stream = server_stream();
    let whole = read(&[(0, &stream)], true);
    assert!(
        matches!(&whole[..], [Message::Identification(name), Message::KexInit(_), Message::HostKey(_), Message::NewKeys]
            if name.as_slice() == b"Test_1.0 comment"),
        "{whole:?}"
    );
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(read(&[(0, head), (at, tail)], true), whole, "cut at {at}");
        // The second piece begins with bytes that were there.
        let again = at.saturating_sub(7);
        assert_eq!(read(&[(0, head), (again, &stream[again..])], true), whole, "overlap at {at}");
    }
    let bytes: Vec<(usize, &[u8])> = stream.chunks(1).enumerate().collect();
    assert_eq!(read(&bytes, true), whole);
}

#[test]
fn what_is_missing_or_no_ssh_is_said_once() {
    let stream = server_stream();
    let gap = read(&[(0, &stream[..100]), (120, &stream[120..]), (300, &stream[300..])], true);
    assert_eq!(gap.iter().filter(|m| matches!(m, Message::ClearLost(_))).count(), 1);
    assert_eq!(gap.last(), Some(&Message::ClearLost(ClearLoss::Gap)));
    assert_eq!(read(&[(0, &stream[..100])], true).last(), Some(&Message::ClearLost(ClearLoss::Limit)));
    let junk = [b"SSH-2.0-x\r\n".to_vec(), vec![0xff; 100]].concat();
    assert_eq!(read(&[(0, &junk)], false).last(), Some(&Message::ClearLost(ClearLoss::Malformed)));
    assert_eq!(read(&[(0, &[b'x'; 5000])], false), [Message::ClearLost(ClearLoss::Malformed)]);
}

#[test]
fn requests_for_authentication_have_their_method_and_key() {
    let head = [string(b"alice"), string(b"ssh-connection")].concat();
    let password = [head.clone(), string(b"password")].concat();
    let Some(Message::AuthRequest(request)) = message(number::USERAUTH_REQUEST, &password, false, 0) else { panic!() };
    assert_eq!((request.user.as_slice(), request.method.as_slice()), (&b"alice"[..], &b"password"[..]));
    assert!(request.key.is_none() && !request.signed);
    let key = [string(b"ssh-ed25519"), string(&[5; 32])].concat();
    let method = string(b"publickey-hostbound-v00@openssh.com");
    let signed = [head, method, vec![1], string(b"ssh-ed25519"), string(&key)].concat();
    let Some(Message::AuthRequest(request)) = message(number::USERAUTH_REQUEST, &signed, false, 0) else { panic!() };
    assert_eq!(request.method.as_slice(), b"publickey");
    assert!(request.signed && request.key.unwrap().fingerprint.unwrap().starts_with("SHA256:"));
    // Cut inside the key: no fingerprint rather than a wrong one.
    let cut = message(number::USERAUTH_REQUEST, &signed[..signed.len() - 5], true, 0);
    assert!(matches!(cut, Some(Message::AuthRequest(request)) if request.key.as_ref().unwrap().fingerprint.is_none()));
    let short = message(number::USERAUTH_REQUEST, &signed[..signed.len() - 5], false, 0);
    assert_eq!(short, Some(Message::Malformed { number: 50, what: MalformedWhat::Length }));
}

#[test]
fn secrets_in_a_command_line_go_before_anybody_sees_them() {
    let line = b"docker login -u ci -p hunter2 registry";
    let payload = [0u32.to_be_bytes().to_vec(), string(b"exec"), vec![1], string(line)].concat();
    let Some(Message::ChannelRequest { request: Request::Exec { line, redacted }, .. }) =
        message(number::CHANNEL_REQUEST, &payload, false, 0)
    else {
        panic!()
    };
    assert!(redacted && !String::from_utf8_lossy(&line).contains("hunter2"));
}

#[test]
fn no_prefix_of_a_message_panics() {
    let payload = [0u32.to_be_bytes().to_vec(), string(b"exit-signal"), vec![0], string(b"TERM"), vec![0]].concat();
    for n in 0..=255 {
        for len in 0..=payload.len() {
            for cut in [false, true] {
                let _ = message(n, &payload[..len], cut, 0);
            }
        }
    }
}
