//! A shell command line as flat words, operators among them: what patterns are matched against.
//!
//! In: one line as a remote shell gets it (POSIX.1-2024 XCU 2.2 quoting, 2.3 tokens). Out: words without their quotes;
//! `&&`, `||`, `|`, `;`, `&`, `(`, `)`, `>`, `>>`, `<` and line ends (as `;`) are words of their own, marked as
//! operators so that a quoted `>` is none. Substitutions are text: what they print is not known here. Hostile input:
//! one pass, and no more than [`WORDS_MAX`] words; an open quote runs to the end.

/// Words read of a line: Kamal's longest has about 60.
const WORDS_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) operator: bool,
}

/// Reads a line.
pub(super) fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    let mut text: Option<String> = None;
    while let Some(c) = chars.next() {
        if words.len() >= WORDS_MAX {
            return words;
        }
        match c {
            '\'' => {
                let word = text.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '"' => quoted(&mut chars, text.get_or_insert_default()),
            '\\' => text.get_or_insert_default().extend(chars.next().filter(|c| *c != '\n')),
            '$' if chars.peek() == Some(&'(') => substitution(&mut chars, text.get_or_insert_default()),
            ' ' | '\t' | '\r' => end(&mut text, &mut words),
            '\n' => {
                end(&mut text, &mut words);
                operator(";", &mut words);
            }
            '&' | '|' | ';' | '(' | ')' | '<' | '>' => {
                end(&mut text, &mut words);
                let mut sign = String::from(c);
                // `2>&1` and `&>` are redirections; what follows is their target, a word as any other.
                while let Some(next) = chars.peek().copied().filter(|next| joins(&sign, *next)) {
                    sign.push(next);
                    chars.next();
                }
                operator(&sign, &mut words);
            }
            _ => text.get_or_insert_default().push(c),
        }
    }
    end(&mut text, &mut words);
    words
}

fn joins(sign: &str, next: char) -> bool {
    matches!((sign, next), ("&", '&' | '>') | ("|", '|' | '&') | (";", ';') | (">", '>' | '&' | '|') | ("<", '<' | '&'))
}

fn end(text: &mut Option<String>, words: &mut Vec<Word>) {
    words.extend(text.take().map(|text| Word { text, operator: false }));
}

fn operator(sign: &str, words: &mut Vec<Word>) {
    words.push(Word { text: sign.into(), operator: true });
}

/// Inside double quotes, to the closing one.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut String) {
    while let Some(c) = chars.next() {
        match c {
            '"' => return,
            '\\' => match chars.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                Some('\n') | None => {}
                Some(next) => word.extend(['\\', next]),
            },
            '$' if chars.peek() == Some(&'(') => substitution(chars, word),
            _ => word.push(c),
        }
    }
}

/// `$(...)` as it stands, to its closing parenthesis.
fn substitution(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut String) {
    word.push('$');
    let mut depth = 0_usize;
    for c in chars.by_ref() {
        word.push(c);
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
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
    fn hostile_lines_end() {
        assert_eq!(words(&"a ".repeat(100_000)).len(), WORDS_MAX);
        assert_eq!(read("a 'b \"c"), ["a", "b \"c"]);
        assert_eq!(read("$("), ["$("]);
        assert_eq!(read("\\"), [""]);
    }
}
