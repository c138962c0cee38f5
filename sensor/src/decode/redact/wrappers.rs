//! Programs that run other programs.
//!
//! In: the words of a simple command and the position of a program in it. Out: where the inner program stands,
//! or which words are text for a shell. It rests on the options of each wrapper that take a value (`sudo -u
//! alice`), since the first word that is neither is the inner program. An unknown option is taken for one
//! without a value; if that is wrong, the inner program's own options are searched by name only, and a
//! `sh -c` is still found wherever it stands.

use crate::{
    event::interpreters::{self, Given},
    shell::runners::{self, ShellRuns, is_assignment, is_shell},
};

/// What the program at a position does with the words after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// Nothing: an ordinary program.
    Itself,
    /// The program at this position.
    Program(usize),
    /// The script at this position, by the shell or interpreter before it.
    Script(usize),
    /// Code in its own arguments.
    Code(Given),
    /// The one word here is a shell command line.
    Line(usize),
    /// The words from here on, joined by spaces, are one.
    Joined(usize),
}

struct Wrapper {
    names: &'static [&'static str],
    /// Letters of short options that take a value.
    letters: &'static [u8],
    /// Long options that take a value in the next word.
    longs: &'static [&'static str],
    /// Words before the inner program: the duration of `timeout`.
    skip: usize,
}

const fn wrapper(
    names: &'static [&'static str],
    letters: &'static [u8],
    longs: &'static [&'static str],
    skip: usize,
) -> Wrapper {
    Wrapper { names, letters, longs, skip }
}

#[rustfmt::skip]
const WRAPPERS: &[Wrapper] = &[
    wrapper(&["sudo", "sudoedit"], b"ugphCTrtURDa", &["--user", "--group", "--prompt", "--host", "--chdir", "--chroot", "--other-user",
        "--close-from", "--command-timeout", "--role", "--type"], 0),
    wrapper(&["doas"], b"uCa", &[], 0),
    wrapper(&["env"], b"uC", &["--unset", "--chdir"], 0),
    wrapper(&["nice"], b"n", &["--adjustment"], 0),
    wrapper(&["ionice"], b"cn", &["--class", "--classdata"], 0),
    wrapper(&["timeout", "gtimeout"], b"sk", &["--signal", "--kill-after"], 1),
    wrapper(&["stdbuf"], b"ioe", &["--input", "--output", "--error"], 0),
    wrapper(&["xargs", "gxargs"], b"nPILdsaE", &["--max-args", "--max-procs", "--delimiter", "--arg-file", "--max-lines"], 0),
    wrapper(&["time"], b"fo", &[], 0),
    wrapper(&["exec"], b"a", &[], 0),
    wrapper(&["strace", "ltrace"], b"eEopPsSuXIabn", &[], 0),
    wrapper(&["chroot", "chrt", "taskset", "gosu", "su-exec", "flock", "chpst", "setuidgid"], b"wE", &[], 1),
    wrapper(&["systemd-run"], b"pEHMut", &["--unit", "--property", "--setenv", "--description", "--slice", "--uid", "--gid"], 0),
    wrapper(&["sshpass"], b"pfdP", &[], 0),
    wrapper(&["proxychains", "proxychains4"], b"f", &[], 0),
    wrapper(&["runuser", "nsenter"], b"ugGtS", &["--user", "--group", "--target"], 0),
    wrapper(&["nohup", "setsid", "command", "builtin", "busybox", "toybox", "dumb-init", "tini", "torsocks", "unbuffer", "unshare",
        "pkexec", "fakeroot", "setpriv", "numactl", "catchsegv", "caffeinate"], b"", &[], 0),
];

/// What the program `name`, at `words[at]`, runs.
pub(super) fn read(name: &[u8], words: &[&[u8]], at: usize) -> Runs {
    if is_shell(name) {
        return match runners::of_shell(words, at) {
            ShellRuns::Line(i) => Runs::Line(i),
            // A shebang puts a shell, as an interpreter, in front of the program.
            ShellRuns::Script(i) => Runs::Script(i),
            ShellRuns::Input => Runs::Itself,
        };
    }
    if let Some(interpreter) = interpreters::find(name) {
        let given = interpreter.read(words, at);
        return match existing(words, given.rest) {
            _ if given.is_inline() => Runs::Code(given),
            rest => rest.map_or(Runs::Itself, Runs::Script),
        };
    }
    match name {
        b"ssh" | b"autossh" | b"dbclient" => ssh(words, at),
        b"su" | b"runuser" | b"script" | b"flock" if dash_c(words, at).is_some() => {
            dash_c(words, at).map_or(Runs::Itself, Runs::Line)
        }
        b"env" if env_string(words, at).is_some() => env_string(words, at).map_or(Runs::Itself, Runs::Line),
        // `tmux new -d 'cmd'`: a last word with a blank in it is a command line.
        b"tmux" | b"screen" if words.last().is_some_and(|word| word.contains(&b' ')) => Runs::Line(words.len() - 1),
        b"eval" => existing(words, at + 1).map_or(Runs::Itself, Runs::Joined),
        b"watch" | b"parallel" => {
            let from = after_options(words, at + 1, b"ndjPS", &["--interval"], 0);
            existing(words, from).map_or(Runs::Itself, Runs::Joined)
        }
        b"docker" | b"podman" | b"nerdctl" | b"docker-compose" => {
            let command = runners::of_container(words, at).map(|found| found.container + 1);
            command.and_then(|at| existing(words, at)).map_or(Runs::Itself, Runs::Program)
        }
        b"kubectl" | b"oc" | b"k3s" | b"crictl" | b"ctr" | b"lxc" | b"incus" => after_word(words, at, &[b"--"], false),
        b"kamal" => after_word(words, at, &[b"exec"], true),
        b"find" => after_word(words, at, &[b"-exec", b"-execdir", b"-ok", b"-okdir"], false),
        _ => WRAPPERS
            .iter()
            .find(|wrapper| wrapper.names.iter().any(|entry| entry.as_bytes() == name))
            .and_then(|w| existing(words, after_options(words, at + 1, w.letters, w.longs, w.skip)))
            .map_or(Runs::Itself, Runs::Program),
    }
}

/// Whether [`read`] has rules for this name.
pub(super) fn is_known(name: &[u8]) -> bool {
    const OTHERS: &[&[u8]] = &[
        b"autossh",
        b"dbclient",
        b"su",
        b"script",
        b"tmux",
        b"screen",
        b"eval",
        b"watch",
        b"parallel",
        b"docker-compose",
        b"oc",
        b"k3s",
        b"crictl",
        b"ctr",
        b"lxc",
        b"incus",
        b"kamal",
        b"find",
        b"echo",
        b"printf",
    ];
    is_shell(name) || is_wrapper(name) || OTHERS.contains(&name)
}

/// Whether a program runs the program in its arguments.
pub(super) fn is_wrapper(name: &[u8]) -> bool {
    matches!(name, b"docker" | b"podman" | b"nerdctl" | b"kubectl" | b"ssh")
        || WRAPPERS.iter().any(|wrapper| wrapper.names.iter().any(|entry| entry.as_bytes() == name))
}

fn existing(words: &[&[u8]], at: usize) -> Option<usize> {
    (at < words.len()).then_some(at)
}

/// The first word from `at` that is no option, no option's value and no `NAME=value`, after `skip` more.
fn after_options(words: &[&[u8]], at: usize, letters: &[u8], longs: &[&str], mut skip: usize) -> usize {
    let mut i = at;
    while let Some(&word) = words.get(i) {
        i += 1;
        if word == b"--" {
            return i + skip;
        } else if word.starts_with(b"--") {
            i += usize::from(longs.iter().any(|long| long.as_bytes() == word));
        } else if word.len() > 1 && word.starts_with(b"-") {
            let valued = word.iter().skip(1).position(|letter| letters.contains(letter));
            i += usize::from(valued.is_some_and(|n| n + 2 == word.len()));
        } else if !is_assignment(word) {
            if skip == 0 {
                return i - 1;
            }
            skip -= 1;
        }
    }
    i
}

/// `ssh [options] host [options] COMMAND...`: OpenSSH reads options after the host too.
fn ssh(words: &[&[u8]], at: usize) -> Runs {
    const LETTERS: &[u8] = b"BbcDEeFIiJLlmOopPQRSWw";
    let host = after_options(words, at + 1, LETTERS, &[], 0);
    let command = after_options(words, host + 1, LETTERS, &[], 0);
    // `ssh host FOO=bar cmd`: here an assignment is the command's.
    let from = (host + 1..command).find(|&i| words.get(i).is_some_and(|word| is_assignment(word))).unwrap_or(command);
    existing(words, from).map_or(Runs::Itself, Runs::Joined)
}

/// The word after `-c` in `su - alice -c LINE`, `script -qc LINE`.
fn dash_c(words: &[&[u8]], at: usize) -> Option<usize> {
    let is_c = |word: &[u8]| {
        word == b"--command" || (word.starts_with(b"-") && !word.starts_with(b"--") && word.ends_with(b"c"))
    };
    let i = words.iter().skip(at + 1).position(|word| is_c(word))?;
    existing(words, at + i + 2)
}

/// The word after `env -S`.
fn env_string(words: &[&[u8]], at: usize) -> Option<usize> {
    let i = words
        .iter()
        .skip(at + 1)
        .take(8)
        .position(|word| matches!(*word, b"-S" | b"--split-string" | b"-iS" | b"-vS"))?;
    existing(words, at + i + 2)
}

fn after_word(words: &[&[u8]], at: usize, keywords: &[&[u8]], joined: bool) -> Runs {
    let Some(i) = words.iter().skip(at + 1).position(|word| keywords.contains(word)) else { return Runs::Itself };
    let from = at + i + 2;
    if !joined {
        return existing(words, from).map_or(Runs::Itself, Runs::Program);
    }
    // The command is the last word as a rule, or all after the options.
    let command =
        after_options(words, from, b"edhrpv", &["--env", "--hosts", "--roles", "--version", "--destination"], 0);
    existing(words, command).map_or(Runs::Itself, Runs::Joined)
}
