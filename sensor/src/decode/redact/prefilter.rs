//! The cheap question asked of every exec: could this hold a secret at all?
//!
//! In: raw bytes of an argument or a line. Out: `false` only if no rule can fire. It rests on needles taken
//! from the same tables as the rules ([`names`], [`tools`], [`shapes`]), searched in one pass of a
//! case-insensitive automaton. Quotes, backslashes and newlines are skipped, so `pass''word` and `my\sql` are
//! found without unquoting; that only ever adds matches. If the automaton cannot be built (it can: a test
//! builds it) every text takes the slow way.

use std::sync::LazyLock;

use aho_corasick::automaton::Automaton;
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};

use super::{names, shapes, tools};

/// Needles of the rules written in code: URLs, SQL (`IDENTIFIED BY`), and programs that read a password from
/// a pipe (`echo x | sudo -S`).
const OTHERS: &[&str] = &["://", "identified", "sudo", "cryptsetup", "kinit", "bearer"];

static AUTOMATON: LazyLock<Option<DFA>> = LazyLock::new(|| {
    DFA::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .start_kind(StartKind::Unanchored)
        .build(needles())
        .ok()
});

fn needles() -> Vec<&'static str> {
    let mut all: Vec<&'static str> = OTHERS.to_vec();
    all.extend(names::needles());
    all.extend(tools::needles());
    all.extend(shapes::needles());
    all.sort_unstable_by_key(|needle| needle.len());
    let mut kept: Vec<&'static str> = Vec::new();
    for needle in all {
        if !kept.iter().any(|short| needle.to_ascii_lowercase().contains(&short.to_ascii_lowercase())) {
            kept.push(needle);
        }
    }
    kept
}

/// Whether any rule could fire on `text`.
pub(super) fn may_hold_secret(text: &[u8]) -> bool {
    let Some(automaton) = AUTOMATON.as_ref() else { return true };
    let Ok(mut state) = automaton.start_state(Anchored::No) else { return true };
    for &byte in text {
        if matches!(byte, b'\'' | b'"' | b'\\' | b'\n') {
            continue;
        }
        state = automaton.next_state(Anchored::No, state, byte);
        if automaton.is_special(state) && automaton.is_match(state) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{AUTOMATON, needles};

    #[test]
    fn the_automaton_is_built() {
        assert!(AUTOMATON.is_some());
        assert!(needles().iter().all(|needle| needle.len() >= 2 && !needle.contains(['\'', '"', '\\', '\n'])));
    }
}
