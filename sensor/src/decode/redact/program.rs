//! Which program a command is, and how far its name is believed.
//!
//! In: the executable of an exec and its argv; or a word of a command line. Out: the name whose rules apply, and a
//! [`Trust`]. It rests on [`crate::event::executed`]: `args[0]` is the caller's to choose, the path of the executable
//! is the kernel's.
//!
//! - The executable, or the script that an interpreter runs, lies where only root writes: its rules apply in full.
//! - It lies elsewhere: its owner may have copied an interpreter to that name. Its rules apply to what can be a
//!   secret, and not to what reads as code or is the path of a file: these are searched for literals.
//! - No table knows the executable, or the kernel gave no path: the rules of `args[0]` apply in that same, weaker way.
//!   They do not if the executable lies where only root writes and has another name: what it is, is certain.
//! - Words inside a command line have no executable: their names and paths count, and the exec of such a program comes
//!   as an event of its own. Behind inline code (`python3 -c CODE mysql -px`) they are arguments of the code: the
//!   weaker way.
//!
//! It fails both ways in rare cases: a bind mount in a user's mount namespace puts another file at `/usr/bin/mysql`,
//! and a password that reads as code is kept where the name of its program is a mere claim.

use super::{tools, values, wrappers};
use crate::event::executed::claimed;
use crate::event::{executed, interpreters};

/// Folders in which users cannot put programs.
const SYSTEM: &[&[u8]] =
    &[b"/usr/", b"/bin/", b"/sbin/", b"/lib/", b"/lib64/", b"/snap/", b"/nix/store/", b"/gnu/store/"];

/// How far a name is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The rules of the name apply in full.
    Certain,
    /// They do not hide what reads as code.
    Claim,
    /// As `Claim`: data of code that stands before it, which may run it as code.
    Data,
}

/// A program, as the rules know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program<'a> {
    pub(super) name: &'a [u8],
    pub(super) trust: Trust,
}

impl<'a> Program<'a> {
    /// The program of an exec.
    pub(super) fn executed(executable: Option<&'a [u8]>, first: &'a [u8]) -> Self {
        let claimed = executed::claimed(first);
        let Some(path) = executable else { return Self { name: claimed, trust: Trust::Claim } };
        let name = executed::name(Some(path), first);
        let is_system = in_system(path);
        let trust = if is_system { Trust::Certain } else { Trust::Claim };
        let stem = executed::stem(name);
        if is_known(name) {
            Self { name, trust }
        } else if stem != name && is_known(stem) {
            Self { name: stem, trust }
        } else if is_system && !is_related(name, claimed) {
            Self { name, trust: Trust::Claim }
        } else {
            Self { name: claimed, trust: Trust::Claim }
        }
    }

    /// A word of a command line, believed as its command is: less, if it is the path of a file elsewhere.
    pub(super) fn named(word: &'a [u8], trust: Trust) -> Self {
        let is_elsewhere = trust == Trust::Certain && word.contains(&b'/') && !in_system(word);
        Self { name: claimed(word), trust: if is_elsewhere { Trust::Claim } else { trust } }
    }

    /// A script, by the path that the interpreter was given.
    pub(super) fn script(word: &'a [u8], outer: Trust) -> Self {
        let trust = if in_system(word) { outer } else { Trust::Claim };
        Self { name: claimed(word), trust }
    }

    /// Whether a rule of this program may remove all of `value`.
    pub(super) fn may_hide(self, value: &[u8]) -> bool {
        self.trust == Trust::Certain || !(values::reads_as_code(value) || values::is_path(value))
    }
}

/// Whether users cannot put a file at this path. `..` could leave the folder.
fn in_system(path: &[u8]) -> bool {
    SYSTEM.iter().any(|folder| path.starts_with(folder)) && !path.split(|byte| *byte == b'/').any(|part| part == b"..")
}

/// Whether a name is the other one with an addition: `unrar` and `unrar-x`.
fn is_related(name: &[u8], claimed: &[u8]) -> bool {
    let name = name.strip_prefix(b".").unwrap_or(name);
    !claimed.is_empty()
        && name.strip_prefix(claimed).is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
}

/// Whether a table has this name.
pub(super) fn is_known(name: &[u8]) -> bool {
    tools::has(name) || wrappers::is_known(name) || interpreters::find(name).is_some()
}
