//! Passwords in URLs: `scheme://user:PASSWORD@host`.
//!
//! In: one word, or a body of text. Out: the ranges of the passwords. It rests on RFC 3986 section 3.2.1:
//! userinfo ends at the last `@` of the authority. A password with a raw `/` breaks that; if what follows the
//! colon is no port, the `@` is looked for further on. In http(s) a lone user name of 20 bytes or more is a
//! token (`https://<token>@host`, a Sentry DSN). Work per URL is bounded, so hostile text stays linear.

use memchr::memmem;

use super::edits::Edit;
use super::names::Class;
use super::values::may_stay;
use crate::shell::bytes::{before, part, run_end, starts_with_ignore_case};

/// An authority is at most a 255-byte host, a port, and userinfo; passwords longer than this are not looked at.
const MAX_AUTHORITY: usize = 1024;

/// Adds an edit for every userinfo password in `text`.
pub(super) fn search(text: &[u8], edits: &mut Vec<Edit>) {
    for colon in memmem::find_iter(text, b"://") {
        let start = colon + 3;
        let window = part(text, 0, start + MAX_AUTHORITY);
        let word_end =
            run_end(window, start, |b| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'`' | b'<' | b'>'));
        let authority_end = run_end(part(window, 0, word_end), start, |b| !matches!(b, b'/' | b'?' | b'#'));
        if let Some((from, to)) = secret(text, colon, start, authority_end, word_end)
            && !may_stay(part(text, from, to), Class::Value)
        {
            edits.push(Edit::mark(from, to));
        }
    }
}

fn secret(text: &[u8], colon: usize, start: usize, authority_end: usize, word_end: usize) -> Option<(usize, usize)> {
    let authority = part(text, start, authority_end);
    let separator = memchr::memchr(b':', authority).map(|i| start + i);
    let at_sign = memchr::memrchr(b'@', authority).map(|i| start + i).or_else(|| {
        let after = separator? + 1;
        let is_port = part(text, after, authority_end).iter().all(u8::is_ascii_digit);
        let further = memchr::memchr(b'@', part(text, authority_end, word_end)).map(|i| authority_end + i);
        further.filter(|_| !is_port)
    })?;
    match separator.filter(|&i| i < at_sign) {
        Some(i) => Some((i + 1, at_sign)),
        None if at_sign - start >= 20 && is_http(text, colon) => Some((start, at_sign)),
        None => None,
    }
}

fn is_http(text: &[u8], colon: usize) -> bool {
    let scheme = part(text, colon.saturating_sub(5), colon);
    starts_with_ignore_case(scheme, b"https")
        || (scheme.len() >= 4 && starts_with_ignore_case(part(scheme, scheme.len() - 4, scheme.len()), b"http"))
        || before(text, colon) == b'+'
}
