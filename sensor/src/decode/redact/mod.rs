//! Secrets out of command lines, before anything is stored or shown.
//!
//! In: the argv of an exec, as the kernel had it (any bytes, the last one perhaps cut), or one shell command
//! line of an SSH exec request. Out: the same bytes with every secret part replaced by `[REDACTED]`.
//!
//! The way of a command line:
//!
//! 1. [`prefilter`]: one pass over the bytes; nearly every exec ends here.
//! 2. [`line`]: shell text is read by [`crate::shell::lexer`] into simple commands (argv comes that way already).
//! 3. [`program`]: which program it is, by the file that the kernel executed and not by `args[0]`.
//!    [`command`]: the program decides the rules ([`wrappers`], [`tools`]); strings that a shell will run
//!    (`sh -c`, `ssh host ...`, `eval`) go back to 2, at most [`context::MAX_DEPTH`] deep.
//! 4. Every word is searched for `name=value` ([`pairs`], [`bond`], [`names`]), URL passwords ([`urls`]) and token
//!    shapes ([`shapes`]).
//!    In code that an interpreter is given ([`code`]) only literals go: code is what somebody did.
//! 5. [`edits`]: the findings, mapped back through the quotes, are applied; all other bytes stay as they were.
//!
//! It rests on POSIX.1-2024 XCU 2 (shell language, best effort for here-documents and `case`), and on naming
//! habits: a secret that has no telling name, place or shape is not seen.
//!
//! Choices where both ways are defensible:
//!
//! - `$NAME`, `${name}` and `$(command)` in shell text are references, not values: they stay, and the command
//!   is searched in its turn. So do files (`--password-file x`, `--secret id=x`) and `true`, `none`, `0`.
//! - `mysql -p x` asks for a password and opens the database x; people mean a password, so x goes.
//! - A commit message is prose: `name=value` goes, `name: value` only if the value is one word and all there is.
//! - In other text `password: x` goes to the end of its line, `PASSWORD=x` as an argument to the end of it.
//! - `Authorization: Bearer x` keeps the scheme.
//!
//! - Code is kept and its literals go, so a secret that only code makes of harmless parts stays, and code in a literal
//!   that looks like no code goes.
//!
//! How it fails: closed, but for code. No input panics; time is linear; where the end of a value is unclear (an open
//! quote, a cut argument) everything to the end goes; text nested deeper than the bound goes whole if it could hold a
//! secret. It is idempotent, but for text made to need more passes than [`ROUNDS`].

mod bond;
mod code;
mod command;
mod context;
mod edits;
mod flags;
mod line;
mod mark;
mod names;
mod pairs;
mod parts;
mod prefilter;
mod program;
mod shapes;
#[cfg(test)]
mod tests;
mod tools;
mod urls;
mod values;
mod wrappers;

use self::context::{Fuel, Output};
pub use self::mark::MARK;
use self::program::Program;
use crate::event::executed;

/// Passes over a text in which something was found. The second finds nothing, but for hostile text: what a
/// mark replaced may have hidden the start of something else.
const ROUNDS: usize = 8;

/// Replaces the secret parts of an argv, in place. Says whether anything was replaced.
///
/// `executable`: the path of the file that the kernel executed. Its name selects the rules for options such as `-p`;
/// `args[0]` is believed where [`program`] says so.
pub fn redact_args(args: &mut [Vec<u8>], executable: Option<&[u8]>) -> bool {
    let is_suspect = executable.is_some_and(|path| prefilter::may_hold_secret(executed::file_name(path)))
        || args.iter().any(|arg| prefilter::may_hold_secret(arg));
    is_suspect && redact_args_slowly(args, executable)
}

/// Replaces the secret parts of one shell command line. `None`: nothing to replace.
#[must_use]
pub fn redact_line(line: &[u8]) -> Option<Vec<u8>> {
    if prefilter::may_hold_secret(line) { redact_line_slowly(line) } else { None }
}

fn redact_args_slowly(args: &mut [Vec<u8>], executable: Option<&[u8]>) -> bool {
    let rounds = (0..ROUNDS).take_while(|_| redact_args_once(args, executable)).count();
    rounds > 0
}

fn redact_args_once(args: &mut [Vec<u8>], executable: Option<&[u8]>) -> bool {
    let fuel = Fuel::for_input(args.iter().map(Vec::len).sum());
    let words: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    let program = words.first().map(|first| Program::executed(executable, first));
    let found = line::search_command(&words, program, fuel.context(), Output::Open);
    let mut changed = false;
    for (arg, edits) in args.iter_mut().zip(found.by_word()) {
        if let Some(clean) = edits::apply(arg, edits) {
            *arg = clean;
            changed = true;
        }
    }
    changed
}

fn redact_line_slowly(line: &[u8]) -> Option<Vec<u8>> {
    let mut clean = redact_line_once(line)?;
    for _ in 1..ROUNDS {
        let Some(cleaner) = redact_line_once(&clean) else { break };
        clean = cleaner;
    }
    Some(clean)
}

fn redact_line_once(line: &[u8]) -> Option<Vec<u8>> {
    let fuel = Fuel::for_input(line.len());
    edits::apply(line, line::search(line, fuel.context(), Output::Open))
}
