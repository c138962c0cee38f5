//! Whether a name is bound to a value, by what, and where the value begins.
//!
//! In: a text and a name in it, with what the place of the text says. Out: the [`Bond`], and the offset of the value.
//! It rests on the separator touching the name; what [`super::pairs`] and [`super::code`] make of the value is theirs.

use super::names::{self, Class};
use crate::shell::bytes::{at, before, is_blank, part, run_end};

/// What the place of a text says about pairs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An argument: a `NAME=` at its start owns the rest.
    Argument,
    /// A list of pairs, the value of `-d`, `--set`, `-o`: the next pair ends a value.
    List,
    /// A header: `Name:value` needs no space.
    Header,
    /// Prose, such as a commit message: `name: value` counts for a value of one word only.
    Prose,
    /// The body of a here-document, a comment: no argument.
    Body,
    /// Code in a programming language: only literals go.
    Code,
}

/// How a value is bound to its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// `=`, `:=`, `=>`, `==`, or a colon inside braces.
    Pair,
    /// `NAME=` at the start of an argument.
    Rest,
    /// `name: value` up to the end of the line.
    Line,
    /// `<name>value</name>`.
    Element,
}

pub(super) fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']' | b'%')
}

/// `\nTOKEN=x` in an `echo -e`: the `n` is no part of the name.
pub(super) fn after_escape(text: &[u8], start: usize) -> usize {
    let escaped = before(text, start) == b'\\' && matches!(at(text, start), b'n' | b'r' | b't');
    if escaped { start + 1 } else { start }
}

/// The class of a name; `BY` is one after `IDENTIFIED`.
pub(super) fn name_class(text: &[u8], start: usize, name: &[u8]) -> Option<Class> {
    if name.eq_ignore_ascii_case(b"by") {
        let left = part(text, start.saturating_sub(48), start);
        return left.windows(10).any(|w| w.eq_ignore_ascii_case(b"identified")).then_some(Class::Value);
    }
    names::classify(name)
}

/// Whether the name `start..end` is bound to a value, and where that begins.
pub(super) fn bond(
    text: &[u8],
    start: usize,
    end: usize,
    place: Place,
    owns_rest: bool,
    last: u8,
) -> Option<(Bond, usize)> {
    let quote = before(text, start);
    let mut close = end;
    let mut is_quoted = false;
    if matches!(quote, b'"' | b'\'') {
        let partner = run_end(text, end, |b| b == b'\\');
        if at(text, partner) == quote {
            is_quoted = true;
            // `config["password"] = ...`
            close = run_end(text, partner + 1, |b| b == b']');
        }
    }
    let sep = run_end(text, close, is_blank);
    let next = at(text, sep + 1);
    match at(text, sep) {
        b'=' if owns_rest && sep == end && !matches!(next, b'=' | b'>') => Some((Bond::Rest, sep + 1)),
        b'=' => {
            let after = run_end(text, sep, |b| matches!(b, b'=' | b'>' | b'~'));
            Some((Bond::Pair, run_end(text, after, is_blank)))
        }
        b':' if next == b'=' => Some((Bond::Pair, run_end(text, sep + 2, is_blank))),
        b':' if next != b':' => {
            let value = run_end(text, sep + 1, is_blank);
            let in_braces = matches!(last, b'{' | b',') || is_quoted;
            let at_start = start == 0 || (start == 1 && quote == b'/');
            let is_option = at_start && (quote == b'/' || at(text, start) == b'-');
            let touches =
                is_option || (place == Place::Header && start == 0) || matches!(at(text, value), b'"' | b'\'');
            if in_braces {
                Some((Bond::Pair, value))
            } else if value > sep + 1 || touches {
                Some((Bond::Line, value))
            } else {
                None
            }
        }
        b'>' if quote == b'<' && sep == end => Some((Bond::Element, sep + 1)),
        b'\'' | b'(' if place != Place::Prose => sql_bond(text, start, end, sep),
        _ if sep > end && is_netrc(text, start, end) => Some((Bond::Pair, sep)),
        _ => None,
    }
}

/// SQL: `PASSWORD 'x'`, `IDENTIFIED BY 'x'`, `PASSWORD('x')`.
fn sql_bond(text: &[u8], start: usize, end: usize, sep: usize) -> Option<(Bond, usize)> {
    let name = part(text, start, end);
    let is_password = name.eq_ignore_ascii_case(b"password");
    if at(text, sep) == b'(' {
        return (is_password && at(text, sep + 1) == b'\'').then_some((Bond::Pair, sep + 1));
    }
    (sep > end && (is_password || name.eq_ignore_ascii_case(b"by"))).then_some((Bond::Pair, sep))
}

/// `machine h login u password x`, as written to a .netrc.
fn is_netrc(text: &[u8], start: usize, end: usize) -> bool {
    let left = part(text, start.saturating_sub(160), start);
    part(text, start, end) == b"password"
        && [&b"machine "[..], b"login "].iter().all(|word| left.windows(word.len()).any(|part| part == *word))
}
