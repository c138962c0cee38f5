//! The files that a client goes by for host keys, read in its own root.
//!
//! ssh: what its arguments and configuration name, else the defaults of OpenSSH. An application: the same defaults,
//! which Paramiko's and Net::SSH's are too; the words of its command line may be names of servers. A file that is not
//! there says nothing; one that cannot be read, or is not a plain file of reasonable size, makes the answer incomplete.

use std::{
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
};

use serde_bytes::ByteBuf;

use super::{
    beneath::Beneath,
    known_hosts::Shown,
    passwd::{self, PASSWD_MAX},
};
use crate::{
    decode::ssh::{
        known_hosts::{self, Wanted},
        settings::Settings,
    },
    event::host_key::{Checking, Entry, Extent, KnownHosts},
};

const FILE_MAX: u64 = 1 << 20;
/// Configuration files read for one key.
const CONFIGS_MAX: usize = 64;
const NAMES_MAX: usize = 16;
const FILES_MAX: usize = 16;
/// A file's time is that of the kernel's last tick.
const TICK_NS: i64 = 10_000_000;

const USER_FILES: [&str; 2] = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];
const GLOBAL_FILES: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];

/// What they say of this key.
///
/// `cmdline`: the open command line of an application.
pub fn examine(root: &Beneath, cmdline: Option<&File>, shown: &Shown) -> KnownHosts {
    let nothing = KnownHosts { connection: shown.connection, ..KnownHosts::default() };
    let home = home(root, shown.euid);
    let place = Place { root, home: home.as_deref() };
    let mut settings = match &shown.args {
        Some(args) => Settings::of_arguments(args.iter().map(|arg| arg.as_slice())),
        None => Settings::default(),
    };
    if shown.args.is_some() {
        place.configure(&mut settings);
    }
    let hosts = match &settings.alias {
        Some(alias) => vec![alias.to_ascii_lowercase()],
        None => place.hosts(cmdline, shown, &settings),
    };
    let port = shown.remote.port();
    let with_port = |host: &String| if port == 22 { host.clone() } else { format!("[{host}]:{port}") };
    let names: Vec<String> = match &settings.alias {
        Some(_) => hosts.clone(),
        None => hosts.iter().map(with_port).collect(),
    };
    let wanted = Wanted { key: &shown.key, names: &names, hosts: &hosts };
    let mut fact = KnownHosts { extent: if settings.unclear { Extent::Part } else { Extent::Whole }, ..nothing };
    let defaults = |files: [&str; 2]| files.map(str::to_owned).to_vec();
    let users = settings.user_files.clone().unwrap_or_else(|| defaults(USER_FILES));
    let globals = settings.global_files.clone().unwrap_or_else(|| defaults(GLOBAL_FILES));
    for (n, file) in users.iter().chain(&globals).enumerate() {
        let read = (n < FILES_MAX).then(|| place.known_hosts(file, &wanted, shown.time)).flatten();
        let Some((entries, whole)) = read else {
            fact.extent = Extent::Part;
            continue;
        };
        if !whole {
            fact.extent = Extent::Part;
        }
        fact.entries.extend(entries);
    }
    // OpenSSH asks where nothing says otherwise.
    let by_default = || (shown.args.is_some() && !settings.unclear).then_some(Checking::Ask);
    fact.checking = settings.checking.or_else(by_default);
    fact
}

struct Place<'a> {
    root: &'a Beneath,
    home: Option<&'a str>,
}

impl Place<'_> {
    /// A path as ssh's configuration has it; None: with a token that is not known here.
    fn path(&self, file: &str) -> Option<String> {
        let path = match file.strip_prefix("~/").or_else(|| file.strip_prefix("%d/")) {
            Some(rest) => format!("{}/{rest}", self.home?),
            None => file.to_owned(),
        };
        (path.starts_with('/') && !path.contains(['%', '$'])).then_some(path)
    }

    /// What a file says. One that is not there says nothing.
    fn known_hosts(&self, file: &str, wanted: &Wanted<'_>, time: i64) -> Option<(Vec<Entry>, bool)> {
        // How people say that they do not want any.
        if file == "/dev/null" {
            return Some((Vec::new(), true));
        }
        let file = match self.root.open(self.path(file)?.as_ref()) {
            Ok(file) => file,
            Err(error) => return is_missing(&error).then(|| (Vec::new(), true)),
        };
        let metadata = file.metadata().ok()?;
        let written = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        let bytes = self.root.read_open(file, FILE_MAX).ok()?;
        Some(known_hosts::read(&bytes, wanted, written.saturating_add(TICK_NS) >= time))
    }

    /// `-F FILE`, else the user's configuration and then the host's.
    fn configure(&self, settings: &mut Settings) {
        let given = settings.config.clone();
        let files = match given.as_deref() {
            Some("none") => vec![],
            Some(file) => vec![file],
            None => vec!["~/.ssh/config", "/etc/ssh/ssh_config"],
        };
        let mut left = CONFIGS_MAX;
        let mut unread = false;
        for file in files {
            let beside = if file.starts_with("/etc/") { "/etc/ssh" } else { "~/.ssh" };
            match self.path(file).map(|path| self.config(&path)) {
                Some(Ok(text)) => settings.read(&text, &mut |pattern| {
                    let files = self.included(pattern, beside).unwrap_or_else(|| {
                        unread = true;
                        Vec::new()
                    });
                    unread |= files.len() > left;
                    let taken = files.len().min(left);
                    left -= taken;
                    files.into_iter().take(taken).collect()
                }),
                Some(Err(error)) if is_missing(&error) => {}
                _ => unread = true,
            }
        }
        settings.unclear |= unread;
    }

    fn config(&self, path: &str) -> io::Result<Vec<u8>> {
        self.root.read(path.as_ref(), FILE_MAX)
    }

    /// The files of an `Include`: one, or `FOLDER/*ENDING`. None: they cannot be had, or the pattern is another.
    fn included(&self, pattern: &str, beside: &str) -> Option<Vec<Vec<u8>>> {
        let absolute = pattern.starts_with(['/', '~']);
        let pattern = self.path(&if absolute { pattern.to_owned() } else { format!("{beside}/{pattern}") })?;
        let (folder, name) = pattern.rsplit_once('/')?;
        let Some((before, after)) = name.split_once('*') else {
            return match self.config(&pattern) {
                Ok(text) => Some(vec![text]),
                Err(error) => is_missing(&error).then(Vec::new),
            };
        };
        if after.contains(['*', '?', '[']) || folder.contains(['*', '?', '[']) {
            return None;
        }
        let mut names: Vec<String> = match self.root.names(folder.as_ref(), CONFIGS_MAX) {
            Ok(names) => names.into_iter().filter_map(|name| name.into_string().ok()).collect(),
            Err(error) => return is_missing(&error).then(Vec::new),
        };
        names.retain(|name| {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        });
        names.sort();
        names.iter().map(|name| self.config(&format!("{folder}/{name}")).ok()).collect()
    }

    /// By which names the server may be known: its address, what /etc/hosts calls that, and what the client's command
    /// line says.
    fn hosts(&self, cmdline: Option<&File>, shown: &Shown, settings: &Settings) -> Vec<String> {
        let address = shown.remote.ip().to_canonical();
        let mut hosts = vec![address.to_string()];
        hosts.extend(settings.host.iter().chain(&settings.host_name).map(|name| name.to_ascii_lowercase()));
        if shown.args.is_none() {
            hosts.extend(cmdline.map(words).unwrap_or_default());
        }
        hosts.extend(self.names_of(address));
        let mut kept: Vec<String> = Vec::new();
        for host in hosts {
            if kept.len() < NAMES_MAX && !kept.contains(&host) {
                kept.push(host);
            }
        }
        kept
    }

    fn names_of(&self, address: IpAddr) -> Vec<String> {
        let Ok(text) = self.root.read("/etc/hosts".as_ref(), FILE_MAX) else { return Vec::new() };
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
        let of_it = lines.filter_map(|mut words| (words.next()?.parse() == Ok(address)).then_some(words));
        of_it.flatten().map(str::to_ascii_lowercase).take(NAMES_MAX).collect()
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn home(root: &Beneath, uid: u32) -> Option<String> {
    let bytes = root.read("/etc/passwd".as_ref(), PASSWD_MAX as u64).ok()?;
    let first = passwd::entries(&bytes).find(|entry| entry.uid == uid)?;
    (!first.home.is_empty()).then(|| first.home.to_owned())
}

/// Words of a command line that can be a server's name: `host`, `user@host:port`, `--host=host`.
fn words(cmdline: &File) -> Vec<String> {
    let mut bytes = Vec::new();
    // A short read is what there is.
    let _ = cmdline.take(4096).read_to_end(&mut bytes);
    let args: Vec<ByteBuf> = bytes.split(|byte| *byte == 0).map(|arg| ByteBuf::from(arg.to_vec())).collect();
    let is_name = |word: &&str| {
        word.len() <= 253
            && word.bytes().any(|byte| byte.is_ascii_alphanumeric())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    let texts = args.iter().filter_map(|arg| str::from_utf8(arg.as_slice()).ok());
    let hosts = texts.map(|text| {
        let text = text.rsplit(['@', '=', '/']).next().unwrap_or(text);
        text.split(':').next().unwrap_or(text)
    });
    hosts.filter(is_name).map(str::to_ascii_lowercase).take(NAMES_MAX).collect()
}
