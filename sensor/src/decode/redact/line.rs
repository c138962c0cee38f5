//! A shell command line: pipelines of simple commands.
//!
//! In: the text of one command line, at some depth of nesting, and who reads its output. Out: edits in that
//! text. It rests on the [`lexer`] and on a pipeline's neighbours: `echo x | docker login --password-stdin`
//! makes `x` a secret. Text that is too deep or costs too much is given up: if it could hold a secret, all
//! of it goes.

use memchr::memmem;

use super::bytes::part;
use super::command::{self, search_text};
use super::context::{Context, Output};
use super::edits::{Edit, merge};
use super::lexer::{self, Item};
use super::pairs::Place;
use super::word::{Role, Word};
use super::{prefilter, tools, wrappers};
use crate::event::executed::claimed;

/// Searches a command line.
pub(super) fn search(text: &[u8], context: Context, output: Output) -> Vec<Edit> {
    let is_suspect = output != Output::Open || prefilter::may_hold_secret(text);
    if !is_suspect {
        return Vec::new();
    }
    if !context.admit(text.len()) {
        return vec![Edit::mark(0, text.len())];
    }
    let items = lexer::lex(text);
    let mut line = Line { text, context, edits: Vec::new() };
    for pipeline in items.split(|item| matches!(item, Item::End)) {
        line.pipeline(pipeline, output);
    }
    line.edits
}

struct Line<'a> {
    text: &'a [u8],
    context: Context<'a>,
    edits: Vec<Edit>,
}

impl Line<'_> {
    fn pipeline(&mut self, items: &[Item], output: Output) {
        let stages: Vec<Vec<&Word>> = items.split(|item| matches!(item, Item::Pipe)).map(arguments).collect();
        let reads: Vec<Output> = stages.iter().map(|words| input_of(words)).collect();
        let has_shell = stages.iter().any(|words| words.iter().any(|word| runs_input(&word.text)));
        // From the right: a command's output is what any later command of the pipeline reads.
        let mut reader = output;
        let mut outputs = Vec::with_capacity(reads.len());
        for &read in reads.iter().rev() {
            outputs.push(reader);
            if read != Output::Open {
                reader = read;
            }
        }
        for (words, &output) in stages.iter().zip(outputs.iter().rev()) {
            self.simple_command(words, output);
        }
        for item in items {
            match item {
                Item::Word(word) if word.role != Role::Argument => self.other_word(word, reader, has_shell),
                Item::Body(start, end) => self.body(*start, *end, reader, has_shell),
                _ => {}
            }
        }
    }

    fn simple_command(&mut self, words: &[&Word], output: Output) {
        let texts: Vec<&[u8]> = words.iter().map(|word| word.text.as_slice()).collect();
        let found = command::search(&texts, None, self.context, output);
        for (word, (edits, is_followed)) in words.iter().zip(found.into_words()) {
            self.take(word, edits, is_followed);
        }
    }

    /// Takes over the edits in a word, and searches its command substitutions.
    fn take(&mut self, word: &Word, edits: Vec<Edit>, is_followed: bool) {
        let edits = merge(edits);
        for &edit in &edits {
            word.map(self.text, edit, !is_followed, &mut self.edits);
        }
        if is_followed {
            return;
        }
        for substitution in &word.substitutions {
            // In a secret's value, what the command prints is the secret.
            let (start, end) = substitution.value;
            let covering = edits.get(edits.partition_point(|edit| edit.end < end));
            let is_value = covering.is_some_and(|edit| edit.start <= start);
            let output = if is_value { Output::Secret } else { Output::Open };
            self.nested(substitution.command.0, substitution.command.1, output);
        }
    }

    fn nested(&mut self, start: usize, end: usize, output: Output) {
        let edits = search(part(self.text, start, end), self.context.nested(), output);
        self.edits.extend(edits.into_iter().map(|edit| Edit {
            start: edit.start + start,
            end: edit.end + start,
            ..edit
        }));
    }

    /// A redirection's word or a comment.
    fn other_word(&mut self, word: &Word, reader: Output, has_shell: bool) {
        let is_input = word.role == Role::HereString;
        let mut edits = Vec::new();
        if is_input && reader != Output::Open {
            edits.push(Edit::mark(0, word.text.len()));
        } else if is_input && has_shell {
            edits = search(&word.text, self.context.nested(), Output::Open);
        } else {
            search_text(&word.text, Place::Body, &mut edits);
        }
        self.take(word, edits, is_input && has_shell);
    }

    /// The body of a here-document: a script, a password, or text.
    fn body(&mut self, start: usize, end: usize, reader: Output, has_shell: bool) {
        if reader != Output::Open {
            let trimmed = part(self.text, start, end).trim_ascii_end().len();
            self.edits.push(Edit::mark(start, start + trimmed));
        } else if has_shell {
            self.nested(start, end, Output::Open);
        } else {
            let mut edits = Vec::new();
            search_text(part(self.text, start, end), Place::Body, &mut edits);
            self.edits.extend(edits.into_iter().map(|edit| Edit {
                start: edit.start + start,
                end: edit.end + start,
                ..edit
            }));
        }
    }
}

fn arguments(items: &[Item]) -> Vec<&Word> {
    let words = items.iter().filter_map(|item| if let Item::Word(word) = item { Some(word) } else { None });
    words.filter(|word| word.role == Role::Argument).collect()
}

/// What a command makes of its input.
fn input_of(words: &[&Word]) -> Output {
    let texts: Vec<&[u8]> = words.iter().map(|word| word.text.as_slice()).collect();
    let has = |list: &[&str], text: &[u8]| list.iter().any(|entry| entry.as_bytes() == text);
    if texts.iter().any(|text| claimed(text) == b"chpasswd") {
        return Output::AccountSecret;
    }
    let program = texts.iter().find(|text| !wrappers::is_assignment(text)).map_or(&b""[..], |text| claimed(text));
    let is_reader = has(tools::READERS, program) || texts.iter().any(|text| has(tools::READER_OPTIONS, text));
    // `grep passwd` reads no password, `sudo passwd bob` does; `sudo cat /etc/passwd` does not.
    let reads_inside = || {
        let is_sudo = texts.iter().any(|text| claimed(text) == b"sudo");
        texts.iter().any(|text| {
            (has(tools::READERS, claimed(text)) && !text.starts_with(b"/etc/"))
                || (is_sudo && matches!(*text, b"-S" | b"-kS" | b"-Sk" | b"--stdin"))
                || tools::READER_TEXTS.iter().any(|inner| memmem::find(text, inner.as_bytes()).is_some())
        })
    };
    let runs_others = wrappers::is_wrapper(program) || wrappers::is_shell(program);
    if is_reader || (runs_others && reads_inside()) { Output::Secret } else { Output::Open }
}

/// Whether a program may run its standard input as shell text.
fn runs_input(word: &[u8]) -> bool {
    let name = claimed(word);
    wrappers::is_shell(name) || matches!(name, b"ssh" | b"at" | b"batch")
}
