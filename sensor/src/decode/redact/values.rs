//! Where a value ends, and which values are none.
//!
//! In: a text and the offset where a value begins. Out: its end. It rests on what stood before the value: a
//! quote ends at its partner (JSON in JSON: at the partner with as many backslashes), a bracket ends a value
//! only if one was opened before, and `&`, `;`, `,` only if another `name=` or nothing follows, since
//! passwords hold them too. It fails long: without a clear end the value runs to the end of the text.

use super::mark::MARK;
use super::names::Class;
use crate::shell::bytes::{at, before, is_blank, part, run_end, starts_with_ignore_case, tail};

/// Values that say "none" or "on", not what the secret is; `-` is standard input.
const PLAIN: &[&str] = &["true", "false", "yes", "no", "on", "off", "null", "nil", "none", "0", "1", "-", "prompt"];

/// First directories of real paths: a base64 key may begin with `/` too.
#[rustfmt::skip]
const ROOTS: &[&str] = &[
    "/app/",
    "/data/",
    "/dev/",
    "/etc/",
    "/home/",
    "/mnt/",
    "/opt/",
    "/proc/",
    "/root/",
    "/run/",
    "/secrets/",
    "/srv/",
    "/tmp/",
    "/usr/",
    "/var/",
    "~/",
    "./",
    "../",
    "file:",
    ".ssh/",
    ".aws/",
    "config/",
    "secrets/",
    "certs/",
    "keys/",
];

/// Endings of file names, for a bare one (`cookies.txt`).
const SUFFIXES: &[&str] = &[".txt", ".json", ".pem", ".key", ".yml", ".yaml", ".toml", ".conf", ".enc", ".p12", ".pfx"];

/// Longer values never stay. It bounds the rereading of a value that stays, since pairs in it are looked for.
const MAX_STAYING: usize = 255;

/// So much of a value says whether it is code, and so many calls in it are looked at.
const CODE_WINDOW: usize = 1024;
const CALLS_MAX: usize = 16;

/// Schemes of an `Authorization` header: they are kept.
const SCHEMES: &[&str] = &["bearer ", "basic ", "token ", "digest ", "negotiate ", "apikey "];

/// The brackets and quotes that were opened before an offset; only these can close a value.
#[derive(Clone, Copy, Default)]
pub(super) struct Opened(u8);

impl Opened {
    pub(super) fn note(&mut self, b: u8) {
        self.0 |= Self::bit(b"{[('\"`", b);
    }

    fn closes(self, b: u8) -> bool {
        self.0 & Self::bit(b"}])'\"`", b) != 0
    }

    fn bit(set: &[u8], b: u8) -> u8 {
        set.iter().position(|&member| member == b).map_or(0, |i| 1 << i)
    }
}

/// Whether `value` may stay: empty, redacted already, a word like `true`, or the path of a file.
pub(super) fn may_stay(value: &[u8], class: Class) -> bool {
    let value = value.trim_ascii();
    if value.len() > MAX_STAYING {
        return false;
    }
    value.is_empty()
        || value == MARK
        || PLAIN.iter().any(|plain| value.eq_ignore_ascii_case(plain.as_bytes()))
        || (class == Class::ValueOrPath && is_path(value))
        || (value.starts_with(b"{{") && value.ends_with(b"}}"))
}

pub(super) fn is_path(value: &[u8]) -> bool {
    ROOTS.iter().any(|root| value.starts_with(root.as_bytes()))
        || (SUFFIXES.iter().any(|suffix| value.ends_with(suffix.as_bytes()))
            && value.iter().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(b)))
}

/// Whether a value looks like statements rather than like a secret: a call, several signs of syntax between blanks, or
/// the rest of code that was redacted already. Passwords with blanks and syntax are rare; what is asked is weighed by
/// the caller.
pub(super) fn reads_as_code(value: &[u8]) -> bool {
    const SIGNS: &[u8] = b";(){}=\"'|$<>&\n`";
    const STARTS: &[&[u8]] = &[b"import ", b"from ", b"require ", b"exec ", b"eval ", b"load ", b"use ", b"source "];
    let value = part(value, 0, CODE_WINDOW);
    let is_redacted = value.len() > MARK.len() && memchr::memmem::find(value, MARK).is_some();
    let signs = || SIGNS.iter().filter(|sign| value.contains(sign)).count();
    let has_blank = value.trim_ascii().iter().any(u8::is_ascii_whitespace);
    is_redacted
        || (has_blank && (signs() >= 3 || STARTS.iter().any(|start| value.starts_with(start))))
        || memchr::memchr_iter(b'(', value).take(CALLS_MAX).any(|open| is_call(value, open))
}

/// `name(...)`, with all its brackets closed.
fn is_call(value: &[u8], open: usize) -> bool {
    let name = part(value, open.saturating_sub(2), open);
    let mut depth = 0_usize;
    name.len() == 2
        && name.iter().all(|b| b.is_ascii_alphabetic() || *b == b'_')
        && tail(value, open).iter().any(|b| {
            match b {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            depth == 0
        })
}

/// The length of the `Bearer ` of an `Authorization` value.
pub(super) fn scheme_len(name: &[u8], value: &[u8]) -> usize {
    let is_authorization = name.len() >= 13 && starts_with_ignore_case(tail(name, name.len() - 13), b"authorization");
    let scheme = SCHEMES.iter().find(|scheme| starts_with_ignore_case(value, scheme.as_bytes()));
    scheme.filter(|_| is_authorization).map_or(0, |scheme| scheme.len())
}

/// The inside of the quoted string at `start`, and the offset after it. `None`: no quote there.
pub(super) fn quoted(text: &[u8], start: usize) -> Option<(usize, usize, usize)> {
    let open = run_end(text, start, |b| b == b'\\');
    let quote = at(text, open);
    if !matches!(quote, b'"' | b'\'') {
        return None;
    }
    let escapes = open - start;
    let mut slashes = 0;
    for (i, &b) in tail(text, open + 1).iter().enumerate() {
        let i = open + 1 + i;
        if b == b'\\' {
            slashes += 1;
            continue;
        }
        if b == quote && (if escapes == 0 { slashes % 2 == 0 } else { slashes <= escapes }) {
            let end = if escapes == 0 { i } else { i - slashes };
            return Some((open + 1, end, i + 1));
        }
        slashes = 0;
    }
    Some((open + 1, text.len(), text.len()))
}

/// The end of the list or object whose bracket is at `start`.
pub(super) fn bracketed(text: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = start;
    while i < text.len() {
        match at(text, i) {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => {
                i = quoted(text, i).map_or(text.len(), |(_, _, after)| after);
                continue;
            }
            _ => {}
        }
        i += 1;
        if depth == 0 {
            return i;
        }
    }
    text.len()
}

/// The end of an unquoted value inside other text. `query`: it stands in a URL's query, where `&` always ends.
pub(super) fn unquoted(text: &[u8], start: usize, opened: Opened, query: bool) -> usize {
    let mut i = start + marks_len(text, start);
    while i < text.len() {
        let b = at(text, i);
        let ends = match b {
            b' ' | b'\t' | b'\r' | b'\n' => true,
            b'&' | b'#' if query => true,
            b'&' | b';' | b',' => at(text, i + 1) == 0 || begins_pair(text, i + 1),
            b'\\' => ends_at_backslash(text, i, opened),
            _ => opened.closes(b),
        };
        if ends {
            return i;
        }
        i += 1;
    }
    text.len()
}

/// The end of a value that owns the rest of its word (`PASSWORD='a b&c'`): the next `NAME=` line, or the end.
/// `list`: the word is a list of pairs (`-d a=b&c=d`, `--set a=b,c=d`), so the next pair ends it too.
pub(super) fn rest(text: &[u8], start: usize, list: bool) -> usize {
    let mut i = start + marks_len(text, start);
    while i < text.len() {
        let ends = match at(text, i) {
            b'\n' => begins_pair(text, i + 1),
            b'\\' => matches!(at(text, i + 1), b'n' | b'r') && begins_pair(text, i + 2),
            b'&' | b',' | b';' if list => begins_pair(text, i + 1),
            _ => false,
        };
        if ends {
            return i;
        }
        i += 1;
    }
    text.len()
}

/// The end of a header's or YAML line's value: the line, or the quote that encloses `name: value`.
pub(super) fn line(text: &[u8], name_start: usize, start: usize) -> usize {
    let quote = before(text, name_start);
    if !matches!(quote, b'"' | b'\'') {
        return run_end(text, start, |b| b != b'\n');
    }
    let end = run_end(text, start, |b| b != quote);
    // `\"X-Api-Key: x\"`: the backslash belongs to the quote.
    if before(text, end) == b'\\' && before(text, name_start - 1) == b'\\' { end - 1 } else { end }
}

fn marks_len(text: &[u8], start: usize) -> usize {
    if tail(text, start).starts_with(MARK) { MARK.len() } else { 0 }
}

/// A backslash ends a value if it escapes the closing quote, or is a written-out newline before a `NAME=`.
fn ends_at_backslash(text: &[u8], i: usize, opened: Opened) -> bool {
    match at(text, i + 1) {
        next @ (b'"' | b'\'') => opened.closes(next),
        b'n' | b'r' | b't' => begins_pair(text, i + 2),
        _ => false,
    }
}

/// Whether blank space or `name=`, `name:`, `"name` follows: the value before is over. A name is at most 64
/// bytes here, which also keeps this linear.
fn begins_pair(text: &[u8], start: usize) -> bool {
    if matches!(at(text, start), b' ' | b'\t' | b'\n') {
        return true;
    }
    let window = part(text, 0, start + 64);
    let end =
        run_end(window, start, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']' | b'"'));
    let sep = run_end(window, end, is_blank);
    end > start && matches!(at(window, sep), b'=' | b':')
}
