//! One shell word: its value after quote removal, and where each byte of it stood.
//!
//! In: a command line and the offset of a word. Out: a [`Word`]. It rests on POSIX.1-2024 XCU 2.2 and 2.6:
//! quotes and backslashes go, `$(...)` and backticks stay as they are and are remembered, since they are
//! commands and not part of a value. `$'...'` escapes other than quotes are not decoded. An unclosed quote or
//! substitution takes the rest of the line.

use super::bytes::{at, is_blank, part, run_end};
use super::expansion::{closing_backtick, closing_paren};

/// What a word is to its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Argument,
    /// The file of a redirection, or a file descriptor.
    Target,
    Comment,
    /// The word after `<<<`.
    HereString,
    /// The word after `<<`.
    Delimiter,
}

/// Bytes of the value that stood together in the text, under the same quotes.
#[derive(Debug)]
struct Run {
    value: usize,
    len: usize,
    /// Where they stood. Longer than `len` for an escaped byte, and only then.
    start: usize,
    end: usize,
    /// Number of the quoted (or unquoted) section.
    section: u32,
    /// In single quotes or escaped: `$` is a dollar sign.
    literal: bool,
}

/// A command substitution.
#[derive(Debug)]
pub(crate) struct Substitution {
    /// All of it, in the value.
    pub(crate) value: (usize, usize),
    /// The command, in the text.
    pub(crate) command: (usize, usize),
    pub(crate) closed: bool,
}

#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) text: Vec<u8>,
    pub(crate) role: Role,
    pub(crate) substitutions: Vec<Substitution>,
    runs: Vec<Run>,
    section: u32,
}

impl Word {
    pub(crate) fn new(role: Role) -> Self {
        Self { text: Vec::new(), role, substitutions: Vec::new(), runs: Vec::new(), section: 0 }
    }

    /// Reads the word at `start`; also gives the offset after it. `takes_list`: see [`super::lexer::lex`].
    pub(crate) fn read(text: &[u8], start: usize, role: Role, takes_list: fn(&[u8]) -> bool) -> (Self, usize) {
        let mut word = Self::new(role);
        let mut i = start;
        while i < text.len() {
            let (b, next) = (at(text, i), at(text, i + 1));
            if b == b'(' && word.text.strip_suffix(b"=").is_some_and(takes_list) {
                let end = closing_paren(text, i + 1).map_or(text.len(), |close| close + 1);
                i = word.push(text, i, end, 0, true);
                continue;
            }
            if ends_word(b) {
                break;
            }
            i = match (b, next) {
                (b'\\', b'\n') => i + 2,
                (b'\\', _) => word.escaped(text, i),
                (b'\'', _) => word.single_quoted(text, i),
                (b'"', _) => word.double_quoted(text, i + 1),
                (b'$', b'\'') => word.dollar_quoted(text, i + 2),
                (b'$', b'"') => word.double_quoted(text, i + 2),
                (b'$', b'(') | (b'`', _) => word.substitution(text, i),
                (b'$', b'{') => word.parameter(text, i),
                _ => word.push(text, i, i + 1, 0, false),
            };
        }
        (word, i)
    }

    /// Takes `text[start..end]` into the value as it is, less `skip` bytes in front. Gives `end`.
    pub(crate) fn push(&mut self, text: &[u8], start: usize, end: usize, skip: usize, literal: bool) -> usize {
        let end = end.min(text.len());
        let bytes = part(text, start + skip, end);
        let value = self.text.len();
        self.text.extend_from_slice(bytes);
        match self.runs.last_mut() {
            Some(run)
                if skip == 0
                    && run.len == run.end - run.start
                    && run.end == start
                    && run.section == self.section
                    && run.literal == literal =>
            {
                run.len += bytes.len();
                run.end = end;
            }
            _ if bytes.is_empty() => {}
            _ => self.runs.push(Run { value, len: bytes.len(), start, end, section: self.section, literal }),
        }
        end
    }

    fn escaped(&mut self, text: &[u8], i: usize) -> usize {
        // A backslash at the very end is itself.
        let skip = usize::from(i + 1 < text.len());
        self.push(text, i, i + 2, skip, true)
    }

    fn single_quoted(&mut self, text: &[u8], i: usize) -> usize {
        let end = run_end(text, i + 1, |b| b != b'\'');
        self.section += 1;
        self.push(text, i + 1, end, 0, true);
        self.section += 1;
        end + 1
    }

    fn dollar_quoted(&mut self, text: &[u8], start: usize) -> usize {
        self.section += 1;
        let mut i = start;
        while i < text.len() && at(text, i) != b'\'' {
            i = match (at(text, i), at(text, i + 1)) {
                (b'\\', b'\\' | b'\'' | b'"') => self.push(text, i, i + 2, 1, true),
                _ => self.push(text, i, i + 1, 0, true),
            };
        }
        self.section += 1;
        i + 1
    }

    fn double_quoted(&mut self, text: &[u8], start: usize) -> usize {
        self.section += 1;
        let mut i = start;
        while i < text.len() && at(text, i) != b'"' {
            i = match (at(text, i), at(text, i + 1)) {
                (b'\\', b'\n') => i + 2,
                (b'\\', b'"' | b'\\' | b'$' | b'`') => self.push(text, i, i + 2, 1, true),
                (b'$', b'(') | (b'`', _) => self.substitution(text, i),
                _ => self.push(text, i, i + 1, 0, false),
            };
        }
        self.section += 1;
        i + 1
    }

    /// `${name...}`, as one piece: it may hold blanks. Short ones only, which keeps this linear.
    fn parameter(&mut self, text: &[u8], i: usize) -> usize {
        let window = part(text, 0, i + 128);
        let end = run_end(window, i, |b| !matches!(b, b'}' | b'\n' | b'"' | b'\'' | b'`'));
        let end = if at(text, end) == b'}' { end + 1 } else { i + 2 };
        self.push(text, i, end, 0, false)
    }

    fn substitution(&mut self, text: &[u8], i: usize) -> usize {
        let opener = if at(text, i) == b'`' { 1 } else { 2 };
        let close = if opener == 1 { closing_backtick(text, i + 1) } else { closing_paren(text, i + 2) };
        let end = close.map_or(text.len(), |close| close + 1);
        let value = self.text.len();
        self.push(text, i, end, 0, false);
        self.substitutions.push(Substitution {
            value: (value, self.text.len()),
            command: (i + opener, close.unwrap_or(text.len())),
            closed: close.is_some(),
        });
        end
    }

    /// Where the bytes `start..end` of the value stand in the text: one range for each quoted section.
    pub(crate) fn places(&self, start: usize, end: usize) -> Vec<(usize, usize)> {
        let mut places: Vec<(usize, usize)> = Vec::new();
        let mut section = None;
        let skip = self.runs.partition_point(|run| run.value + run.len <= start);
        let runs = self.runs.iter().skip(skip).take_while(|run| run.value < end);
        for run in runs.filter(|_| start < end) {
            let is_escape = run.end - run.start != run.len;
            let before = if is_escape { 0 } else { start.saturating_sub(run.value) };
            let after = if is_escape { 0 } else { (run.value + run.len).saturating_sub(end) };
            let (from, to) = (run.start + before, run.end - after);
            match places.last_mut() {
                Some(last) if section == Some(run.section) => last.1 = to,
                _ => places.push((from, to)),
            }
            section = Some(run.section);
        }
        places
    }

    /// Whether this byte of the value is no reference: it stands in single quotes or is escaped.
    pub(crate) fn is_literal(&self, value: usize) -> bool {
        let i = self.runs.partition_point(|run| run.value + run.len <= value);
        self.runs.get(i).is_none_or(|run| run.literal)
    }
}

/// Whether an unquoted byte ends a word.
pub(crate) fn ends_word(b: u8) -> bool {
    is_blank(b) || matches!(b, b'\n' | b'\r' | b'|' | b'&' | b';' | b'(' | b')' | b'<' | b'>')
}
