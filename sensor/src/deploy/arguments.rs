//! Arguments as the tool reads them: words and options, and the verb that the words begin with.
//!
//! In: what follows the program in argv, and how the definition says that the tool reads it (Thor, optparse, argparse,
//! pflag, Go's flag). Out: words and options with their places, so that a secret can be found again. An option that is
//! not known to take a value takes none; `--` ends them.

use super::{
    definition::{Arguments, Definition},
    pattern::glob,
};
use crate::{event::deploy::Kind, shell::runners::is_assignment};

/// A word that is no option, and its place in the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) at: usize,
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) value: Option<String>,
    /// Where its value is: in the same argument, from this byte, or in the next one.
    pub(super) place: Option<(usize, usize)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) words: Vec<Word>,
    pub(super) options: Vec<Choice>,
    /// The first argument is an option.
    pub(super) begins_with_option: bool,
}

/// Reads arguments.
pub(super) fn parse(args: &[&str], rules: &Arguments) -> Parsed {
    let mut parsed = Parsed { begins_with_option: args.first().is_some_and(|arg| is_option(arg)), ..Parsed::default() };
    let mut at = 0;
    let mut open = true;
    while let Some(arg) = args.get(at).copied() {
        at += 1;
        if open && arg == "--" {
            open = false;
        } else if open && is_option(arg) {
            let next = args.get(at).copied();
            let choice = option(arg, at - 1, next, rules);
            at += usize::from(choice.place.is_some_and(|(place, _)| place == at));
            if !rules.one_dash {
                parsed.options.extend(cluster(arg, &choice));
            }
            parsed.options.push(choice);
        } else if !(rules.assignments && is_assignment(arg.as_bytes())) {
            parsed.words.push(Word { at: at - 1, text: arg.to_owned() });
        }
    }
    parsed
}

fn is_option(arg: &str) -> bool {
    arg.len() > 1 && arg.starts_with('-')
}

fn option(arg: &str, at: usize, next: Option<&str>, rules: &Arguments) -> Choice {
    let takes = |name: &str| rules.values.iter().chain(&rules.secret).any(|known| known == name);
    let joined = |name: &str, from: usize| Choice {
        name: name.into(),
        value: arg.get(from..).map(str::to_owned),
        place: Some((at, from)),
    };
    let long = arg.starts_with("--") || rules.one_dash;
    if let Some((name, _)) = arg.split_once('=').filter(|_| long) {
        return joined(name, name.len() + 1);
    }
    if takes(arg) {
        return Choice { name: arg.into(), value: next.map(str::to_owned), place: next.map(|_| (at + 1, 0)) };
    }
    // `-nproduction`; a cluster of switches (`-it`) may end in one that takes a value: `-dp 80:80`.
    let second = arg.char_indices().nth(2).map(|(from, _)| from);
    if let Some(from) = second.filter(|_| !long) {
        let short = arg.get(..from).unwrap_or_default();
        if takes(short) {
            return joined(short, from);
        }
        let last = arg.chars().next_back().map(|c| format!("-{c}")).unwrap_or_default();
        if takes(&last) && arg.chars().skip(1).all(|c| c.is_ascii_alphabetic()) {
            return Choice { name: last, value: next.map(str::to_owned), place: next.map(|_| (at + 1, 0)) };
        }
    }
    Choice { name: arg.into(), value: None, place: None }
}

/// The switches in `-azn`, but for the last one if that was read by itself.
fn cluster(arg: &str, read: &Choice) -> Vec<Choice> {
    let letters = arg.strip_prefix('-').filter(|rest| rest.len() > 1 && rest.bytes().all(|b| b.is_ascii_alphabetic()));
    let whole = read.name == arg || read.name.strip_prefix('-').is_some_and(|last| arg.ends_with(last));
    let Some(letters) = letters.filter(|_| whole) else { return Vec::new() };
    let switch = |letter: char| Choice { name: format!("-{letter}"), value: None, place: None };
    letters.chars().map(switch).filter(|choice| choice.name != read.name).collect()
}

/// The verb of these words: its name, how many words from which one, what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verb {
    pub(super) name: String,
    pub(super) from: usize,
    pub(super) words: usize,
    pub(super) kind: Kind,
    /// In the definition.
    pub(super) listed: bool,
}

/// Finds the verb.
pub(super) fn verb(words: &[&str], definition: &Definition) -> Verb {
    let rules = &definition.arguments;
    let from = rules.verb_at.min(words.len()).saturating_sub(1);
    let own: Vec<String> = words.iter().skip(from).map(|word| normal(word, rules)).collect();
    let found = |name: String, words: usize, kind: Kind, listed| Verb { name, from, words, kind, listed };
    let Some(first) = own.first().cloned() else {
        let bare = if definition.verbs.is_empty() { Kind::Deploy } else { Kind::None };
        return found(String::new(), 0, definition.bare.unwrap_or(bare), true);
    };
    if definition.verbs.is_empty() {
        return found(String::new(), 0, definition.bare.unwrap_or(Kind::Deploy), true);
    }
    let own = if rules.abbreviations { spelled_out(&own, definition) } else { own };
    let longest = definition.verbs.keys().map(|verb| verb.split(' ').count()).max().unwrap_or(1);
    for count in (1..=longest.min(own.len())).rev() {
        let part = own.get(..count).unwrap_or_default();
        if let Some(kind) = definition.verbs.get(&part.join(" ")) {
            return found(part.join(" "), count, *kind, true);
        }
        // The one that says most.
        let patterns = definition.verbs.iter().filter(|(verb, _)| verb.contains('*') && matches(verb, part));
        let by_pattern = patterns.max_by_key(|(verb, _)| verb.len());
        if let Some((_, kind)) = by_pattern {
            return found(part.join(" "), count, *kind, true);
        }
    }
    let first = own.first().unwrap_or(&first).clone();
    let group = definition.verbs.keys().any(|verb| verb.split_once(' ').is_some_and(|(group, _)| group == first));
    let unlisted = definition.unlisted.unwrap_or(Kind::Unknown);
    match own.get(1) {
        // `kamal app`, `kamal app help`: the tool lists what there is.
        None if group => found(first, 1, Kind::None, true),
        Some(second) if group && second == "help" => found(first, 1, Kind::None, true),
        Some(second) if group => found(format!("{first} {second}"), 2, unlisted, false),
        _ => found(first, 1, unlisted, false),
    }
}

fn normal(word: &str, rules: &Arguments) -> String {
    if rules.dashes_are_underscores { word.replace('-', "_") } else { word.to_owned() }
}

fn matches(verb: &str, words: &[String]) -> bool {
    verb.split(' ').count() == words.len() && verb.split(' ').zip(words).all(|(pattern, word)| glob(pattern, word))
}

/// Beginnings of verbs become verbs, as far as they are unambiguous.
fn spelled_out(words: &[String], definition: &Definition) -> Vec<String> {
    let mut own = words.to_vec();
    for at in 0..own.len().min(2) {
        let before = own.get(..at).unwrap_or_default().to_vec();
        let word = own.get(at).cloned().unwrap_or_default();
        let mut candidates: Vec<&str> = definition
            .verbs
            .keys()
            .filter_map(|verb| {
                let parts: Vec<&str> = verb.split(' ').collect();
                let same = before.iter().zip(&parts).all(|(own, part)| own == part);
                parts.get(at).copied().filter(|part| same && part.starts_with(word.as_str()))
            })
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        match candidates.as_slice() {
            exact if exact.contains(&word.as_str()) => {}
            [only] => {
                if let Some(place) = own.get_mut(at) {
                    (*only).clone_into(place);
                }
            }
            _ => break,
        }
    }
    own
}
