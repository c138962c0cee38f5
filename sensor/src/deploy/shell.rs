//! A shell command line as flat words, operators among them: what patterns are matched against.
//!
//! In: one line as a remote shell gets it, read by [`lexer`]. Out: words without their quotes; `&&`, `||`, `|`, `;`,
//! `&`, `(`, `)`, `>`, `>>`, `<` and line ends (as `;`) are words of their own, marked as operators so that a quoted
//! `>` is none. Substitutions are text: what they print is not known here. Hostile input: no more than [`WORDS_MAX`]
//! words.

use crate::shell::{
    bytes::part,
    lexer::{self, Item},
    word::Role,
};

/// Words read of a line: Kamal's longest has about 60.
const WORDS_MAX: usize = 512;
/// Here-documents in here-documents: each is read once for each that it stands in.
const DEPTH_MAX: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) operator: bool,
}

/// Reads a line. The body of a here-document is read as lines of its own: a shell may read it.
pub(super) fn words(line: &str) -> Vec<Word> {
    let mut words = flat(line.as_bytes(), 0);
    words.truncate(WORDS_MAX);
    words
}

fn flat(line: &[u8], depth: usize) -> Vec<Word> {
    let items = lexer::lex(line, |_| false).into_iter().take(WORDS_MAX);
    let operator = |start, end| match part(line, start, end) {
        b"\n" => Word { text: ";".into(), operator: true },
        sign => Word { text: text(sign), operator: true },
    };
    let mut words = Vec::new();
    for item in items {
        match item {
            Item::Word(word) if word.role == Role::Comment => {}
            Item::Word(word) => words.push(Word { text: text(&word.text), operator: false }),
            Item::Pipe(start, end) | Item::End(start, end) | Item::Redirection(start, end) => {
                words.push(operator(start, end));
            }
            Item::Body(..) if depth >= DEPTH_MAX => {}
            Item::Body(start, end) => {
                words.push(Word { text: ";".into(), operator: true });
                words.extend(flat(part(line, start, end), depth + 1));
            }
        }
    }
    words
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The words of a command given as one string, operators as text: what a tool's alias stands for.
pub(super) fn split(text: &str) -> Vec<String> {
    words(text).into_iter().map(|word| word.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<String> {
        words(line).into_iter().map(|w| if w.operator { format!("‹{}›", w.text) } else { w.text }).collect()
    }

    #[test]
    fn quotes_go_and_operators_stand_alone() {
        assert_eq!(
            read(r#"/usr/bin/env mkdir -p .kamal && echo "[a b] [c]" >> .kamal/x-audit.log"#),
            ["/usr/bin/env", "mkdir", "-p", ".kamal", "‹&&›", "echo", "[a b] [c]", "‹>>›", ".kamal/x-audit.log"]
        );
        assert_eq!(
            read("a|b||c;d & (e) 2>&1"),
            ["a", "‹|›", "b", "‹||›", "c", "‹;›", "d", "‹&›", "‹(›", "e", "‹)›", "2", "‹>&›", "1"]
        );
        assert_eq!(
            read(r"sh -c 'docker ps --format '\''{{.Names}}'\'' ; x'"),
            ["sh", "-c", "docker ps --format '{{.Names}}' ; x"]
        );
        assert_eq!(read(r#"echo ">" "a\"b\n" '' a\ b"#), ["echo", ">", "a\"b\\n", "", "a b"]);
    }

    #[test]
    fn substitutions_are_text() {
        assert_eq!(
            read(r#"grep -v "$(docker ls | tr -d '\n')x" $(a (b) c) d"#),
            ["grep", "-v", r"$(docker ls | tr -d '\n')x", "$(a (b) c)", "d"]
        );
    }

    #[test]
    fn comments_are_no_words_and_a_document_is_lines() {
        assert_eq!(read("a b # c > d\ne#f"), ["a", "b", "‹;›", "e#f"]);
        assert_eq!(read("sh <<X\na b\nX\nc"), ["sh", "‹<<›", "X", "‹;›", "a", "b", "‹;›", "‹;›", "‹;›", "c"]);
    }

    #[test]
    fn hostile_lines_end() {
        assert_eq!(words(&"a ".repeat(100_000)).len(), WORDS_MAX);
        assert!(words(&"<<a\n".repeat(100_000)).len() <= WORDS_MAX);
        assert_eq!(read("a 'b \"c"), ["a", "b \"c"]);
        assert_eq!(read("$("), ["$("]);
        assert_eq!(read("\\"), ["\\"]);
    }
}
