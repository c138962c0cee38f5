//! Which program an argv runs, behind interpreters and wrappers.
//!
//! In: the argv of an exec, and the file that was executed. Out: where in argv the programs stand that it runs, the
//! outermost first: `bundle exec kamal deploy` is bundle, then kamal. The outermost is what the executable says,
//! whatever `args[0]` does (`exec -a kamal sleep 100` is sleep). It rests on how the kernel runs a script
//! (`#!/usr/bin/ruby`: argv becomes interpreter, script, arguments) and on the manuals of the wrappers. What a shell
//! reads from `-c` is not followed: the shell executes it, and that exec is seen. A wrapper that is not known here
//! hides nothing either, as its child is seen.

use crate::{
    event::{
        executed::{self, base_name},
        interpreters,
    },
    shell::runners::{self, ShellRuns, is_assignment},
};

/// Wrappers in wrappers; a real line has three (`sudo env bundle exec`).
const DEPTH_MAX: usize = 8;

/// Where a program stands in an argv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its index: what follows are its arguments.
    pub(super) at: usize,
    /// It is the image that a container is started from, not a program.
    pub(super) image: bool,
}

/// Programs that run the program in their arguments, and what runs is then the same deploy: `xargs`, `strace` or
/// `systemd-run`, which redaction follows too (`decode/redact/wrappers.rs`), are not; their children are seen.
struct Wrapper {
    names: &'static [&'static str],
    /// Words that must follow, one of them; empty: none.
    verbs: &'static [&'static str],
    /// Options that take a value.
    values: &'static [&'static str],
    /// Words of its own before the program.
    skip: usize,
    /// The program comes after `--`, if there is one.
    dashes: bool,
}

const fn plain(names: &'static [&'static str], values: &'static [&'static str], skip: usize) -> Wrapper {
    Wrapper { names, verbs: &[], values, skip, dashes: false }
}

const fn with(names: &'static [&'static str], verbs: &'static [&'static str], skip: usize) -> Wrapper {
    Wrapper { names, verbs, values: &[], skip, dashes: true }
}

#[rustfmt::skip]
const WRAPPERS: &[Wrapper] = &[
    plain(&["env"], &["-u", "-C", "--unset", "--chdir", "-S", "--split-string"], 0),
    plain(&["sudo"], &["-u", "-g", "-h", "-p", "-C", "-D", "-R", "-r", "-t", "-T", "-U", "--user", "--group", "--host", "--prompt", "--chdir", "--close-from"], 0),
    plain(&["doas"], &["-u", "-C"], 0),
    plain(&["nice", "ionice", "chrt"], &["-n", "-c", "-p", "--adjustment", "--class", "--classdata"], 0),
    plain(&["busybox", "nohup", "setsid", "time", "chronic", "unbuffer", "ltrace", "command", "exec"], &["-f", "-o"], 0),
    plain(&["timeout"], &["-k", "-s", "--kill-after", "--signal"], 1),
    plain(&["stdbuf"], &["-i", "-o", "-e"], 0),
    plain(&["flock"], &["-w", "--timeout", "-E"], 1),
    plain(&["rbenv-exec", "asdf-exec", "pyenv-exec"], &[], 0),
    with(&["bundle", "bundler", "rbenv", "asdf", "pyenv", "nodenv", "jenv", "rvm-exec"], &["exec"], 0),
    with(&["mise", "rtx"], &["exec", "x"], 0),
    with(&["poetry", "pipenv", "uv", "pipx", "rye", "hatch", "pdm", "conda", "mamba"], &["run"], 0),
    with(&["direnv", "chamber", "aws-vault"], &["exec"], 1),
    with(&["op", "doppler", "infisical", "dotenvx", "sops"], &["run"], 0),
    Wrapper { names: &["dotenv"], verbs: &[], values: &["-f", "--file", "-e"], skip: 0, dashes: true },
    Wrapper { names: &["npx", "bunx", "pnpx"], verbs: &[], values: &["-p", "--package"], skip: 0, dashes: false },
];

/// The name of the program at `at`: the outermost is the executable, if that is known.
pub(super) fn name<'a>(argv: &[&'a str], at: usize, executable: Option<&'a str>) -> &'a str {
    let word = argv.get(at).copied().unwrap_or_default();
    match executable.filter(|_| at == 0) {
        // Parts of text, cut at `/` and `-`, are text.
        Some(path) => std::str::from_utf8(executed::name(Some(path.as_bytes()), word.as_bytes())).unwrap_or_default(),
        None => base_name(word),
    }
}

/// A name without a version and what packages add: `kubectl1.28`.
pub(super) fn stem(name: &str) -> &str {
    std::str::from_utf8(executed::stem(name.as_bytes())).unwrap_or(name)
}

/// The programs that `argv` runs.
pub(super) fn places(argv: &[&str], executable: Option<&str>) -> Vec<Place> {
    let mut places = Vec::new();
    let mut at = Some(Place { at: 0, image: false });
    while let Some(place) = at.filter(|place| place.at < argv.len() && places.len() < DEPTH_MAX) {
        places.push(place);
        at = if place.image { None } else { inner(argv, place.at, executable, &mut places) };
    }
    places
}

/// What the program at `at` runs.
fn inner(argv: &[&str], at: usize, executable: Option<&str>, places: &mut Vec<Place>) -> Option<Place> {
    let name = name(argv, at, executable);
    let program = |at| Some(Place { at, image: false });
    if runners::is_shell(name.as_bytes()) {
        let ShellRuns::Script(at) = runners::of_shell(argv, at) else { return None };
        return program(at);
    }
    if let Some(interpreter) = interpreters::find(name.as_bytes()) {
        let words: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
        let given = interpreter.read(&words, at);
        return program(given.rest).filter(|_| !given.is_inline());
    }
    if matches!(name, "docker" | "podman" | "nerdctl" | "docker-compose") {
        let runs = runners::of_container(argv, at)?;
        if runs.is_run {
            places.push(Place { at: runs.container, image: true });
        }
        return program(runs.container + 1);
    }
    let wrapper = WRAPPERS.iter().find(|wrapper| wrapper.names.contains(&name))?;
    let mut from = at + 1;
    if !wrapper.verbs.is_empty() {
        // `bundle exec`, `mise --cd x exec`: the verb is the first word.
        let verb = (from..argv.len()).find(|i| argv.get(*i).is_some_and(|word| !word.starts_with('-')))?;
        if !wrapper.verbs.contains(argv.get(verb)?) {
            return None;
        }
        from = verb + 1;
    }
    if wrapper.dashes
        && let Some(dashes) = (from..argv.len()).find(|i| argv.get(*i) == Some(&"--"))
    {
        return program(dashes + 1);
    }
    program(first_word(argv, from, wrapper.values, wrapper.skip)?)
}

/// The first word from `from` that is no option, no option's value and no `NAME=value`, after `skip` more.
fn first_word(argv: &[&str], from: usize, values: &[&str], mut skip: usize) -> Option<usize> {
    let mut i = from;
    while let Some(word) = argv.get(i) {
        i += 1;
        if *word == "--" {
            return Some(i + skip);
        }
        if word.starts_with('-') && word.len() > 1 {
            i += usize::from(values.contains(word));
        } else if !is_assignment(word.as_bytes()) {
            if skip == 0 {
                return Some(i - 1);
            }
            skip -= 1;
        }
    }
    None
}

/// The name of an image without registry, tag and digest.
pub(super) fn image_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let name = base_name(name);
    name.split(':').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        let argv: Vec<&str> = line.split(' ').collect();
        places(&argv, None)
            .iter()
            .map(|p| if p.image { format!("image {}", argv[p.at]) } else { base_name(argv[p.at]).into() })
            .collect()
    }

    #[test]
    fn programs_are_found_behind_what_runs_them() {
        let table: &[(&str, &[&str])] = &[
            ("kamal deploy", &["kamal"]),
            ("/usr/bin/ruby3.1 /usr/local/bin/kamal deploy", &["ruby3.1", "kamal"]),
            ("/usr/bin/env ruby bin/kamal deploy", &["env", "ruby", "kamal"]),
            ("ruby -W0 -I lib bin/kamal deploy", &["ruby", "kamal"]),
            ("ruby -S kamal deploy", &["ruby", "kamal"]),
            ("ruby -e exec(kamal) kamal", &["ruby"]),
            ("/usr/bin/ruby3.1 /usr/bin/bundle exec kamal deploy -d x", &["ruby3.1", "bundle", "kamal"]),
            ("bundle install kamal", &["bundle"]),
            ("bash /home/a/.rbenv/shims/kamal deploy", &["bash", "kamal"]),
            ("bash /home/a/.rbenv/libexec/rbenv exec kamal deploy", &["bash", "rbenv", "kamal"]),
            ("bash /home/a/.rbenv/libexec/rbenv-exec kamal deploy", &["bash", "rbenv-exec", "kamal"]),
            ("bash /home/a/.rbenv/libexec/rbenv-which kamal", &["bash", "rbenv-which"]),
            ("asdf exec kamal deploy", &["asdf", "kamal"]),
            ("mise exec ruby@3.3 -- kamal deploy", &["mise", "kamal"]),
            ("mise x -- kamal deploy", &["mise", "kamal"]),
            ("sudo -u deploy RAILS_ENV=x kamal deploy", &["sudo", "kamal"]),
            ("timeout -k 5 10m nice -n 5 kamal deploy", &["timeout", "nice", "kamal"]),
            ("op run --env-file=.env -- kamal deploy", &["op", "kamal"]),
            ("direnv exec . kamal deploy", &["direnv", "kamal"]),
            ("bash -c kamal", &["bash"]),
            ("bash -lc kamal", &["bash"]),
            ("sh deploy.sh kamal", &["sh", "deploy.sh"]),
            ("vim kamal", &["vim"]),
            ("python3 -m ansible playbook", &["python3", "ansible"]),
            ("python3 -c import kamal", &["python3"]),
            (
                "docker run -it --rm -v /a:/workdir -e X=y ghcr.io/basecamp/kamal:v2.3 deploy",
                &["docker", "image ghcr.io/basecamp/kamal:v2.3", "deploy"],
            ),
            ("docker run --rm ruby:3.3 kamal deploy", &["docker", "image ruby:3.3", "kamal"]),
            ("docker exec -it ci kamal deploy", &["docker", "kamal"]),
            ("docker compose run --rm app bundle exec kamal deploy", &["docker", "image app", "bundle", "kamal"]),
            ("", &[""]),
        ];
        for (line, expected) in table {
            assert_eq!(names(line), *expected, "{line}");
        }
    }

    #[test]
    fn the_executable_is_the_outermost_program() {
        for (executable, line, expected) in [
            ("/usr/bin/sleep", "kamal 100", &["sleep"][..]),
            ("/usr/bin/ruby3.1", "kamal -e sleep deploy", &["ruby3.1"]),
            ("/usr/bin/perl", "perl -E 1 kamal deploy", &["perl"]),
            ("/usr/bin/php8.2", "php -r 1 kamal deploy", &["php8.2"]),
            ("/usr/bin/node", "node -p 1 kamal deploy", &["node"]),
            ("/usr/bin/ruby3.1", "x /usr/local/bin/kamal deploy", &["ruby3.1", "kamal"]),
            ("/usr/bin/env", "x ruby bin/kamal deploy", &["env", "ruby", "kamal"]),
            ("/usr/bin/busybox", "env kamal deploy", &["env", "kamal"]),
            ("/usr/bin/dash", "busybox kamal deploy", &["dash", "kamal"]),
            ("/usr/bin/true", "sudo kamal deploy", &["true"]),
        ] {
            let argv: Vec<&str> = line.split(' ').collect();
            let found: Vec<&str> =
                places(&argv, Some(executable)).iter().map(|place| name(&argv, place.at, Some(executable))).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn images_are_known_by_their_last_name() {
        assert_eq!(image_name("ghcr.io/basecamp/kamal:v2.3"), "kamal");
        assert_eq!(image_name("localhost:5000/kamal"), "kamal");
        assert_eq!(image_name("kamal@sha256:00"), "kamal");
    }

    #[test]
    fn wrappers_without_end_are_left() {
        let line = vec!["nice"; 1000];
        assert_eq!(places(&line, None).len(), DEPTH_MAX);
    }
}
