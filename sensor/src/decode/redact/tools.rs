//! The table of programs whose secrets no name shows.
//!
//! In: the basename of a program and the words after it. Out: the rows that apply. To add a program, add a
//! row: its names (`snmp*` is a prefix), the subcommand that must be there (one of the first four words),
//! its options, and its positional arguments. Options whose *name* says secret (`--password`) need no row.
//! It rests on the programs' manuals; a test checks that the prefilter knows every row.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::parts::Part::{
    self, AfterColon, AfterComma, AfterPercent, AfterSlash, Assigned, ColonPair, CookiePairs, Header, List, PassSpec,
    Prose, Reference, Sends, Token, Whole,
};

/// Where the value of an option stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// In the next word, or joined: `-p x`, `-px`, `--user x`, `--user=x`.
    Either,
    /// In the next word, unless that is an option; or joined.
    Maybe,
    /// Joined only: `-px`, `/p:x`.
    Joined,
    /// In the next word only.
    Next,
    /// As `Either`, and the letter may end a cluster: `-sSu x`.
    Cluster,
}

/// One option: how it is written, where its value is, which part of the value is secret.
pub(super) struct Flag(pub(super) &'static str, pub(super) Takes, pub(super) Part);

/// Which of the words after a keyword.
#[derive(Clone, Copy)]
pub(super) enum Nth {
    Index(usize),
    Last,
    All,
}

/// A secret without an option: after the word `after` (the program itself if empty), not counting options.
pub(super) struct Positional {
    pub(super) after: &'static str,
    pub(super) nth: Nth,
    pub(super) part: Part,
}

/// One row.
pub(super) struct Tool {
    names: &'static [&'static str],
    within: &'static [&'static str],
    pub(super) flags: &'static [Flag],
    pub(super) positionals: &'static [Positional],
}

const fn tool(names: &'static [&'static str], flags: &'static [Flag]) -> Tool {
    Tool { names, within: &[], flags, positionals: &[] }
}

const fn sub(names: &'static [&'static str], within: &'static [&'static str], flags: &'static [Flag]) -> Tool {
    Tool { names, within, flags, positionals: &[] }
}

const fn words(names: &'static [&'static str], positionals: &'static [Positional]) -> Tool {
    Tool { names, within: &[], flags: &[], positionals }
}

const fn nth(after: &'static str, index: usize, part: Part) -> Positional {
    Positional { after, nth: Nth::Index(index), part }
}

const fn all(after: &'static str, part: Part) -> Positional {
    Positional { after, nth: Nth::All, part }
}

const fn last(after: &'static str) -> Positional {
    Positional { after, nth: Nth::Last, part: Whole }
}

use Takes::{Cluster, Either, Joined, Maybe, Next};

const CONTAINERS: &[&str] = &["docker", "podman", "nerdctl", "buildah", "skopeo"];

#[rustfmt::skip]
static TOOLS: &[Tool] = &[
    // Databases. mysql reads `-p x` as a prompt and a database; people mean a password.
    tool(&["mysql*", "mariadb*", "mycli", "mydumper", "xtrabackup"], &[Flag("-p", Maybe, Whole)]),
    tool(&["mongo*"], &[Flag("-p", Maybe, Whole)]),
    tool(&["redis-cli", "valkey-cli", "keydb-cli"], &[Flag("-a", Either, Whole)]),
    words(&["redis-cli", "valkey-cli", "keydb-cli"], &[last("AUTH"), last("auth")]),
    tool(&["cqlsh"], &[Flag("-p", Either, Whole)]),
    tool(&["sqlcmd", "osql", "bcp", "isql", "tsql", "mssql-cli"], &[Flag("-P", Maybe, Whole)]),
    words(&["sqlplus", "sqlldr", "expdp", "impdp"], &[all("", AfterSlash)]),
    tool(&["etcdctl"], &[Flag("--user", Either, AfterColon)]),
    // Registries and clouds.
    sub(&["docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oras", "crane", "az", "azure.cli", "oc", "cf", "faas-cli", "ibmcloud"],
        &["login"], &[Flag("-p", Either, Whole)]),
    // The name of a build argument says little of its value; Kamal hides all of them in its own output.
    tool(CONTAINERS, &[Flag("--secret", Either, Reference), Flag("--build-arg", Either, Assigned)]),
    tool(&["aws"], &[Flag("--secret-id", Either, Reference)]),
    Tool { names: &["kamal"], within: &[], flags: &[Flag("-e", Either, ColonPair), Flag("--env", Either, ColonPair)], positionals: &[nth("extract", 1, Whole)] },
    tool(&["fab"], &[Flag("-p", Maybe, Whole)]),
    sub(&["kubectl", "oc", "k3s"], &["secret"], &[Flag("--from-literal", Either, Assigned)]),
    Tool { names: &["vault", "bao"], within: &["login"], flags: &[], positionals: &[all("login", Token)] },
    Tool { names: &["vault", "bao"], within: &["put", "patch"], flags: &[], positionals: &[all("put", Assigned), all("patch", Assigned)] },
    Tool { names: &["fly", "flyctl", "wrangler"], within: &["secrets", "secret"], flags: &[], positionals: &[all("set", Assigned)] },
    Tool { names: &["gh", "glab"], within: &["secret"], flags: &[Flag("-b", Either, Whole), Flag("--body", Either, Whole)], positionals: &[] },
    words(&["ansible-vault"], &[nth("encrypt_string", 0, Whole)]),
    words(&["mc"], &[nth("set", 3, Whole), nth("set", 2, Whole), nth("add", 3, Whole), nth("add", 2, Whole)]),
    tool(&["rclone"], &[Flag("pass", Next, Whole), Flag("secret_access_key", Next, Whole), Flag("client_secret", Next, Whole)]),
    words(&["bundle"], &[nth("set", 1, AfterColon)]),
    words(&["bw"], &[nth("login", 1, Whole), nth("unlock", 0, Whole)]),
    // Web.
    tool(&["curl", "curlie"], &[
        Flag("-u", Cluster, AfterColon), Flag("--user", Either, AfterColon),
        Flag("-U", Cluster, AfterColon), Flag("--proxy-user", Either, AfterColon),
        Flag("-b", Cluster, CookiePairs), Flag("--cookie", Either, CookiePairs),
        Flag("--oauth2-bearer", Either, Whole), Flag("-H", Cluster, Header), Flag("--header", Either, Header),
        Flag("--proxy-header", Either, Header), Flag("-d", Cluster, List), Flag("-F", Cluster, List),
    ]),
    tool(&["http", "https", "xh", "xhs"], &[Flag("-a", Either, AfterColon), Flag("--auth", Either, AfterColon)]),
    words(&["http", "https", "xh", "xhs"], &[all("", Header)]),
    tool(&["wget", "wget2"], &[Flag("--header", Either, Header)]),
    // Directories, file shares, remote desktops.
    tool(&["ldap*"], &[Flag("-w", Either, Whole)]),
    tool(&["ldappasswd"], &[Flag("-s", Either, Whole), Flag("-a", Either, Whole)]),
    tool(&["smbclient", "rpcclient", "net", "smbget", "smbcacls", "winexe", "wmic", "smbtree", "nmblookup"],
        &[Flag("-U", Either, AfterPercent), Flag("--user", Either, AfterPercent)]),
    tool(&["smbmap", "crackmapexec", "nxc", "evil-winrm"], &[Flag("-p", Either, Whole), Flag("-H", Either, Whole)]),
    tool(&["xfreerdp*", "wlfreerdp*", "sdl-freerdp*"], &[Flag("/p:", Joined, Whole)]),
    tool(&["rdesktop"], &[Flag("-p", Either, Whole)]),
    tool(&["lftp"], &[Flag("-u", Either, AfterComma)]),
    tool(&["ncftp*"], &[Flag("-p", Either, Whole)]),
    // Login helpers, SSH, users.
    tool(&["sshpass"], &[Flag("-p", Either, Whole)]),
    tool(&["plink", "pscp", "psftp", "putty"], &[Flag("-pw", Next, Whole)]),
    tool(&["ssh-keygen"], &[Flag("-N", Either, Whole), Flag("-P", Either, Whole)]),
    tool(&["useradd", "usermod", "groupadd", "groupmod"], &[Flag("-p", Either, Whole)]),
    tool(&["expect"], &[Flag("-c", Either, Sends)]),
    // Cryptography.
    tool(&["openssl"], &[
        Flag("-passin", Either, PassSpec), Flag("-passout", Either, PassSpec), Flag("-pass", Either, PassSpec),
        Flag("-k", Next, Whole), Flag("-K", Next, Whole), Flag("-password", Either, PassSpec), Flag("-passwd", Either, PassSpec),
        Flag("-hmac", Next, Whole),
    ]),
    Tool { names: &["openssl"], within: &["passwd"], flags: &[], positionals: &[last("passwd")] },
    Tool { names: &["htpasswd", "mosquitto_passwd"], within: &["-b", "-nb", "-bn", "-cb", "-bc", "-bB", "-Bb", "-nbB", "-nBb", "-bnB", "-cbB", "-cBb", "-bBn", "-Bbn", "-bcB", "-Bbc", "-Bcb", "-Bnb"],
        flags: &[], positionals: &[last("")] },
    words(&["wpa_passphrase"], &[nth("", 1, Whole)]),
    tool(&["keytool", "jarsigner"], &[Flag("-storepass", Next, Whole), Flag("-keypass", Next, Whole)]),
    // Archives.
    tool(&["7z", "7za", "7zr", "7zz"], &[Flag("-p", Joined, Whole)]),
    tool(&["rar", "unrar"], &[Flag("-hp", Joined, Whole), Flag("-p", Joined, Whole)]),
    tool(&["zip", "unzip", "zipcloak"], &[Flag("-P", Either, Whole)]),
    // Queues, devices, networks.
    words(&["rabbitmqctl"], &[nth("add_user", 1, Whole), nth("change_password", 1, Whole), nth("authenticate_user", 1, Whole)]),
    tool(&["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"], &[Flag("-P", Either, Whole)]),
    tool(&["snmp*"], &[Flag("-A", Either, Whole), Flag("-X", Either, Whole), Flag("-c", Either, Whole)]),
    Tool { names: &["ipmitool"], within: &[], flags: &[Flag("-P", Either, Whole)], positionals: &[nth("password", 1, Whole)] },
    tool(&["nmcli"], &[Flag("password", Next, Whole), Flag("wifi-sec.psk", Next, Whole), Flag("802-11-wireless-security.psk", Next, Whole)]),
    tool(&["iwconfig"], &[Flag("key", Next, Whole)]),
    // Not secrets: what the value is, so that pairs in it are read rightly.
    sub(&["git", "hg", "jj"], &["commit", "tag", "merge", "stash", "notes", "revert"], &[Flag("-m", Cluster, Prose), Flag("--message", Either, Prose)]),
    sub(&["gh", "glab"], &["pr", "issue", "release"], &[Flag("-b", Either, Prose), Flag("--body", Either, Prose), Flag("-t", Either, Prose), Flag("--title", Either, Prose), Flag("--notes", Either, Prose)]),
];

/// Options of any program whose value is a list of pairs.
pub(super) const LIST_OPTIONS: &[&str] = &[
    "-d",
    "--data",
    "--data-raw",
    "--data-ascii",
    "--data-binary",
    "--data-urlencode",
    "-F",
    "--form",
    "--form-string",
    "--post-data",
    "--body-data",
    "--set",
    "--set-string",
    "-o",
    "--options",
    "--opt",
    "--query",
];

/// Programs that read a password from standard input (`echo x | passwd`).
pub(super) const READERS: &[&str] = &["passwd", "cryptsetup", "kinit", "smbpasswd", "vncpasswd", "ldappasswd"];

/// Text that makes a command behind a wrapper or a shell one (`ssh host 'sudo -S ls'`).
pub(super) const READER_TEXTS: &[&str] = &["sudo -S", "sudo -kS", "chpasswd", "passwd --stdin", "--password-stdin"];

/// Options that make any program one.
pub(super) const READER_OPTIONS: &[&str] = &[
    "--password-stdin",
    "--passphrase-stdin",
    "--pass-stdin",
    "--token-stdin",
    "--with-token",
    "--passphrase-fd",
    "--password-fd",
    "--secret-stdin",
    "--stdin-password",
];

/// The rows by their whole names, and the rows that have beginnings of names: reading all costs half a microsecond.
struct Index {
    by_name: HashMap<&'static [u8], Vec<&'static Tool>>,
    with_prefixes: Vec<&'static Tool>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut by_name: HashMap<&[u8], Vec<&Tool>> = HashMap::new();
    for tool in TOOLS {
        for name in tool.names.iter().filter(|name| !name.ends_with('*')) {
            by_name.entry(name.as_bytes()).or_default().push(tool);
        }
    }
    let with_prefixes = TOOLS.iter().filter(|tool| tool.names.iter().any(|name| name.ends_with('*'))).collect();
    Index { by_name, with_prefixes }
});

/// The rows that have the program `name`.
fn rows_of(name: &[u8]) -> impl Iterator<Item = &'static Tool> {
    let whole = INDEX.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
    whole.iter().chain(INDEX.with_prefixes.iter().filter(move |tool| tool.begins(name))).copied()
}

/// Whether a row has the program `name`.
pub(super) fn has(name: &[u8]) -> bool {
    rows_of(name).next().is_some()
}

/// The rows for the program `name` called with `rest`.
pub(super) fn rows(name: &[u8], rest: &[&[u8]]) -> Vec<&'static Tool> {
    rows_of(name).filter(|tool| tool.applies(rest)).collect()
}

impl Tool {
    /// Whether the row is for its programs called with `rest`.
    fn applies(&self, rest: &[&[u8]]) -> bool {
        self.within.is_empty()
            || rest.iter().take(4).any(|word| self.within.iter().any(|entry| *word == entry.as_bytes()))
    }

    /// Whether a beginning of names in the row is that of `name`.
    fn begins(&self, name: &[u8]) -> bool {
        let mut prefixes = self.names.iter().filter_map(|entry| entry.strip_suffix('*'));
        prefixes.any(|prefix| name.starts_with(prefix.as_bytes()))
    }

    fn removes(&self) -> bool {
        self.flags.iter().any(|flag| flag.2.removes()) || self.positionals.iter().any(|words| words.part.removes())
    }
}

/// The needles every row holds one of: its subcommands if there must be one and they are the longer words, or
/// its programs. Rows that only say how to read a value have none.
pub(super) fn needles() -> impl Iterator<Item = &'static str> {
    let shortest = |words: &[&str]| words.iter().map(|word| word.len()).min().unwrap_or(0);
    TOOLS
        .iter()
        .filter(|tool| tool.removes())
        .flat_map(move |tool| if shortest(tool.within) > shortest(tool.names) { tool.within } else { tool.names })
        .map(|name| name.trim_end_matches('*'))
}
