//! Edits: which bytes of a text go.
//!
//! In: a text and the edits found for it, in any order, perhaps overlapping. Out: the clean text, or nothing
//! if it would be the same. It rests on a value that spans several quotes (`a"b"`) being one marked edit and
//! further unmarked ones, so the quotes stay balanced. Edits past the end are ignored.

use super::bytes::{part, tail};
use super::mark::MARK;

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
