//! Reads from byte slices that cannot fail.
//!
//! In: a slice and offsets, which hostile input may have driven past the end. Out: the bytes there are.
//! It rests on one convention: past the end is NUL, which no argv holds and no rule looks for.

/// The byte at `i`; NUL past the end.
pub(crate) fn at(text: &[u8], i: usize) -> u8 {
    text.get(i).copied().unwrap_or(0)
}

/// The byte before `i`; NUL at the start.
pub(crate) fn before(text: &[u8], i: usize) -> u8 {
    i.checked_sub(1).map_or(0, |i| at(text, i))
}

/// `text[start..end]`, as much of it as there is.
pub(crate) fn part(text: &[u8], start: usize, end: usize) -> &[u8] {
    text.get(start..end.min(text.len())).unwrap_or_default()
}

/// `text[start..]`, empty past the end.
pub(crate) fn tail(text: &[u8], start: usize) -> &[u8] {
    text.get(start..).unwrap_or_default()
}

/// Where the run of bytes for which `holds` ends, from `start` on.
pub(crate) fn run_end(text: &[u8], start: usize, holds: impl Fn(u8) -> bool) -> usize {
    let rest = tail(text, start);
    start + rest.iter().position(|&b| !holds(b)).unwrap_or(rest.len())
}

/// Whether `text` begins with `prefix`, whatever the case.
pub(crate) fn starts_with_ignore_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// Space or tab.
pub(crate) fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}
