//! Expansions in shell text: where a command substitution ends, and what is a mere reference.
//!
//! In: a command line and an offset, or a piece of one. Out: offsets and answers. It rests on POSIX.1-2024
//! XCU 2.6: quotes nest anew inside `$(...)`. An unescaped parenthesis of a `case` pattern inside one closes
//! it too early; the rest is then read as words. `None`: it does not end, and nothing in it is protected.

use super::bytes::{at, tail};

/// `$NAME` or `${name}`: a reference. Lower-case `$name` is a password with a dollar sign as often.
pub(crate) fn is_parameter(raw: &[u8]) -> bool {
    let name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let upper = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
    match raw.strip_prefix(b"$") {
        Some([b'{', inner @ .., b'}']) => !inner.is_empty() && inner.iter().all(name),
        Some(rest) => rest.first().is_some_and(u8::is_ascii_uppercase) && rest.iter().all(upper),
        None => false,
    }
}

/// The backtick that closes one.
pub(crate) fn closing_backtick(text: &[u8], start: usize) -> Option<usize> {
    let mut i = start;
    while i < text.len() {
        match at(text, i) {
            b'`' => return Some(i),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    None
}

/// The `)` that closes a `$(`. Counted, not recursed: depth costs memory, not stack.
pub(crate) fn closing_paren(text: &[u8], start: usize) -> Option<usize> {
    let mut open = vec![b'('];
    let mut i = start;
    while i < text.len() {
        let (b, next) = (at(text, i), at(text, i + 1));
        let in_quotes = open.last() == Some(&b'"');
        i += 1;
        match b {
            b'\\' => i += 1,
            b'\'' if !in_quotes => i += memchr::memchr(b'\'', tail(text, i))? + 1,
            b'"' if in_quotes => drop(open.pop()),
            b'"' => open.push(b'"'),
            b'$' if next == b'(' => {
                open.push(b'(');
                i += 1;
            }
            b'(' if !in_quotes => open.push(b'('),
            b')' if !in_quotes => {
                open.pop();
                if open.is_empty() {
                    return Some(i - 1);
                }
            }
            _ => {}
        }
    }
    None
}
