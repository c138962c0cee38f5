//! One simple command: the rules of its program, applied word by word.
//!
//! In: the words of a command (an argv, or words of a shell line after quote removal) and who reads its
//! output. Out: edits by word, and which words are shell text, to be searched as a line of its own. It rests on
//! [`wrappers`] for the way from `sudo -u a env B=c sh -c ...` to the program that matters, and on the table
//! in [`tools`]. A program it does not know is searched by names and shapes only.

use memchr::memmem;

use super::bond::Place;
use super::context::Output;
use super::edits::Edit;
use super::flags::looks_like_option;
use super::names::{self, Class};
use super::pairs;
use super::program::{Program, Trust, is_known};
use super::tools::{self, Nth, Positional, Tool};
use super::values::{may_stay, reads_as_code};
use super::wrappers::{self, Runs};
use super::{parts, shapes, urls};
use crate::event::executed::claimed;
use crate::event::interpreters::{self, Given};
use crate::shell::bytes::{part, starts_with_ignore_case, tail};
use crate::shell::runners::{self, ShellRuns};

/// Words of the shell's grammar that a command may follow.
const RESERVED: &[&[u8]] = &[b"if", b"then", b"else", b"elif", b"do", b"while", b"until", b"!", b"{", b"}", b"time"];

/// Words that hold a shell line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Nested {
    /// All of a word.
    Word(usize),
    /// A part of a word: the word, and where the line begins and ends in it.
    Part(usize, usize, usize),
    /// All words from this one on, joined by spaces.
    Joined(usize),
}

/// What was found in a command.
pub(super) struct Found {
    /// Per word: edits in its text.
    pub(super) edits: Vec<Vec<Edit>>,
    /// Shell lines in the words, not searched yet.
    pub(super) nested: Vec<Nested>,
}

/// Searches a simple command. `program`: what was executed; `None`: the words of a line say it.
pub(super) fn search(words: &[&[u8]], program: Option<Program>, output: Output) -> Found {
    let found = Found { edits: vec![Vec::new(); words.len()], nested: Vec::new() };
    let mut command = Command { words, found };
    command.read(program, output);
    command.found
}

/// Searches text that is no command: here-documents, redirection targets, comments.
pub(super) fn search_text(text: &[u8], place: Place, edits: &mut Vec<Edit>) {
    pairs::search(text, place, edits);
    urls::search(text, edits);
    shapes::search(text, place == Place::Code, edits);
}

struct Command<'a> {
    words: &'a [&'a [u8]],
    found: Found,
}

impl<'a> Command<'a> {
    fn word(&self, i: usize) -> &'a [u8] {
        self.words.get(i).copied().unwrap_or_default()
    }

    fn edit(&mut self, i: usize, new: impl IntoIterator<Item = Edit>) {
        if let Some(edits) = self.found.edits.get_mut(i) {
            edits.extend(new);
        }
    }

    fn read(&mut self, executed: Option<Program<'a>>, output: Output) {
        let mut executed = executed;
        let mut trust = Trust::Certain;
        let mut next = Some(0);
        while let Some(at) = next.filter(|at| *at < self.words.len()) {
            let (word, end) = (self.word(at), self.words.len());
            self.scan(at, Place::Argument);
            let known = executed.take();
            if known.is_none() && (runners::is_assignment(word) || RESERVED.contains(&word)) {
                next = Some(at + 1);
                continue;
            }
            let program = known.unwrap_or_else(|| Program::named(word, trust));
            trust = program.trust;
            next = match wrappers::read(program.name, self.words, at) {
                Runs::Program(inner) => {
                    self.arguments(program, at, inner);
                    Some(inner)
                }
                Runs::Script(script) => {
                    self.arguments(program, at, script);
                    executed = Some(Program::script(self.word(script), trust));
                    Some(script)
                }
                Runs::Code(given) => {
                    self.code(at, &given);
                    trust = Trust::Data;
                    self.behind_code(given.rest)
                }
                Runs::Line(i) => {
                    self.arguments(program, at, i);
                    self.nested(Nested::Word(i));
                    trust = Trust::Data;
                    self.behind_code(i + 1)
                }
                Runs::Joined(from) => {
                    // Thor reads its options wherever they stand: `kamal app exec env -e NAME:x`.
                    self.arguments(program, at, if program.name == b"kamal" { end } else { from });
                    self.nested(Nested::Joined(from));
                    None
                }
                Runs::Itself => {
                    self.arguments(program, at, end);
                    self.quoted(program.name, at);
                    self.printed(program.name, at, output);
                    None
                }
            };
        }
    }

    /// The words of an interpreter at `at` that is given code: the code, and its own options.
    fn code(&mut self, at: usize, given: &Given) {
        for i in at + 1..given.rest {
            match given.code.iter().find(|(word, _)| *word == i) {
                Some((_, from)) => self.scan_from(i, *from, Place::Code),
                None => self.scan(i, Place::Argument),
            }
        }
    }

    /// The words after code: its arguments. If the first one is a program that is known, the code may run it.
    fn behind_code(&mut self, from: usize) -> Option<usize> {
        if self.words.get(from).is_some_and(|word| !word.starts_with(b"-") && is_known(claimed(word))) {
            return Some(from);
        }
        self.arguments(Program { name: b"", trust: Trust::Data }, from.saturating_sub(1), self.words.len());
        None
    }

    /// Applies the rules to the words after the program `at`, before `end`.
    fn arguments(&mut self, program: Program, at: usize, end: usize) {
        let rest = self.words.get(at + 1..end).unwrap_or_default();
        let rows = tools::rows(program.name, rest);
        let mut i = at + 1;
        while i < end {
            i = self.argument(program, i, end, &rows).max(i + 1);
        }
        for positional in rows.iter().flat_map(|tool| tool.positionals) {
            self.positional(program, positional, at + 1, end);
        }
    }

    /// Applies the rules to word `i`; gives the next word to look at.
    fn argument(&mut self, program: Program, i: usize, end: usize, rows: &[&Tool]) -> usize {
        let word = self.word(i);
        for flag in rows.iter().flat_map(|tool| tool.flags) {
            if let Some((value, from)) = flag.value(self.words, i, end) {
                self.part(program, flag.2, value, from);
                return value + 1;
            }
        }
        let has_next = i + 1 < end;
        let is_option = word.first() == Some(&b'-') && !word.contains(&b'=') && !word.contains(&b':');
        if is_option && has_next && !names::is_switch(word) && !looks_like_option(self.word(i + 1)) {
            if let Some(class) = names::classify(word) {
                self.whole(program, i + 1, class);
                return i + 2;
            }
            if tools::LIST_OPTIONS.iter().any(|option| option.as_bytes() == word) {
                self.scan(i + 1, Place::List);
                return i + 2;
            }
        }
        if word == b"set" && i + 2 < end && !looks_like_option(self.word(i + 2)) && is_secret_name(self.word(i + 1)) {
            // `aws configure set aws_secret_access_key x`, `redis-cli config set requirepass x`.
            self.whole(program, i + 2, Class::Value);
            return i + 3;
        }
        if has_next
            && starts_with_ignore_case(word, b"bearer")
            && word.len() == 6
            && shapes::is_bearer_token(self.word(i + 1))
        {
            self.whole(program, i + 1, Class::Value);
            return i + 2;
        }
        if has_next
            && runners::is_shell(claimed(word))
            && let ShellRuns::Line(line) = runners::of_shell(self.words, i)
            && line < end
        {
            // A shell behind a program that no table knows.
            self.nested(Nested::Word(line));
            return line + 1;
        }
        // An interpreter that no table knows: its code begins with `TOKEN=1;` as others' does.
        let is_code = interpreters::takes_code(self.word(i.saturating_sub(1)))
            && (program.trust != Trust::Certain || !is_known(program.name))
            && reads_as_code(word);
        self.scan(i, if is_code { Place::Code } else { Place::Argument });
        i + 1
    }

    /// What a rule says of the value in word `i` from `from` on.
    fn part(&mut self, program: Program, part: parts::Part, i: usize, from: usize) {
        let word = self.word(i);
        let edits = part.edits(word, from);
        // What an expect script sends are literals of a script that stays.
        let is_whole = part != parts::Part::Sends;
        if is_whole && edits.iter().any(|edit| !program.may_hide(bytes_of(word, *edit))) {
            self.scan_from(i, from, Place::Code);
            return;
        }
        self.edit(i, edits);
        if part != parts::Part::Reference {
            self.scan_from(i, from, part.place());
        }
    }

    fn positional(&mut self, program: Program, rule: &Positional, from: usize, end: usize) {
        let start = if rule.after.is_empty() {
            from
        } else {
            let Some(i) = (from..end).find(|&i| self.word(i) == rule.after.as_bytes()) else { return };
            i + 1
        };
        let words: Vec<usize> = (start..end).filter(|&i| !looks_like_option(self.word(i))).collect();
        let chosen = match rule.nth {
            Nth::Index(n) => words.get(n..=n).unwrap_or_default(),
            Nth::Last => words.last().map_or(&[][..], std::slice::from_ref),
            Nth::All => words.as_slice(),
        };
        for &i in chosen {
            self.part(program, rule.part, i, 0);
        }
    }

    /// A command that `echo` writes into an audit log, as Kamal does: `Executed cmd '...' on app version 1`.
    fn quoted(&mut self, name: &[u8], at: usize) {
        const BEFORE: &[u8] = b"Executed cmd '";
        if name != b"echo" {
            return;
        }
        for i in at + 1..self.words.len() {
            let word = self.word(i);
            if self.word(i.saturating_sub(1)) == b"cmd" && self.word(i.saturating_sub(2)) == b"Executed" {
                self.nested(Nested::Word(i));
            } else if let Some(start) = memmem::find(word, BEFORE).map(|start| start + BEFORE.len()) {
                let end = memchr::memrchr(b'\'', word).filter(|end| *end > start).unwrap_or(word.len());
                self.nested(Nested::Part(i, start, end));
            }
        }
    }

    /// The operands of `echo` and `printf`, if what they print is a secret.
    fn printed(&mut self, name: &[u8], at: usize, output: Output) {
        if output == Output::Open || !matches!(name, b"echo" | b"printf") {
            return;
        }
        for i in at + 1..self.words.len() {
            let word = self.word(i);
            let is_option = matches!(word, b"-n" | b"-e" | b"-E" | b"-ne" | b"-en" | b"--");
            let is_format = name == b"printf" && i == at + 1 && word.starts_with(b"%") && word.len() <= 8;
            if is_option || is_format {
                continue;
            }
            let colon = memchr::memchr(b':', word).filter(|_| output == Output::AccountSecret);
            let from = colon.map_or(0, |colon| colon + 1);
            if !may_stay(tail(word, from), Class::Value) {
                self.edit(i, [Edit::mark(from, word.len())]);
            }
        }
    }

    fn whole(&mut self, program: Program, i: usize, class: Class) {
        let word = self.word(i);
        if program.trust == Trust::Data && reads_as_code(word) {
            self.scan(i, Place::Code);
        } else if may_stay(word, class) {
            self.scan(i, Place::Argument);
        } else {
            self.edit(i, [Edit::mark(0, word.len())]);
        }
    }

    fn scan(&mut self, i: usize, place: Place) {
        self.scan_from(i, 0, place);
    }

    /// Searches word `i` from `from` on by names and shapes.
    fn scan_from(&mut self, i: usize, from: usize, place: Place) {
        let mut edits = Vec::new();
        search_text(tail(self.word(i), from), place, &mut edits);
        self.edit(i, edits.into_iter().map(|edit| Edit { start: edit.start + from, end: edit.end + from, ..edit }));
    }

    fn nested(&mut self, line: Nested) {
        self.found.nested.push(line);
    }
}

fn bytes_of(word: &[u8], edit: Edit) -> &[u8] {
    part(word, edit.start, edit.end)
}

fn is_secret_name(word: &[u8]) -> bool {
    !word.contains(&b'=') && names::classify(word).is_some()
}
