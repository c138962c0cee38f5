//! Patterns of command lines, as tool definitions write them.
//!
//! A pattern is words: `docker pull {image}`. A word matches the same word; `*` alone matches any number of words, also
//! none; inside a word `*` matches any text, and `{name}` matches text that is not empty and keeps it under that name.
//! An operator (`&&`, `>>`, `|`) matches the operator only. The whole line must match. The cost is bounded: at most
//! [`STEPS_MAX`] comparisons, after which it is no match.

use super::shell::Word;

/// Comparisons for one pattern on one line. A pattern with four `*` on Kamal's longest line takes some hundreds.
const STEPS_MAX: u32 = 4_000;

/// What a pattern may keep.
pub(super) const NAMES: &[&str] = &[
    "service",
    "destination",
    "role",
    "version",
    "container",
    "prefix",
    "image",
    "registry",
    "performer",
    "audit_log",
    "lock",
    "hook",
    "file",
    "host",
    "secret",
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Any words.
    Any,
    Operator(String),
    Word(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Any,
    Kept(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

/// What a pattern kept of a line.
pub(super) type Kept<'a> = Vec<(&'static str, &'a str)>;

impl Pattern {
    /// Reads a pattern. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let tokens: Vec<Token> = text.split_ascii_whitespace().map(token).collect::<Result<_, _>>()?;
        if tokens.iter().all(|token| *token == Token::Any) {
            return Err("it matches everything: write at least one word".into());
        }
        Ok(Self(tokens))
    }

    /// Matches the whole line.
    pub(super) fn matches<'a>(&self, words: &[&'a Word]) -> Option<Kept<'a>> {
        let mut kept = Vec::new();
        let mut steps = 0;
        match_words(&self.0, words, &mut kept, &mut steps).then_some(kept)
    }

    /// The longest text beside `{name}` in its word.
    pub(super) fn literal_of(&self, name: &str) -> Option<&str> {
        let words = self.0.iter().filter_map(|token| if let Token::Word(pieces) = token { Some(pieces) } else { None });
        let word = words
            .into_iter()
            .find(|pieces| pieces.iter().any(|piece| matches!(piece, Piece::Kept(own) if *own == name)))?;
        let texts =
            word.iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None });
        texts.max_by_key(|text| text.len())
    }

    /// Matches as many words as it has, anywhere in the line: what all places kept.
    pub(super) fn find_all<'a>(&self, words: &[&'a Word]) -> Kept<'a> {
        let mut all = Vec::new();
        for window in words.windows(self.0.len().max(1)) {
            let mut kept = Vec::new();
            if match_words(&self.0, window, &mut kept, &mut 0) {
                all.append(&mut kept);
            }
        }
        all
    }
}

/// Does a word with `*` in it match?
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut kept = Vec::new();
    pieces(pattern).is_ok_and(|pieces| match_pieces(&pieces, text, &mut kept, &mut 0))
}

fn token(word: &str) -> Result<Token, String> {
    Ok(match word {
        "*" => Token::Any,
        "&&" | "||" | "|" | ";" | "&" | "(" | ")" | ">" | ">>" | "<" => Token::Operator(word.into()),
        _ => Token::Word(pieces(word)?),
    })
}

fn pieces(word: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('*') {
            pieces.push(Piece::Any);
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('{') {
            let (name, tail) = tail.split_once('}').ok_or_else(|| format!("`{word}` has a {{ without a }}"))?;
            let known = NAMES.iter().find(|known| **known == name);
            let known = known.ok_or_else(|| format!("`{{{name}}}` is no name: known are {}", NAMES.join(", ")))?;
            pieces.push(Piece::Kept(known));
            rest = tail;
        } else {
            let end = rest.find(['*', '{']).unwrap_or(rest.len());
            let (text, tail) = rest.split_at(end);
            pieces.push(Piece::Text(text.into()));
            rest = tail;
        }
    }
    Ok(pieces)
}

fn match_words<'a>(tokens: &[Token], words: &[&'a Word], kept: &mut Kept<'a>, steps: &mut u32) -> bool {
    *steps += 1;
    if *steps > STEPS_MAX {
        return false;
    }
    let Some((token, tokens)) = tokens.split_first() else { return words.is_empty() };
    if *token == Token::Any {
        if tokens.is_empty() {
            return true;
        }
        let before = kept.len();
        return (0..=words.len()).any(|skip| {
            kept.truncate(before);
            match_words(tokens, words.get(skip..).unwrap_or_default(), kept, steps)
        });
    }
    let Some((word, words)) = words.split_first() else { return false };
    let fits = match token {
        Token::Operator(sign) => word.operator && word.text == *sign,
        Token::Word(pieces) => !word.operator && match_pieces(pieces, &word.text, kept, steps),
        Token::Any => true,
    };
    fits && match_words(tokens, words, kept, steps)
}

fn match_pieces<'a>(pieces: &[Piece], text: &'a str, kept: &mut Kept<'a>, steps: &mut u32) -> bool {
    *steps += 1;
    if *steps > STEPS_MAX {
        return false;
    }
    let Some((piece, pieces)) = pieces.split_first() else { return text.is_empty() };
    match piece {
        Piece::Text(own) => text.strip_prefix(own.as_str()).is_some_and(|rest| match_pieces(pieces, rest, kept, steps)),
        // The last one takes the rest: most words end this way.
        Piece::Any if pieces.is_empty() => true,
        Piece::Kept(name) if pieces.is_empty() => {
            kept.push((name, text));
            !text.is_empty()
        }
        Piece::Any | Piece::Kept(_) => {
            let before = kept.len();
            let name = if let Piece::Kept(name) = piece { Some(*name) } else { None };
            // The longest first: `{service}-audit.log` of `my-app-audit.log` is `my-app`.
            text.char_indices().map(|(at, _)| at).chain([text.len()]).rev().any(|at| {
                kept.truncate(before);
                let (taken, rest) = text.split_at(at);
                if let Some(name) = name {
                    if taken.is_empty() {
                        return false;
                    }
                    kept.push((name, taken));
                }
                match_pieces(pieces, rest, kept, steps)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::shell::words, *};

    fn kept(pattern: &str, line: &str) -> Option<Vec<String>> {
        let words = words(line);
        let words: Vec<&Word> = words.iter().collect();
        let kept = Pattern::parse(pattern).unwrap().matches(&words)?;
        Some(kept.iter().map(|(name, text)| format!("{name}={text}")).collect())
    }

    #[test]
    fn words_and_stars_match_whole_lines() {
        assert_eq!(kept("docker pull {image}", "docker pull r/a:1"), Some(vec!["image=r/a:1".into()]));
        assert_eq!(kept("docker pull {image}", "docker pull r/a:1 x"), None);
        assert_eq!(kept("docker pull *", "docker pull"), Some(vec![]));
        assert_eq!(
            kept("* --name {container} * {image}", "docker run --detach --name web-1 --network k img:2"),
            Some(vec!["container=web-1".into(), "image=img:2".into()])
        );
        assert_eq!(
            kept("mkdir *lock-{lock} && *", "mkdir .kamal/lock-app-production && echo x > y"),
            Some(vec!["lock=app-production".into()])
        );
        assert_eq!(kept("echo * >> {audit_log}-audit.log", r#"echo "[x] y" > a-audit.log"#), None);
        assert_eq!(kept("echo x >> {audit_log}-audit.log", "echo x '>>' a-audit.log"), None);
    }

    #[test]
    fn a_pattern_that_says_nothing_or_too_much_is_refused() {
        assert!(Pattern::parse("* *").unwrap_err().contains("everything"));
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse("x {nme}").unwrap_err().contains("known are service"));
        assert!(Pattern::parse("x {service").unwrap_err().contains("without a }"));
    }

    #[test]
    fn hostile_lines_cost_no_more_than_the_bound() {
        let line = "a ".repeat(500);
        let started = std::time::Instant::now();
        assert_eq!(kept("* a * a * a * a * b", &line), None);
        assert_eq!(kept("*a*a*a*a*a*b", &"a".repeat(4000)), None);
        assert!(started.elapsed().as_secs() < 1);
    }

    #[test]
    fn globs() {
        assert!(glob("deploy*", "deploy:production") && glob("*", "") && !glob("deploy", "deploys"));
        assert!(glob("dokku@*:app", "dokku@host:app"));
    }
}
