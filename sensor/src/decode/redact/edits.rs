//! Edits: which bytes of a text go.
//!
//! In: a text and the edits found for it, in any order, perhaps overlapping. Out: the clean text, or nothing
//! if it would be the same. It rests on a value that spans several quotes (`a"b"`) being one marked edit and
//! further unmarked ones, so the quotes stay balanced. Edits past the end are ignored.

use super::mark::MARK;
use crate::shell::{
    bytes::{part, tail},
    expansion::is_parameter,
    word::Word,
};

/// Bytes `start..end` go; `[REDACTED]` comes in their place if `mark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) mark: bool,
}

impl Edit {
    pub(super) fn mark(start: usize, end: usize) -> Self {
        Self { start, end, mark: true }
    }
}

/// Adds to `edits` what `edit`, in a word's value, is in the text of its line. `keep_commands`: substitutions stay, and
/// so does a value that is just `$NAME`.
pub(super) fn in_text(word: &Word, text: &[u8], edit: Edit, keep_commands: bool, edits: &mut Vec<Edit>) {
    let first = edits.len();
    let mut add = |start: usize, end: usize| {
        // A value of several quoted sections has one mark, in the first.
        edits.extend(word.places(start, end).into_iter().map(|(start, end)| Edit { start, end, mark: false }));
    };
    let mut start = edit.start;
    if keep_commands {
        let skip = word.substitutions.partition_point(|s| s.value.1 <= edit.start);
        let inside = word.substitutions.iter().skip(skip).take_while(|s| s.value.0 < edit.end);
        for substitution in inside.filter(|s| s.closed) {
            add(start, substitution.value.0);
            start = substitution.value.1;
        }
    }
    add(start, edit.end);
    if let Some(marked) = edits.get_mut(first) {
        marked.mark = edit.mark;
    }
    if keep_commands
        && let [only] = edits.get(first..).unwrap_or_default()
        && !word.is_literal(edit.start)
        && is_parameter(part(text, only.start, only.end))
    {
        edits.truncate(first);
    }
}

/// Sorted, and overlapping or touching edits made one.
pub(super) fn merge(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.retain(|edit| edit.start < edit.end);
    edits.sort_unstable();
    let mut merged: Vec<Edit> = Vec::with_capacity(edits.len());
    for edit in edits {
        match merged.last_mut() {
            Some(last) if edit.start <= last.end => {
                last.end = last.end.max(edit.end);
                last.mark |= edit.mark;
            }
            _ => merged.push(edit),
        }
    }
    merged
}

/// No edit takes half of a mark that is there already: it would leave a bracket behind each time.
fn whole_marks(text: &[u8], edits: Vec<Edit>) -> Vec<Edit> {
    let marks: Vec<usize> = memchr::memmem::find_iter(text, MARK).collect();
    let mark_around = |i: usize| {
        let next = marks.partition_point(|&start| start + MARK.len() <= i);
        marks.get(next).copied().filter(|&start| start < i)
    };
    edits
        .into_iter()
        .map(|edit| Edit {
            start: mark_around(edit.start).unwrap_or(edit.start),
            end: mark_around(edit.end).map_or(edit.end, |start| start + MARK.len()),
            ..edit
        })
        .collect()
}

/// `text` without the bytes of `edits`. `None`: no change.
pub(super) fn apply(text: &[u8], edits: Vec<Edit>) -> Option<Vec<u8>> {
    if edits.is_empty() {
        return None;
    }
    let mut clean = Vec::with_capacity(text.len());
    let mut done = 0;
    for edit in merge(whole_marks(text, edits)) {
        clean.extend_from_slice(part(text, done, edit.start));
        if edit.mark {
            clean.extend_from_slice(MARK);
        }
        done = edit.end;
    }
    clean.extend_from_slice(tail(text, done));
    (clean != text).then_some(clean)
}
