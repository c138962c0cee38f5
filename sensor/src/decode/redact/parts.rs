//! Which part of an option's value is the secret.
//!
//! In: a word, the offset where the value begins, and the [`Part`] that the table gives. Out: edits, or the
//! [`Place`] by which to search the word for pairs. It rests on the forms in the programs' manuals; a value
//! that lacks the form (`curl -u alice`, which prompts) is only searched.

use super::bond::Place;
use super::edits::Edit;
use super::names::{self, Class};
use super::values::{self, may_stay};
use crate::shell::bytes::{at, part, run_end, starts_with_ignore_case, tail};

/// A part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// All of it, unless it is `name=value`.
    Token,
    /// `user:SECRET`.
    AfterColon,
    /// `user%SECRET`.
    AfterPercent,
    /// `user,SECRET`.
    AfterComma,
    /// `user/SECRET@database`.
    AfterSlash,
    /// `pass:SECRET` (openssl; `env:`, `file:`, `fd:` and `stdin` are references).
    PassSpec,
    /// `name=SECRET`, whatever the name; `name=@file` is a reference.
    Assigned,
    /// `NAME:SECRET` if the name says secret.
    ColonPair,
    /// `a=SECRET; b=SECRET`; without `=` it is the name of a file.
    CookiePairs,
    /// `send "SECRET\r"` in a script of expect.
    Sends,
    /// Nothing: the name says secret, the value is the name of one.
    Reference,
    /// Nothing by itself: searched as a header.
    Header,
    /// Nothing by itself: searched as a list of pairs.
    List,
    /// Nothing by itself: searched as prose.
    Prose,
}

impl Part {
    /// Whether the part is removed even where no name says secret.
    pub(super) fn removes(self) -> bool {
        !matches!(self, Self::ColonPair | Self::Reference | Self::Header | Self::List | Self::Prose)
    }

    /// How to search the value for pairs.
    pub(super) fn place(self) -> Place {
        match self {
            Self::Header => Place::Header,
            Self::List => Place::List,
            Self::Prose => Place::Prose,
            // No argument place: `id=TOKEN` and `src=...` are no assignments.
            _ => Place::Argument,
        }
    }

    /// The edits in `text`, whose value begins at `from`.
    pub(super) fn edits(self, text: &[u8], from: usize) -> Vec<Edit> {
        let value = tail(text, from);
        let start = match self {
            Self::Whole => Some(from),
            Self::Token => (!value.contains(&b'=')).then_some(from),
            Self::AfterColon => after(value, from, b':'),
            Self::AfterPercent => after(value, from, b'%'),
            Self::AfterComma => after(value, from, b','),
            Self::PassSpec => starts_with_ignore_case(value, b"pass:").then_some(from + 5),
            Self::Assigned => after(value, from, b'=').filter(|&i| at(text, i) != b'@'),
            Self::CookiePairs => value.contains(&b'=').then_some(from),
            Self::ColonPair => after(value, from, b':').filter(|&i| names::classify(part(text, from, i)).is_some()),
            Self::AfterSlash => return account(text, from),
            Self::Sends => return sends(text, from),
            Self::Reference | Self::Header | Self::List | Self::Prose => None,
        };
        start.and_then(|start| mark(text, start, text.len())).into_iter().collect()
    }
}

fn mark(text: &[u8], start: usize, end: usize) -> Option<Edit> {
    (!may_stay(part(text, start, end), Class::Value)).then(|| Edit::mark(start, end))
}

fn after(value: &[u8], from: usize, separator: u8) -> Option<usize> {
    memchr::memchr(separator, value).map(|i| from + i + 1)
}

/// `user/password@database` of Oracle's clients; a path is none.
fn account(text: &[u8], from: usize) -> Vec<Edit> {
    let user_end = run_end(text, from, |b| b.is_ascii_alphanumeric() || b"_$#".contains(&b));
    if user_end == from || at(text, user_end) != b'/' {
        return Vec::new();
    }
    let end = memchr::memrchr(b'@', text).filter(|&i| i > user_end).unwrap_or(text.len());
    mark(text, user_end + 1, end).into_iter().collect()
}

/// The strings that an expect script sends. All of them: which prompt they answer is not known for sure.
fn sends(text: &[u8], from: usize) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut done = from;
    while let Some(i) = memchr::memmem::find(tail(text, done), b"send ") {
        let mut value = done + i + 5;
        if tail(text, value).starts_with(b"-- ") {
            value += 3;
        }
        let (start, end, after) = values::quoted(text, value).unwrap_or_else(|| {
            let end = run_end(text, value, |b| !b.is_ascii_whitespace() && b != b';');
            (value, end, end)
        });
        edits.extend(mark(text, start, end));
        done = after.max(value);
    }
    edits
}
