//! `name=value` inside a word, whatever the syntax around it.
//!
//! In: one word of a command, after unquoting. Out: the ranges of values whose name says secret. It knows
//! assignments and options (`DB_PASS=x`, `--set a.password=x`), queries and forms (`?token=x&b=2`), JSON, YAML
//! and dictionaries of programming languages, headers (`X-Api-Key: x`), XML elements, and SQL
//! (`IDENTIFIED BY 'x'`). It rests on the separator touching the name: prose ("fix password reset") has none.
//! `name:value` without a space is an image tag, a volume or an scp path as a rule, so it counts only where
//! a quote, a brace or an option's dash makes it a pair. One pass; how values end: [`values`].

use super::bond::{Bond, Place, after_escape, bond, is_name_byte, name_class};
use super::code;
use super::edits::Edit;
use super::mark::MARK;
use super::values::{self, Opened};
use crate::shell::bytes::{at, before, is_blank, part, run_end, tail};

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
            } else if matches!(at(text, value), b'[' | b'{') && !head.starts_with(MARK) {
                Some((value, values::bracketed(text, value)))
            } else {
                let query = matches!(before(text, start), b'?' | b'&');
                Some((value, values::unquoted(text, value, opened, query)))
            }
        }
    }
}
