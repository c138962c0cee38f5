//! What OpenSSH's ssh goes by for host keys: set by its arguments, then by its configuration (ssh_config(5)); the first
//! value of a keyword counts.
//!
//! What enters: argv, and the text of configuration files, any bytes. What leaves: where known hosts are looked for,
//! under which names, and what is done with unknown keys. Not followed: `Match` (but `Match all`), KnownHostsCommand,
//! canonical names: where one of these has a say, `unclear` says that this is not all.

use crate::event::host_key::Checking;

/// OpenSSH's own limit is 16.
const INCLUDE_DEPTH: u8 = 4;
const WORDS_MAX: usize = 64;

/// What matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The destination as it was typed.
    pub host: Option<String>,
    /// `-F`
    pub config: Option<String>,
    pub host_name: Option<String>,
    pub alias: Option<String>,
    pub user_files: Option<Vec<String>>,
    pub global_files: Option<Vec<String>>,
    pub checking: Option<Checking>,
    /// Something here has a say and is not followed.
    pub unclear: bool,
}

/// Options of ssh that take a value.
const WITH_VALUE: &[u8] = b"BbcDEeFIiJLlmOopPQRSWw";

impl Settings {
    /// ssh's own argv. Options may follow the destination too, up to the first word that is none: the command.
    pub fn of_arguments<'a>(args: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut settings = Self::default();
        let mut args = args.skip(1).map(|arg| String::from_utf8_lossy(arg).into_owned());
        let mut options = true;
        while let Some(arg) = args.next() {
            let mut letters = match arg.strip_prefix('-') {
                Some("-") if options => {
                    options = false;
                    continue;
                }
                Some(letters) if options && !letters.is_empty() => letters,
                _ if settings.host.is_none() => {
                    settings.host = Some(destination(&arg));
                    continue;
                }
                _ => break,
            };
            while let Some(letter) = letters.chars().next() {
                letters = letters.get(letter.len_utf8()..).unwrap_or_default();
                if !WITH_VALUE.contains(&(letter as u32 as u8)) || !letter.is_ascii() {
                    continue;
                }
                let value = if letters.is_empty() { args.next().unwrap_or_default() } else { letters.to_owned() };
                match letter {
                    'F' => settings.config = Some(value),
                    'o' => settings.line(&value),
                    _ => {}
                }
                break;
            }
        }
        settings
    }

    /// A configuration file. `include` reads the files that a pattern names.
    pub fn read(&mut self, text: &[u8], include: &mut dyn FnMut(&str) -> Vec<Vec<u8>>) {
        self.read_at(text, INCLUDE_DEPTH, true, include);
    }

    fn read_at(&mut self, text: &[u8], depth: u8, active: bool, include: &mut dyn FnMut(&str) -> Vec<Vec<u8>>) {
        let text = String::from_utf8_lossy(text);
        // None: under a condition that is not followed.
        let mut active = Some(active);
        for line in text.lines() {
            let Some((keyword, words)) = split(line) else { continue };
            match keyword.as_str() {
                "host" => {
                    let patterns = words.iter().map(String::as_bytes);
                    let host = self.host.as_deref().unwrap_or_default();
                    active = Some(super::known_hosts::list_matches(patterns, host.as_bytes()));
                }
                "match" => active = (words.len() == 1 && words.iter().any(|word| word == "all")).then_some(true),
                "include" if depth == 0 && active != Some(false) => self.unclear = true,
                "include" if active != Some(false) => {
                    for file in words.iter().flat_map(|pattern| include(pattern)).collect::<Vec<_>>() {
                        match active {
                            Some(active) => self.read_at(&file, depth - 1, active, include),
                            None => self.unclear = true,
                        }
                    }
                }
                _ => match active {
                    Some(true) => self.set(&keyword, words),
                    Some(false) => {}
                    None => self.unclear |= MATTER.contains(&keyword.as_str()),
                },
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some((keyword, words)) = split(line) {
            self.set(&keyword, words);
        }
    }

    fn set(&mut self, keyword: &str, words: Vec<String>) {
        let first = words.first().cloned();
        let files = |words: Vec<String>| Some(words.into_iter().filter(|file| file != "none").collect());
        match keyword {
            "hostname" => self.host_name = self.host_name.take().or(first),
            "hostkeyalias" => self.alias = self.alias.take().or(first),
            "userknownhostsfile" => self.user_files = self.user_files.take().or_else(|| files(words)),
            "globalknownhostsfile" => self.global_files = self.global_files.take().or_else(|| files(words)),
            "stricthostkeychecking" => self.checking = self.checking.or_else(|| checking(&first?)),
            "knownhostscommand" => self.unclear |= first.is_some_and(|command| command != "none"),
            "canonicalizehostname" => self.unclear |= first.is_some_and(|value| value != "no"),
            _ => {}
        }
    }
}

/// Keywords that `set` knows.
const MATTER: &[&str] = &[
    "hostname",
    "hostkeyalias",
    "userknownhostsfile",
    "globalknownhostsfile",
    "stricthostkeychecking",
    "knownhostscommand",
    "canonicalizehostname",
];

fn checking(value: &str) -> Option<Checking> {
    Some(match value.to_ascii_lowercase().as_str() {
        "yes" | "true" => Checking::Strict,
        "ask" => Checking::Ask,
        "accept-new" => Checking::AcceptNew,
        "no" | "false" | "off" => Checking::Off,
        _ => return None,
    })
}

/// `[user@]host` or `ssh://[user@]host[:port]`
fn destination(arg: &str) -> String {
    let (arg, is_uri) = arg.strip_prefix("ssh://").map_or((arg, false), |rest| (rest, true));
    let host = arg.rsplit('@').next().unwrap_or(arg);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if is_uri && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    host.trim_end_matches('/').trim_matches(['[', ']']).to_owned()
}

/// A line's keyword, in lower case, and its words: `Keyword word "quoted words"` or `Keyword=word`.
fn split(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim();
    let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let (keyword, rest) = line.split_at_checked(end)?;
    if keyword.is_empty() || keyword.starts_with('#') {
        return None;
    }
    let rest = rest.trim_start();
    let mut rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let mut words = Vec::new();
    while !rest.is_empty() && !rest.starts_with('#') && words.len() < WORDS_MAX {
        let (word, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = tail.trim_start();
    }
    Some((keyword.to_ascii_lowercase(), words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Settings {
        Settings::of_arguments(line.split(' ').map(str::as_bytes))
    }

    #[test]
    fn arguments_are_read_as_ssh_reads_them() {
        let settings = of(
            "ssh -vp22 -oHostKeyAlias=db -o StrictHostKeyChecking=no -F /x alice@db.test -o UserKnownHostsFile=/k cat -o HostKeyAlias=no",
        );
        assert_eq!(settings.host.as_deref(), Some("db.test"));
        assert_eq!((settings.alias.as_deref(), settings.config.as_deref()), (Some("db"), Some("/x")));
        assert_eq!((settings.checking, settings.user_files), (Some(Checking::Off), Some(vec!["/k".into()])));
        assert_eq!(of("ssh ssh://a@[::1]:22 x").host.as_deref(), Some("::1"));
        assert_eq!(of("ssh -i key -- -host").host.as_deref(), Some("-host"));
        assert_eq!(of("ssh"), Settings::default());
        assert_eq!(of("ssh -o"), Settings::default());
        assert_eq!(of("ssh -ü -W h:1 x").host.as_deref(), Some("x"));
    }

    #[test]
    fn the_first_value_counts_and_hosts_are_chosen() {
        let text = "\
            # HostKeyAlias no\n\
            Host other !db.test\n  HostKeyAlias no\n\
            Host *.test\n\tHostName = 10.0.0.7\n  UserKnownHostsFile ~/a \"~/b c\"\n  GlobalKnownHostsFile none\n\
            Host *\n  HostName no\n  StrictHostKeyChecking accept-new # yes\n";
        let mut settings = of("ssh db.test");
        settings.read(text.as_bytes(), &mut |_| Vec::new());
        assert_eq!(settings.host_name.as_deref(), Some("10.0.0.7"));
        assert_eq!(settings.user_files, Some(vec!["~/a".into(), "~/b c".into()]));
        assert_eq!((settings.global_files, settings.alias), (Some(vec![]), None));
        assert_eq!((settings.checking, settings.unclear), (Some(Checking::AcceptNew), false));
    }

    #[test]
    fn what_is_not_followed_is_said_if_it_matters() {
        let mut include = |_: &str| vec![b"Host x\nHostKeyAlias included\n".to_vec(), b"Include again\n".to_vec()];
        for (text, unclear) in [
            ("Match user x\n  Port 5\n", false),
            ("Match user x\n  HostKeyAlias y\n", true),
            ("Match all\n  HostKeyAlias y\n", false),
            ("KnownHostsCommand /bin/x\n", true),
            ("KnownHostsCommand none\n", false),
            ("Host y\n  Include endless\n", false),
            ("Include endless\n", true),
        ] {
            let mut settings = of("ssh x");
            settings.read(text.as_bytes(), &mut include);
            assert_eq!(settings.unclear, unclear, "{text}");
        }
        let mut settings = of("ssh x");
        settings.read(b"Include one\nHostKeyAlias after\n", &mut |_| vec![b"Host x\nHostKeyAlias included\n".to_vec()]);
        assert_eq!(settings.alias.as_deref(), Some("included"));
    }
}
