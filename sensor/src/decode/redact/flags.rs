//! How programs write options and their values.
//!
//! In: the words of a command and a row's [`Flag`]. Out: the word and the offset where its value begins. It
//! rests on getopt (`-p x`, `-px`), `getopt_long` (`--user x`, `--user=x`) and single-dash long options
//! (`-passin x`). An option without its value is not found: there is nothing to remove.

use super::tools::{Flag, Takes};

impl Flag {
    /// The word and the offset of the value, if word `i` is this option. Words from `end` on are another's.
    pub(super) fn value(&self, words: &[&[u8]], i: usize, end: usize) -> Option<(usize, usize)> {
        let Self(option, takes, _) = *self;
        let word = *words.get(i)?;
        let next = words.get(i + 1).filter(|_| i + 1 < end);
        let is_long = option.len() > 2 && option.starts_with('-') && takes != Takes::Joined;
        if word == option.as_bytes() {
            let value = match takes {
                Takes::Joined => None,
                Takes::Maybe => next.filter(|value| !looks_like_option(value)),
                Takes::Either | Takes::Next | Takes::Cluster => next,
            };
            return value.map(|_| (i + 1, 0));
        }
        if takes == Takes::Next {
            return None;
        }
        if let Some(value) = word.strip_prefix(option.as_bytes()) {
            return match value.first() {
                Some(b'=') if is_long => Some((i, option.len() + 1)),
                Some(_) if !is_long => Some((i, option.len())),
                _ => None,
            };
        }
        next.filter(|_| takes == Takes::Cluster && ends_cluster(word, option)).map(|_| (i + 1, 0))
    }
}

/// Whether `word` is a cluster of short options (`-sSu`) that ends in `option`.
fn ends_cluster(word: &[u8], option: &str) -> bool {
    word.len() <= 8
        && word.last() == option.as_bytes().last()
        && word.strip_prefix(b"-").is_some_and(|letters| letters.iter().all(u8::is_ascii_alphabetic))
}

/// `-x`, `-abc`, `--long`, `--long=...`: passwords with a leading dash seldom are letters only.
pub(super) fn looks_like_option(word: &[u8]) -> bool {
    let name = word.split(|&b| b == b'=').next().unwrap_or(word);
    name.len() > 1 && name.starts_with(b"-") && name.iter().all(|b| b.is_ascii_alphabetic() || *b == b'-')
}
