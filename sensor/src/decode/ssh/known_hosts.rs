//! Files in the format of known_hosts (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): what they say of one key and one
//! server.
//!
//! What enters: a file's bytes, any bytes, written by its owner. What leaves: the entries that hold the key, or
//! another key of its type for the same server. A line that cannot be read is passed over, as OpenSSH does. The crate
//! `ssh-key` was tried: it takes one blank between fields where OpenSSH takes any, and knows the key types of its day.
//! Bounds: the caller's on the file, `LINES_MAX` on its lines; over that the answer says that it is not complete.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::key;
use crate::event::{
    host_key::{Entry, Marker},
    ssh::Key,
};

/// A hashed name costs an HMAC for each of the server's names, 1 us each: 10,000 lines are tens of ms, on a thread of
/// their own.
const LINES_MAX: usize = 10_000;
/// A client may have added a line for the name, one for the address, and one more.
const TAIL: usize = 3;
/// One entry decides; a file of copies shall not fill the stream.
const ENTRIES_MAX: usize = 16;

/// Whose entries are looked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub key: &'a Key,
    /// As they stand in such files: in lower case, `[name]:port` where the port is not 22.
    pub names: &'a [String],
    /// Names without the port: they do for a key that is the same.
    pub hosts: &'a [String],
}

/// The entries that matter, and whether all of the file was looked at. `written`: it was written after the key was
/// seen.
pub fn read(file: &[u8], wanted: &Wanted<'_>, written: bool) -> (Vec<Entry>, bool) {
    let is_line = |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#");
    let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(is_line).collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().take(LINES_MAX).enumerate() {
        if let Some(mut entry) = entry(line, wanted) {
            entry.late = written && n + TAIL >= lines.len();
            if found.len() >= ENTRIES_MAX {
                return (found, false);
            }
            if !found.contains(&entry) {
                found.push(entry);
            }
        }
    }
    // A file that is just being written says nothing by what is not in it, unless what was written shows.
    let whole = !written || found.iter().any(|entry| entry.late && entry.same_key);
    (found, whole && lines.len() <= LINES_MAX)
}

/// `[marker] names type base64 [comment]`
fn entry(line: &[u8], wanted: &Wanted<'_>) -> Option<Entry> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let mut names = fields.next()?;
    let marker = match names {
        b"@cert-authority" => Marker::Authority,
        b"@revoked" => Marker::Revoked,
        [b'@', ..] => return None,
        _ => Marker::None,
    };
    if marker != Marker::None {
        names = fields.next()?;
    }
    let (kind, blob) = (fields.next()?, fields.next()?);
    let certificate = wanted.key.certificate.as_ref();
    // A plain key stands for its certificate too; what is revoked may be the key or its authority.
    let looked_for: &[Option<&str>] = match marker {
        Marker::None => &[wanted.key.fingerprint.as_deref()],
        Marker::Authority => &[certificate.and_then(|certificate| certificate.ca_fingerprint.as_deref())],
        Marker::Revoked => &[
            wanted.key.fingerprint.as_deref(),
            certificate.and_then(|certificate| certificate.ca_fingerprint.as_deref()),
        ],
    };
    let same_type = kind == plain_type(&wanted.key.kind).as_slice();
    if marker == Marker::None && !same_type {
        return None;
    }
    let fingerprint = key::fingerprint(&STANDARD.decode(blob).ok()?);
    let same_key = looked_for.iter().flatten().any(|wanted| *wanted == fingerprint);
    let named = is_named(names, wanted.names) || same_key && is_named(names, wanted.hosts);
    // Another authority, or another revoked key, says nothing of this one.
    let matters = same_key || marker == Marker::None && named;
    matters.then_some(Entry { marker, same_key, named, late: false })
}

/// A host certificate's type without what makes it one. (The name of a certificate of a security key drops the vendor
/// that the key's has.)
fn plain_type(kind: &[u8]) -> Vec<u8> {
    match kind.strip_suffix(b"-cert-v01@openssh.com") {
        Some(base) if base.starts_with(b"sk-") => [base, b"@openssh.com"].concat(),
        Some(base) => base.to_vec(),
        None => kind.to_vec(),
    }
}

/// `|1|salt|hash`, or patterns with commas between them, of which none that begins with `!` may match.
fn is_named(field: &[u8], names: &[String]) -> bool {
    if let Some(hashed) = field.strip_prefix(b"|1|") {
        return names.iter().any(|name| is_hash_of(hashed, name).unwrap_or(false));
    }
    names.iter().any(|name| list_matches(field.split(|byte| *byte == b','), name.as_bytes()))
}

fn is_hash_of(hashed: &[u8], name: &str) -> Option<bool> {
    let at = hashed.iter().position(|byte| *byte == b'|')?;
    let (salt, hash) = hashed.split_at(at);
    let (salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash.get(1..)?).ok()?);
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// A pattern list of ssh_config(5): one must match, and none with `!` before it.
pub fn list_matches<'a>(patterns: impl Iterator<Item = &'a [u8]>, name: &[u8]) -> bool {
    let mut matched = false;
    for pattern in patterns {
        match pattern.strip_prefix(b"!") {
            Some(pattern) if matches(pattern, name) => return false,
            Some(_) => {}
            None => matched |= matches(pattern, name),
        }
    }
    matched
}

/// `*` is anything, `?` one byte; letters in any case. In time bounded by the product of the lengths: one star is gone
/// back to, the last.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match (pattern.get(p), name.get(n)) {
            (Some(b'*'), _) => {
                star = Some((p, n));
                p += 1;
            }
            (Some(b'?'), Some(_)) => (p, n) = (p + 1, n + 1),
            (Some(one), Some(other)) if one.eq_ignore_ascii_case(other) => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAf8JZ0bSTGZHmnrEdc6p4NMvjMrLdlgSU5tvJXHQhdG";

    fn look(file: &str, written: bool) -> Vec<Entry> {
        let key = Key {
            kind: ByteBuf::from("ssh-ed25519"),
            // `ssh-keygen -lf` of KEY
            fingerprint: Some("SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU".into()),
            certificate: None,
        };
        let names = ["[db.test]:2222", "[10.0.0.7]:2222"].map(str::to_owned);
        let hosts = ["db.test", "10.0.0.7"].map(str::to_owned);
        read(file.as_bytes(), &Wanted { key: &key, names: &names, hosts: &hosts }, written).0
    }

    fn entry(marker: Marker, same_key: bool, named: bool) -> Entry {
        Entry { marker, same_key, named, late: false }
    }

    #[test]
    fn a_key_is_found_by_itself_and_its_server_by_any_of_its_names() {
        let same = |named| vec![entry(Marker::None, true, named)];
        let other = vec![entry(Marker::None, false, true)];
        for (names, with_key, with_other) in [
            ("[db.test]:2222", same(true), other.clone()),
            ("[DB.test]:2222,x", same(true), other.clone()),
            ("[*.test]:2222", same(true), other.clone()),
            ("[10.0.0.?]:2222", same(true), other.clone()),
            ("[*]:2222,![db.test]:2222,![10.0.0.7]:2222", same(false), vec![]),
            // Without the port it does for the same key, and says nothing against another.
            ("db.test", same(true), vec![]),
            ("elsewhere.test", same(false), vec![]),
            ("*", same(true), other.clone()),
        ] {
            assert_eq!(look(&format!("{names} {KEY}\n"), false), with_key, "{names}");
            assert_eq!(look(&format!("{names}  {OTHER} a comment"), false), with_other, "{names}");
        }
    }

    #[test]
    fn hashed_names_are_found() {
        // By ssh-keygen -H.
        let hashed = "|1|8HFuv/gzfG6r5E69FkGZI1o8Ymo=|oB3+NUmwO5vpjTGtnG3dxa4XCn0=";
        assert_eq!(look(&format!("{hashed} {KEY}"), false), [entry(Marker::None, true, true)]);
        assert_eq!(look(&format!("{hashed} {OTHER}"), false), [entry(Marker::None, false, true)]);
        let of_another = hashed.replace("oB3", "oB4");
        assert_eq!(look(&format!("{of_another} {KEY}"), false), [entry(Marker::None, true, false)]);
        assert_eq!(look(&format!("{of_another} {OTHER}"), false), []);
    }

    #[test]
    fn markers_are_told_and_other_lines_passed_over() {
        assert_eq!(look(&format!("@revoked * {KEY}"), false), [entry(Marker::Revoked, true, true)]);
        assert_eq!(look(&format!("@revoked * {OTHER}\n@cert-authority * {OTHER}\n@new * {KEY}"), false), []);
        assert_eq!(look(&format!("# {KEY}\n\n\x00ü\n* ssh-rsa AAAA\n* ssh-ed25519 ?\n*\n|1|x {KEY}"), false).len(), 1);
    }

    #[test]
    fn an_authority_stands_for_what_it_signed() {
        let fingerprint = |key: &str| key::fingerprint(&STANDARD.decode(key.split(' ').nth(1).unwrap()).unwrap());
        let certificate = crate::event::ssh::Certificate {
            key_id: ByteBuf::new(),
            serial: 0,
            principals: Vec::new(),
            ca_fingerprint: Some(fingerprint(OTHER)),
        };
        let kind = ByteBuf::from("ssh-ed25519-cert-v01@openssh.com");
        let key = Key { kind, fingerprint: Some(fingerprint(KEY)), certificate: Some(certificate) };
        let names = ["db.test".to_owned()];
        let look = |file: String| {
            let wanted = Wanted { key: &key, names: &names, hosts: &names };
            read(file.as_bytes(), &wanted, false).0
        };
        assert_eq!(look(format!("@cert-authority *.test {OTHER}")), [entry(Marker::Authority, true, true)]);
        assert_eq!(look(format!("@cert-authority * {KEY}")), []);
        assert_eq!(look(format!("@revoked x {OTHER}")), [entry(Marker::Revoked, true, false)]);
        assert_eq!(look(format!("db.test {KEY}")), [entry(Marker::None, true, true)]);
    }

    #[test]
    fn what_the_client_has_just_added_is_late() {
        let file = |before: usize| format!("{}[db.test]:2222 {KEY}\n", "x.test ssh-rsa AAAA\n".repeat(before));
        assert!(look(&file(0), true)[0].late && look(&file(100), true)[0].late && !look(&file(100), false)[0].late);
        let first = format!("[db.test]:2222 {KEY}\n{}", "x.test ssh-rsa AAAA\n".repeat(5));
        assert!(!look(&first, true)[0].late, "the end of the file is new, not its beginning");
    }

    #[test]
    fn patterns_end_in_time() {
        let pattern = b"*a".repeat(2000);
        assert!(!matches(&pattern, &[b'a'; 1999]));
        assert!(matches(&pattern, &[b'a'; 2000]));
    }
}
