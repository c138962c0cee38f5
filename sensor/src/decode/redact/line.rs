//! A shell command line: pipelines of simple commands.
//!
//! In: the text of one command line, at some depth of nesting, and who reads its output. Out: edits in that
//! text. It rests on [`crate::shell::lexer`] and on a pipeline's neighbours: `echo x | docker login --password-stdin`
//! makes `x` a secret. Text that is too deep or costs too much is given up: if it could hold a secret, all
//! of it goes.

use memchr::memmem;

use super::bond::Place;
use super::command::{self, Nested, search_text};
use super::context::{Context, Output};
use super::edits::{Edit, in_text, merge};
use super::names;
use super::program::Program;
use super::{prefilter, tools, wrappers};
use crate::event::executed::claimed;
use crate::shell::bytes::part;
use crate::shell::{
    lexer::{self, Item},
    runners,
    word::{Role, Word},
};

/// Searches a command line.
pub(super) fn search(text: &[u8], context: Context, output: Output) -> Vec<Edit> {
    let is_suspect = output != Output::Open || prefilter::may_hold_secret(text);
    if !is_suspect {
        return Vec::new();
    }
    if !context.admit(text.len()) {
        return vec![Edit::mark(0, text.len())];
    }
    let items = lexer::lex(text, |name| names::classify(name).is_some());
    let mut line = Line { text, context, edits: Vec::new() };
    for pipeline in items.split(|item| matches!(item, Item::End(..))) {
        line.pipeline(pipeline, output);
    }
    line.edits
}

/// What was found in a command and in the shell lines that its words hold.
pub(super) struct Found {
    /// Per word: edits in its text.
    edits: Vec<Vec<Edit>>,
    /// Per word: its text was searched as a shell line, substitutions included.
    followed: Vec<bool>,
}

impl Found {
    pub(super) fn by_word(self) -> impl Iterator<Item = Vec<Edit>> {
        self.edits.into_iter()
    }

    /// For each word: its edits, and whether it was followed.
    fn into_words(self) -> impl Iterator<Item = (Vec<Edit>, bool)> {
        self.edits.into_iter().zip(self.followed)
    }

    fn edit(&mut self, i: usize, new: impl IntoIterator<Item = Edit>) {
        if let Some(edits) = self.edits.get_mut(i) {
            edits.extend(new);
        }
    }

    fn mark_followed(&mut self, i: usize) {
        if let Some(followed) = self.followed.get_mut(i) {
            *followed = true;
        }
    }
}

/// Searches a simple command, and the shell lines in its words. `program`: what was executed; `None`: the words of a
/// line say it.
pub(super) fn search_command(words: &[&[u8]], program: Option<Program>, context: Context, output: Output) -> Found {
    let command::Found { edits, nested } = command::search(words, program, output);
    let mut found = Found { edits, followed: vec![false; words.len()] };
    for line in nested {
        follow(&mut found, words, line, context.nested());
    }
    found
}

fn follow(found: &mut Found, words: &[&[u8]], line: Nested, context: Context) {
    let word = |i: usize| words.get(i).copied().unwrap_or_default();
    match line {
        Nested::Word(i) => {
            found.edit(i, search(word(i), context, Output::Open));
            found.mark_followed(i);
        }
        Nested::Part(i, start, end) => {
            let edits = search(part(word(i), start, end), context, Output::Open);
            found.edit(i, edits.into_iter().map(|edit| moved(edit, start)));
        }
        Nested::Joined(from) => match words.get(from..).unwrap_or_default() {
            [_] => follow(found, words, Nested::Word(from), context),
            joined => follow_joined(found, joined, from, context),
        },
    }
}

fn follow_joined(found: &mut Found, words: &[&[u8]], from: usize, context: Context) {
    let text = words.join(&b' ');
    let mut edits = merge(search(&text, context, Output::Open)).into_iter().peekable();
    let mut start = 0;
    for (i, word) in words.iter().enumerate() {
        let end = start + word.len();
        while let Some(edit) = edits.next_if(|edit| edit.end <= end) {
            found.edit(from + i, clip(edit, start, end));
        }
        if let Some(&edit) = edits.peek() {
            found.edit(from + i, clip(edit, start, end));
        }
        found.mark_followed(from + i);
        start = end + 1;
    }
}

/// The part of an edit in the joined text that lies in the word `start..end`, as an edit of that word.
fn clip(edit: Edit, start: usize, end: usize) -> Option<Edit> {
    let (from, to) = (edit.start.max(start), edit.end.min(end));
    (from < to).then(|| Edit { start: from - start, end: to - start, mark: edit.mark })
}

/// An edit of a part that begins at `start`, as an edit of the whole.
fn moved(edit: Edit, start: usize) -> Edit {
    Edit { start: edit.start + start, end: edit.end + start, ..edit }
}

struct Line<'a> {
    text: &'a [u8],
    context: Context<'a>,
    edits: Vec<Edit>,
}

impl Line<'_> {
    fn pipeline(&mut self, items: &[Item], output: Output) {
        let stages: Vec<Vec<&Word>> = items.split(|item| matches!(item, Item::Pipe(..))).map(arguments).collect();
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
        let found = search_command(&texts, None, self.context, output);
        for (word, (edits, is_followed)) in words.iter().zip(found.into_words()) {
            self.take(word, edits, is_followed);
        }
    }

    /// Takes over the edits in a word, and searches its command substitutions.
    fn take(&mut self, word: &Word, edits: Vec<Edit>, is_followed: bool) {
        let edits = merge(edits);
        for &edit in &edits {
            in_text(word, self.text, edit, !is_followed, &mut self.edits);
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
        self.edits.extend(edits.into_iter().map(|edit| moved(edit, start)));
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
            self.edits.extend(edits.into_iter().map(|edit| moved(edit, start)));
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
    let program = texts.iter().find(|text| !runners::is_assignment(text)).map_or(&b""[..], |text| claimed(text));
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
    let runs_others = wrappers::is_wrapper(program) || runners::is_shell(program);
    if is_reader || (runs_others && reads_inside()) { Output::Secret } else { Output::Open }
}

/// Whether a program may run its standard input as shell text.
fn runs_input(word: &[u8]) -> bool {
    let name = claimed(word);
    runners::is_shell(name) || matches!(name, b"ssh" | b"at" | b"batch")
}
