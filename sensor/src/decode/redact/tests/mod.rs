//! The tables of what is removed and what stays, hostile input, and the properties of every input.
//!
//! A case is a line of text; an argv is split at ` ¦ `.

mod args;
mod executed;
mod hostile;
mod lines;
mod stays;

use super::{MARK, prefilter, redact_args, redact_args_slowly, redact_line, redact_line_slowly};

fn argv(text: &str) -> Vec<Vec<u8>> {
    text.split(" ¦ ").map(|arg| arg.as_bytes().to_vec()).collect()
}

/// One argv through the filter, and all that must hold for any argv.
fn check_args(before: &[Vec<u8>]) -> Vec<Vec<u8>> {
    check_exec(None, before)
}

/// As `check_args`, of an exec whose executable is known.
fn check_exec(executable: Option<&[u8]>, before: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut after = before.to_vec();
    let changed = redact_args(&mut after, executable);
    assert_eq!(changed, after != before, "says truly whether it changed: {}", show_all(before));
    let mut again = after.clone();
    assert!(!redact_args(&mut again, executable), "twice is once: {} then {}", show_all(&after), show_all(&again));
    let mut slow = before.to_vec();
    redact_args_slowly(&mut slow, executable);
    assert_eq!(show_all(&slow), show_all(&after), "the prefilter hides nothing: {}", show_all(before));
    after
}

/// One line through the filter, and all that must hold for any line.
fn check_line(before: &[u8]) -> Vec<u8> {
    let after = redact_line(before);
    assert_ne!(after.as_deref(), Some(before), "None if nothing changed: {}", show(before));
    let clean = after.clone().unwrap_or_else(|| before.to_vec());
    let again = redact_line(&clean).map(|again| show(&again));
    assert_eq!(again, None, "twice is once: {} then {}", show(before), show(&clean));
    assert_eq!(redact_line_slowly(before), after, "the prefilter hides nothing: {}", show(before));
    assert!(after.is_none() || prefilter::may_hold_secret(before));
    assert!(after.is_none() || clean.windows(MARK.len()).any(|part| part == MARK), "{}", show(before));
    clean
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn show_all(args: &[Vec<u8>]) -> String {
    args.iter().map(|arg| show(arg)).collect::<Vec<_>>().join(" ¦ ")
}
