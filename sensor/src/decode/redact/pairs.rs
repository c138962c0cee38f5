//! `name=value` inside a word, whatever the syntax around it.
//!
//! In: one word of a command, after unquoting. Out: the ranges of values whose name says secret. It knows
//! assignments and options (`DB_PASS=x`, `--set a.password=x`), queries and forms (`?token=x&b=2`), JSON, YAML
//! and dictionaries of programming languages, headers (`X-Api-Key: x`), XML elements, and SQL
//! (`IDENTIFIED BY 'x'`). It rests on the separator touching the name: prose ("fix password reset") has none.
//! `name:value` without a space is an image tag, a volume or an scp path as a rule, so it counts only where
//! a quote, a brace or an option's dash makes it a pair. One pass; how values end: [`values`].

use super::bytes::{at, before, is_blank, part, run_end, tail};
use super::code;
use super::edits::Edit;
use super::names::{self, Class};
use super::values::{self, Opened};

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

/// Adds an edit for every secret value in `text`.
pub(super) fn search(text: &[u8], place: Place, edits: &mut Vec<Edit>) {
    if place == Place::Code {
        return code::search(text, edits);
    }
    let mut opened = Opened::default();
    let mut rest_at = if place == Place::Body { None } else { Some(0) };
    let mut last_mark = 0;
    let mut i = 0;
    while i < text.len() {
        let b = at(text, i);
        if !is_name_byte(b) {
            opened.note(b);
            if !is_blank(b) {
                last_mark = b;
            }
            i += 1;
            // `--from-literal=password=x`: the second name owns the rest as well.
            if b == b'=' && at(text, 0) == b'-' && rest_at.is_some() {
                rest_at = Some(i);
            } else if is_blank(b) {
                rest_at = None;
            }
            continue;
        }
        let end = run_end(text, i, is_name_byte);
        let start = after_escape(text, i);
        let name = part(text, start, end);
        let owns_rest = rest_at == Some(i);
        if let Some((bond, value)) = bond(text, i, end, place, owns_rest, last_mark)
            && let Some(class) = name_class(text, start, name)
            && let Some((from, to)) = value_range(text, (start, end), value, bond, place, opened)
        {
            let from = from + values::scheme_len(name, part(text, from, to));
            if !values::may_stay(part(text, from, to), class) {
                edits.push(Edit::mark(from, to));
            }
            // A value that stays may hold pairs itself, so only a redacted one is skipped.
            i = if values::may_stay(part(text, from, to), class) { end } else { to.max(end) };
        } else {
            i = end;
        }
        for &b in name {
            opened.note(b);
        }
        last_mark = b'a';
    }
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

/// The value that begins at `value`. `None`: there is none to judge.
fn value_range(
    text: &[u8],
    (start, _): (usize, usize),
    value: usize,
    bond: Bond,
    place: Place,
    opened: Opened,
) -> Option<(usize, usize)> {
    if value >= text.len() {
        return None;
    }
    let string = values::quoted(text, value);
    match bond {
        Bond::Rest => {
            let end = values::rest(text, value, place == Place::List);
            // `--env=KEY="x"` that kept its quotes: they may stay, if they are the whole value.
            Some(string.filter(|&(_, _, after)| after == end).map_or((value, end), |(from, to, _)| (from, to)))
        }
        Bond::Element => Some((value, run_end(text, value, |b| b != b'<'))),
        _ if let Some((from, to, _)) = string => Some((from, to)),
        Bond::Line => {
            if place == Place::Prose {
                let word_end = run_end(text, value, |b| !b.is_ascii_whitespace());
                let is_sentence = !matches!(at(text, run_end(text, word_end, is_blank)), 0 | b'\n' | b'\r');
                return (!is_sentence).then_some((value, word_end));
            }
            Some((value, values::line(text, start, value)))
        }
        Bond::Pair => {
            let head = tail(text, value);
            if head.starts_with(b"{{") || head.starts_with(b"\n") {
                None
            } else if matches!(at(text, value), b'[' | b'{') && !head.starts_with(super::MARK) {
                Some((value, values::bracketed(text, value)))
            } else {
                let query = matches!(before(text, start), b'?' | b'&');
                Some((value, values::unquoted(text, value, opened, query)))
            }
        }
    }
}
