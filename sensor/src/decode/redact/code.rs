//! Values in code that an interpreter is given on its command line.
//!
//! In: a text in some programming language. Out: edits for the literals that are values of secret names. Code is
//! evidence: `TOKEN=1;CODE` keeps CODE. It rests on what scripting languages share: a literal ends at its quote,
//! within its line unless the quote is a triple one; a bare one ends at a quote, `;`, `,`, a bracket or a blank;
//! calls, lists and `ENV["X"]` are expressions, of which the literals go. It knows the prefixes of Python (`b"x"`),
//! `q(x)` and `%q(x)` of Perl and Ruby, and `"a" + "b"`.
//!
//! A literal that reads as code itself (`TOKEN='import os; os.system("id")'; exec(TOKEN)`) is searched and not
//! removed. So are, inside a call, literals that are paths, names or of several words: `password =
//! open("/etc/shadow")`. An expression that does not end is one bare literal. Delimiters are looked for in a window,
//! which keeps the search linear.

use super::bond::{self, Bond, Place};
use super::edits::Edit;
use super::mark::MARK;
use super::names::{self, Class};
use super::values::{self, may_stay, reads_as_code};
use crate::shell::bytes::{at, before, is_blank, part, run_end, tail};

/// Longer expressions and delimited strings are not followed to their ends.
const WINDOW: usize = 4096;

/// A literal: its inside, and the offset after it.
struct Literal {
    from: usize,
    to: usize,
    after: usize,
}

/// Adds an edit for every literal that is the value of a secret name.
pub(super) fn search(text: &[u8], edits: &mut Vec<Edit>) {
    let mut string = Quote::default();
    let mut last = 0;
    let mut i = 0;
    while i < text.len() {
        let b = at(text, i);
        let mut next = i + 1;
        if bond::is_name_byte(b) {
            let (start, end) = (bond::after_escape(text, i), run_end(text, i, bond::is_name_byte));
            next = end;
            if let Some((bond, value)) = bond::bond(text, i, end, Place::Code, false, last)
                && let Some(class) = bond::name_class(text, start, part(text, start, end))
                && !string.is_closed_by(text, end, value)
            {
                next = bound(text, (start, end), bond, value, class, edits).max(end);
            }
        }
        if !is_blank(b) {
            last = if bond::is_name_byte(b) { b'a' } else { b };
        }
        string.read(text, i, next);
        i = next;
    }
}

/// The quote of the string that the search is in: `"password: "` has no value, and what stands behind it is code.
#[derive(Default)]
struct Quote(Option<u8>);

impl Quote {
    fn read(&mut self, text: &[u8], start: usize, end: usize) {
        for (i, &b) in part(text, start, end).iter().enumerate() {
            match b {
                b'\n' => self.0 = None,
                b'"' | b'\'' | b'`' if before(text, start + i) == b'\\' => {}
                b'"' | b'\'' | b'`' if self.0 == Some(b) => self.0 = None,
                b'"' | b'\'' | b'`' if self.0.is_none() => self.0 = Some(b),
                _ => {}
            }
        }
    }

    /// Whether the quote at `value` ends the string that the name, which ends at `end`, stands in.
    fn is_closed_by(&self, text: &[u8], end: usize, value: usize) -> bool {
        self.0.is_some_and(|quote| at(text, value) == quote && !part(text, end, value).contains(&quote))
    }
}

/// The literals of a value that is bound to the name `start..end`; gives where the search continues.
fn bound(
    text: &[u8],
    (start, end): (usize, usize),
    bond: Bond,
    from: usize,
    class: Class,
    edits: &mut Vec<Edit>,
) -> usize {
    match bond {
        Bond::Element => {
            // `a<password>b` compares: an element has an end.
            let close = run_end(text, from, |b| !matches!(b, b'<' | b';' | b'(' | b'\n'));
            if tail(text, close).starts_with(b"</") && !may_stay(part(text, from, close), class) {
                edits.push(Edit::mark(from, close));
            }
            close
        }
        Bond::Line => line(text, start, from, class, edits)
            .unwrap_or_else(|| value(text, part(text, start, end), from, class, edits)),
        _ => value(text, part(text, start, end), from, class, edits),
    }
}

/// Adds edits for the value at `start`; gives the offset at which the search continues.
fn value(text: &[u8], name: &[u8], start: usize, class: Class, edits: &mut Vec<Edit>) -> usize {
    let start = start + values::scheme_len(name, tail(text, start));
    let start = if tail(text, start).starts_with(b"new ") { start + 4 } else { start };
    if tail(text, start).starts_with(MARK) {
        return start + MARK.len();
    }
    if let Some(first) = literal(text, start) {
        return chain(text, name, first, class, edits);
    }
    if matches!(at(text, start), b'[' | b'{' | b'(') {
        return if inside(text, start, class, edits) { start + 1 } else { bare(text, start, class, edits) };
    }
    let end = run_end(text, start, is_bare);
    let is_expression =
        matches!(at(text, end), b'(' | b'[' | b'{') && part(text, start, end).iter().all(|b| is_identifier(*b));
    if is_expression && end > start && inside(text, end, class, edits) {
        return end + 1;
    }
    bare(text, start, class, edits)
}

/// A header or a line of YAML in a string: the value goes to the end of the string.
fn line(text: &[u8], name_start: usize, start: usize, class: Class, edits: &mut Vec<Edit>) -> Option<usize> {
    let end = values::line(text, name_start, start);
    let content = part(text, start, end);
    let is_string = matches!(before(text, name_start), b'"' | b'\'') && matches!(at(text, end), b'"' | b'\'' | b'\\');
    if !is_string || content.contains(&b'\n') || reads_as_code(content) {
        return None;
    }
    if !may_stay(content, class) {
        edits.push(Edit::mark(start, end));
    }
    Some(end.max(start + 1))
}

/// `"a" + "b"`, `"a" "b"`, `"a" . "b"`.
fn chain(text: &[u8], name: &[u8], first: Literal, class: Class, edits: &mut Vec<Edit>) -> usize {
    let mut next = first;
    loop {
        let from = next.from + values::scheme_len(name, part(text, next.from, next.to));
        let content = part(text, from, next.to);
        if !may_stay(content, class) {
            if reads_as_code(content) {
                return next.from;
            }
            edits.push(Edit::mark(from, next.to));
        }
        let blank = run_end(text, next.after, is_blank);
        let operator = if matches!(at(text, blank), b'+' | b'.') { blank + 1 } else { blank };
        match literal(text, run_end(text, operator, is_blank)) {
            Some(further) => next = further,
            None => return next.after,
        }
    }
}

/// A number, or what a shell took the quotes from. An expression that does not end is one too.
fn bare(text: &[u8], start: usize, class: Class, edits: &mut Vec<Edit>) -> usize {
    let opens = matches!(at(text, start), b'[' | b'{' | b'(');
    let end = run_end(text, start + usize::from(opens), is_bare);
    let ends_open = matches!(at(text, end), b'[' | b'{' | b'(');
    let end = if ends_open { run_end(text, end, |b| !b.is_ascii_whitespace() && b != b';') } else { end };
    let content = part(text, start, end);
    // `$name` is a variable of Perl and PHP.
    let is_variable = matches!(content.first(), Some(b'$' | b'@')) && content.iter().skip(1).all(|b| is_identifier(*b));
    if !is_variable && !may_stay(content, class) {
        edits.push(Edit::mark(start, end));
    }
    end.max(start)
}

fn is_bare(b: u8) -> bool {
    !b.is_ascii_whitespace() && !b";,)]}'\"`([{".contains(&b)
}

fn is_identifier(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'$' | b'@' | b'!' | b'?' | b'-' | b'>')
}

/// The literal at `start`.
fn literal(text: &[u8], start: usize) -> Option<Literal> {
    let prefix = run_end(part(text, 0, start + 2), start, |b| b"bBrRuUfF".contains(&b));
    if let Some(string) = quoted(text, prefix) {
        return Some(string);
    }
    let letters = run_end(part(text, 0, start + 3), start, |b| matches!(b, b'%' | b'q' | b'Q'));
    let opener = at(text, letters);
    let closer = match opener {
        b'(' => b')',
        b'[' => b']',
        b'{' => b'}',
        b'<' => b'>',
        b'|' | b'!' | b'/' | b'^' | b'~' => opener,
        _ => return None,
    };
    let is_quote = letters > start && part(text, start, letters).iter().skip(1).all(|b| *b != b'%');
    let end = memchr::memchr2(closer, b'\n', part(text, letters + 1, letters + WINDOW)).map(|i| letters + 1 + i)?;
    (is_quote && at(text, end) == closer).then_some(Literal { from: letters + 1, to: end, after: end + 1 })
}

/// A string in quotes: triple ones, or ones that end in their line.
fn quoted(text: &[u8], start: usize) -> Option<Literal> {
    let head = part(text, start, start + 3);
    if matches!(head, b"\"\"\"" | b"'''") {
        let from = start + 3;
        let end = memchr::memmem::find(tail(text, from), head).map(|i| from + i);
        let to = end.unwrap_or(text.len());
        return Some(Literal { from, to, after: end.map_or(to, |end| end + 3) });
    }
    if head.first() == Some(&b'`') {
        let end = run_end(text, start + 1, |b| !matches!(b, b'`' | b'\n'));
        return Some(Literal { from: start + 1, to: end, after: end + usize::from(at(text, end) == b'`') });
    }
    let quote = run_end(text, start, |b| b == b'\\');
    let line =
        if matches!(at(text, quote), b'"' | b'\'') { run_end(text, quote, |b| b != b'\n') } else { return None };
    let (from, to, after) = values::quoted(part(text, 0, line), start)?;
    Some(Literal { from, to, after })
}

/// The literals between the bracket at `open` and its partner. `false`: there is none, and nothing was added.
fn inside(text: &[u8], open: usize, class: Class, edits: &mut Vec<Edit>) -> bool {
    let known = edits.len();
    let end = text.len().min(open + WINDOW);
    // Of each open bracket: does it hold the arguments of a call, or an index?
    let mut calls: Vec<bool> = Vec::new();
    let mut i = open;
    while i < end {
        match at(text, i) {
            b'(' | b'[' => calls.push(is_identifier(before(text, i)) || calls.last() == Some(&true)),
            b'{' => calls.push(calls.last() == Some(&true)),
            b')' | b']' | b'}' => {
                calls.pop();
                if calls.is_empty() {
                    return true;
                }
            }
            _ => {
                if let Some(string) = literal(text, i).filter(|string| string.after > i) {
                    let content = part(text, string.from, string.to);
                    let refers = calls.last() == Some(&true) && is_reference(content);
                    if !refers && !reads_as_code(content) && !may_stay(content, class) {
                        edits.push(Edit::mark(string.from, string.to));
                    }
                    i = string.after;
                    continue;
                }
            }
        }
        i += 1;
    }
    edits.truncate(known);
    false
}

/// A literal that says where a secret is, or asks for one: a path, a name, a sentence.
fn is_reference(content: &[u8]) -> bool {
    let is_constant = content.iter().all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b'-'));
    is_constant
        || content.trim_ascii().contains(&b' ')
        || values::is_path(content)
        || names::classify(content).is_some()
        || matches!(content, b"utf-8" | b"utf8" | b"UTF-8" | b"ascii" | b"r" | b"rb")
}
