//! What a shell or a container runs, by the words of its command line.
//!
//! In: words, without quotes, and where the program stands in them. Out: where what it runs stands. It rests on
//! POSIX.1-2024 `sh` and bash(1), and on the options of `docker run` and `docker exec`. An unknown option of a
//! container is taken for one with a value, as nearly all are.

/// Shells, by name.
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "ash", "ksh", "ksh93", "mksh", "rbash", "fish"];

/// Options of `docker run`, `docker exec` and their like that take no value; all others do.
#[rustfmt::skip]
const CONTAINER_SWITCHES: &[&str] = &[
    "--detach", "--interactive", "--tty", "--rm", "--init", "--privileged", "--read-only", "--publish-all", "--quiet",
    "--no-healthcheck", "--oom-kill-disable", "--disable-content-trust", "--sig-proxy", "--no-TTY", "--no-deps",
    "--service-ports", "--build", "--use-aliases", "--remove-orphans", "--replace", "--tls-verify",
];
/// A verb stands behind at most so many words: global options.
const VERB_WITHIN: usize = 8;

/// What a shell runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShellRuns {
    /// Its standard input.
    Input,
    /// The script at this position.
    Script(usize),
    /// The command line that the word at this position is.
    Line(usize),
}

/// What a container client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContainerRuns {
    /// Position of the image of `run`, of the container or service of `exec`.
    pub(crate) container: usize,
    pub(crate) is_run: bool,
}

/// Is this the name of a shell?
pub(crate) fn is_shell(name: &[u8]) -> bool {
    SHELLS.iter().any(|shell| shell.as_bytes() == name)
}

/// `NAME=value`.
pub(crate) fn is_assignment(word: &[u8]) -> bool {
    let name_len = word.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    name_len > 0 && word.get(name_len) == Some(&b'=')
}

/// What the shell at `words[at]` runs: `sh -c LINE`, `bash -euo pipefail -lc LINE`, `bash SCRIPT`.
pub(crate) fn of_shell<W: AsRef<[u8]>>(words: &[W], at: usize) -> ShellRuns {
    let mut has_c = false;
    let mut i = at + 1;
    while let Some(word) = words.get(i).map(AsRef::as_ref) {
        let ends = matches!(word, b"-" | b"--");
        if ends || !matches!(word.first(), Some(b'-' | b'+')) {
            i += usize::from(ends);
            break;
        }
        let is_long = word.starts_with(b"--");
        has_c |= !is_long && word.contains(&b'c');
        let takes_value = if is_long {
            matches!(word, b"--rcfile" | b"--init-file")
        } else {
            matches!(word.last(), Some(b'o' | b'O'))
        };
        i += if takes_value { 2 } else { 1 };
    }
    match i < words.len() {
        true if has_c => ShellRuns::Line(i),
        true => ShellRuns::Script(i),
        false => ShellRuns::Input,
    }
}

/// What the container client at `words[at]` runs: `docker run [options] IMAGE COMMAND`, `docker exec [options]
/// CONTAINER COMMAND`, `docker compose run SERVICE COMMAND`. The command, if there is one, stands behind the container.
pub(crate) fn of_container<W: AsRef<[u8]>>(words: &[W], at: usize) -> Option<ContainerRuns> {
    let word = |i: usize| words.get(i).map(AsRef::as_ref);
    let verb = (at + 1..=at + VERB_WITHIN).find(|i| matches!(word(*i), Some(b"run" | b"exec")))?;
    let mut i = verb + 1;
    loop {
        let option = word(i)?;
        if !option.starts_with(b"-") {
            return Some(ContainerRuns { container: i, is_run: word(verb) == Some(b"run") });
        }
        let is_switch = if option.starts_with(b"--") {
            option.contains(&b'=') || CONTAINER_SWITCHES.iter().any(|switch| switch.as_bytes() == option)
        } else {
            // `-dit` is a cluster; `-eKEY=x` and `-p80:80` hold their value.
            option.len() > 2 || option.iter().skip(1).all(|letter| b"ditPqT".contains(letter))
        };
        i += if is_switch { 1 } else { 2 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_run_lines_scripts_or_their_input() {
        for (line, expected) in [
            ("sh -c LINE", ShellRuns::Line(2)),
            ("bash -euo pipefail -lc LINE a", ShellRuns::Line(4)),
            ("bash -o pipefail script -c x", ShellRuns::Script(3)),
            ("bash --rcfile x -- -script", ShellRuns::Script(4)),
            ("sh +e - script", ShellRuns::Script(3)),
            ("bash -c", ShellRuns::Input),
            ("-bash", ShellRuns::Input),
            ("sh -s -", ShellRuns::Input),
        ] {
            assert_eq!(of_shell(&line.split(' ').collect::<Vec<_>>(), 0), expected, "{line}");
        }
    }

    #[test]
    fn the_container_stands_behind_the_options_of_the_verb() {
        for (line, expected) in [
            ("docker --context x run -it --rm -v /a:/b -eX=y image cmd", Some((9, true))),
            ("docker compose exec -T --index 1 app cmd", Some((6, false))),
            ("docker ps", None),
            ("docker run -it", None),
        ] {
            let found = of_container(&line.split(' ').collect::<Vec<_>>(), 0);
            assert_eq!(found.map(|found| (found.container, found.is_run)), expected, "{line}");
        }
    }
}
