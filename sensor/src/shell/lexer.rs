//! Shell text into words and control operators, with the way back from each word to the text.
//!
//! In: one command line. Out: [`Item`]s. It rests on POSIX.1-2024 XCU 2.2 (quoting), 2.3 (token recognition),
//! 2.7 (redirection), plus `$'...'`, `<<<` and `|&` of bash. Best effort: aliases, `case` patterns, comments
//! inside `$(...)` and arithmetic are read as words and parentheses. It fails open-ended: an unclosed quote
//! or substitution runs to the end of the text. One pass over the text, plus one over each substitution.

use super::bytes::{at, part, run_end, tail};
use super::word::{Role, Word};

/// A piece of a command line.
#[derive(Debug)]
pub(crate) enum Item {
    Word(Word),
    /// `|`, at `start..end` of the text: the next command reads what this one writes.
    Pipe(usize, usize),
    /// Any other operator that ends a command.
    End(usize, usize),
    /// The operator of a redirection; the next word is its target.
    Redirection(usize, usize),
    /// The body of a here-document, `start..end` of the text; it belongs to the pipeline before it.
    Body(usize, usize),
}

/// Reads a command line. `takes_list`: after `NAME=`, is the list in parentheses (`NAME=(a b)`) one value? Others are
/// read as words, for their commands.
pub(crate) fn lex(text: &[u8], takes_list: fn(&[u8]) -> bool) -> Vec<Item> {
    let mut lexer = Lexer { text, i: 0, items: Vec::new(), role: Role::Argument, heredocs: Vec::new(), takes_list };
    while lexer.i < text.len() {
        lexer.step();
    }
    lexer.items
}

struct Lexer<'a> {
    text: &'a [u8],
    i: usize,
    items: Vec<Item>,
    /// What the next word is, after a redirection operator.
    role: Role,
    /// Delimiters of the here-documents whose bodies begin after this line.
    heredocs: Vec<Vec<u8>>,
    takes_list: fn(&[u8]) -> bool,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let (b, next) = (at(self.text, self.i), at(self.text, self.i + 1));
        match (b, next) {
            (b' ' | b'\t' | b'\r', _) => self.i += 1,
            (b'\\', b'\n') => self.i += 2,
            (b'\n', _) => {
                self.i += 1;
                self.role = Role::Argument;
                let end = Item::End(self.i - 1, self.i);
                self.bodies();
                self.items.push(end);
            }
            (b'#', _) => self.comment(),
            (b'|', b'|') | (b'&', b'&') | (b';', b';') | (b'<' | b'>', b'(') => self.operator(2, Item::End),
            (b'|', b'&') => self.operator(2, Item::Pipe),
            (b'|', _) => self.operator(1, Item::Pipe),
            (b'&', b'>') | (b'<' | b'>', _) => self.redirect(),
            (b';' | b'&' | b'(' | b')', _) => self.operator(1, Item::End),
            _ => self.word(),
        }
    }

    fn operator(&mut self, len: usize, item: fn(usize, usize) -> Item) {
        let start = self.i;
        self.i += len;
        self.role = Role::Argument;
        self.items.push(item(start, self.i));
    }

    /// `<`, `>>`, `2>&1`, `<<EOF`, `<<<word`: what the next word is.
    fn redirect(&mut self) {
        // No operator is longer than three bytes.
        let window = part(self.text, 0, self.i + 3);
        let end = run_end(window, self.i, |b| matches!(b, b'<' | b'>' | b'&' | b'|'));
        let operator = part(window, self.i, end);
        self.role = match operator {
            b"<<<" => Role::HereString,
            [b'<', b'<', ..] => Role::Delimiter,
            _ => Role::Target,
        };
        self.i = end;
        if self.role == Role::Delimiter && at(self.text, self.i) == b'-' {
            self.i += 1;
        }
        self.items.push(Item::Redirection(end - operator.len(), self.i));
    }

    fn comment(&mut self) {
        let end = run_end(self.text, self.i, |b| b != b'\n');
        let mut word = Word::new(Role::Comment);
        word.push(self.text, self.i, end, 0, true);
        self.items.push(Item::Word(word));
        self.i = end;
    }

    fn word(&mut self) {
        let role = std::mem::replace(&mut self.role, Role::Argument);
        let (mut word, end) = Word::read(self.text, self.i, role, self.takes_list);
        self.i = end.max(self.i + 1);
        let is_descriptor = !word.text.is_empty() && word.text.iter().all(u8::is_ascii_digit);
        if is_descriptor && matches!(at(self.text, self.i), b'<' | b'>') {
            word.role = Role::Target;
        }
        if word.role == Role::Delimiter {
            self.heredocs.push(word.text.clone());
        }
        self.items.push(Item::Word(word));
    }

    /// The bodies of the here-documents of the line that just ended.
    fn bodies(&mut self) {
        for delimiter in std::mem::take(&mut self.heredocs) {
            let start = self.i;
            loop {
                let line_end = run_end(self.text, self.i, |b| b != b'\n');
                let line = part(self.text, self.i, line_end);
                let is_end = line.get(run_end(line, 0, |b| b == b'\t')..) == Some(&delimiter);
                if is_end || tail(self.text, line_end).is_empty() {
                    let body_end = if is_end { self.i } else { line_end };
                    self.items.push(Item::Body(start, body_end));
                    self.i = line_end;
                    break;
                }
                self.i = line_end + 1;
            }
        }
    }
}
