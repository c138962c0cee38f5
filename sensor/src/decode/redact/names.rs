//! Does a name say "secret"?
//!
//! In: the name of an option, a variable, a key or a header (`--db-password`, `RAILS_MASTER_KEY`, `apiKey`).
//! Out: its [`Class`], or nothing. It rests on whole words: a name is split at anything that is not a letter,
//! at digits and at camelCase humps, and single words or two neighbours (`api` `key`) are looked up, so
//! `author`, `tokenizer` and `secretary` are other words. The last word may say that the value is about a
//! secret and not one (`password-file`, `token_ttl`). It fails towards secret: `SECRET_OF_SUCCESS=x` goes.

/// What may be done with the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Always a secret.
    Value,
    /// A secret, or the path of the file that holds it: a path stays.
    ValueOrPath,
}

/// Secret wherever they stand in the name.
#[rustfmt::skip]
const ANYWHERE: &[&str] = &[
    "password", "passwords", "passwd", "passphrase", "passcode", "passkey", "secret", "token", "tokens", "apikey",
    "apitoken", "accesskey", "secretkey", "authkey", "authtoken", "accesstoken", "sessionkey", "sharedkey",
    "accountkey", "storagekey", "presharedkey", "licensekey", "appkey", "jwtkey", "hmackey", "psk",
    "connectionstring", "connectionstrings", "connstr", "sshpass", "dbpass", "userpass", "rootpass", "adminpass",
    "storepass", "keypass", "requirepass", "masterauth", "bindpw", "rootpw", "adminpw", "userpw", "upw", "opw",
    "pgpass", "basicauth",
];

/// As above, and the value is often a path.
#[rustfmt::skip]
const ANYWHERE_OR_PATH: &[&str] = &[
    "secrets", "privatekey", "encryptionkey", "decryptionkey", "masterkey", "signingkey", "serverkey", "clientkey",
    "credential", "credentials", "creds",
];

/// Secret as the last word only: before another word they mean other things (`auth-type`, `pass-through`).
#[rustfmt::skip]
const LAST: &[&str] = &[
    "pass", "pwd", "pw", "auth", "authorization", "dsn", "otp", "totp", "pin", "jwt", "bearer", "sessionid",
];

/// As above, and the value is often a path.
#[rustfmt::skip]
const LAST_OR_PATH: &[&str] = &[
    "cookie", "cookies",
];

/// Endings of one word that make it secret: `PGPASSWORD`, `ntpassword`.
#[rustfmt::skip]
const ENDINGS: &[&str] = &[
    "password", "passwd", "passphrase",
];

/// Second halves of the compounds above, when written as two words.
#[rustfmt::skip]
const SECOND: &[&str] = &[
    "key", "token", "auth", "pass", "pw", "word", "phrase", "string", "strings", "str",
];

/// A last word that makes the value a fact about the secret.
#[rustfmt::skip]
const ABOUT: &[&str] = &[
    "account", "age", "agent", "alg", "algorithm", "arn", "attempts", "audience", "authentication", "backend",
    "class", "check", "checker", "cmd", "column", "command", "count", "days", "dir", "directory", "disabled",
    "enabled", "endpoint", "env", "expiration", "expires", "expiry", "fd", "field", "file", "filename", "files",
    "folder", "format", "header", "helper", "hint", "host", "hosts", "id", "ids", "interval", "issuer", "jar", "kind",
    "len", "length", "level", "lifetime", "limit", "manager", "max", "mechanism", "method", "min", "mode", "name",
    "names", "namespace", "path", "paths", "plugin", "policies", "policy", "port", "program", "prompt", "prompts",
    "provider", "quality", "realm", "ref", "refs", "renewal", "required", "retries", "rotation", "scope", "scopes",
    "server", "service", "size", "sock", "socket", "status", "stdin", "store", "strength", "template", "timeout",
    "ttl", "type", "types", "uri", "url", "user", "username", "users", "var", "version",
];

/// A word anywhere that makes the value a reference (`existingSecret`) or a number (`max_tokens`).
#[rustfmt::skip]
const REFERS: &[&str] = &[
    "existing", "max", "num", "nopasswd", "nopassword",
];

/// First words of options that take no value: `--no-password`, `--ask-become-pass`.
#[rustfmt::skip]
const SWITCHES: &[&str] = &[
    "allow", "ask", "change", "check", "disable", "enable", "force", "generate", "has", "hide", "ignore", "list",
    "need", "no", "print", "prompt", "random", "reset", "rotate", "show", "skip", "use", "verify", "with", "without",
];

/// The needles every secret name holds one of.
pub(super) fn needles() -> impl Iterator<Item = &'static str> {
    let lists = [ANYWHERE, ANYWHERE_OR_PATH, LAST, LAST_OR_PATH, ENDINGS];
    // A compound may be written as two words: one of these is in every spelling.
    lists.into_iter().flatten().copied().chain(["key", "token", "auth", "pass", "string", "conn", "pw"])
}

/// What `name` says of its value.
pub(super) fn classify(name: &[u8]) -> Option<Class> {
    // PWD is the working directory; MYSQL_PWD and a connection string's Pwd are not.
    if matches!(name, b"PWD" | b"OLDPWD") {
        return None;
    }
    classify_words(&split(name)).or_else(|| {
        // `-Dtoken=x`, `-Pauth=x`: the first letter is an option of java, gradle, make.
        let rest = name.strip_prefix(b"-D").or_else(|| name.strip_prefix(b"-P"))?;
        classify_words(&split(rest))
    })
}

/// Whether an option of this name takes no value.
pub(super) fn is_switch(option: &[u8]) -> bool {
    split(option).first().is_some_and(|word| is_one_of(word, SWITCHES))
}

fn classify_words(words: &[&[u8]]) -> Option<Class> {
    let last = words.last()?;
    let joined = words.len().checked_sub(2).and_then(|i| words.get(i)).copied();
    if is_one_of(last, ABOUT) {
        // The secret_id of a Vault AppRole is a secret in spite of its last word.
        let is_secret_id =
            last.eq_ignore_ascii_case(b"id") && joined.is_some_and(|w| w.eq_ignore_ascii_case(b"secret"));
        return is_secret_id.then_some(Class::Value);
    }
    if words.iter().any(|word| is_one_of(word, REFERS)) {
        return None;
    }
    let found = |whole: &[&str]| {
        words.iter().any(|word| is_one_of(word, whole))
            || words.iter().zip(words.iter().skip(1)).any(|(a, b)| is_pair_of(a, b, whole))
    };
    let found_last =
        |whole: &[&str]| is_one_of(last, whole) || joined.is_some_and(|word| is_pair_of(word, last, whole));
    let by_ending = || words.iter().any(|word| ENDINGS.iter().any(|end| ends_with(word, end.as_bytes())));
    if found(ANYWHERE) || found_last(LAST) || by_ending() {
        Some(Class::Value)
    } else if found(ANYWHERE_OR_PATH) || found_last(LAST_OR_PATH) {
        Some(Class::ValueOrPath)
    } else {
        None
    }
}

/// The words of a name. Digits only separate: `PASSWORD_2` is `PASSWORD`.
fn split(name: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    for chunk in name.split(|b| !b.is_ascii_alphabetic()) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let (word, after) = rest.split_at_checked(hump(rest)).unwrap_or((rest, &[]));
            words.push(word);
            rest = after;
        }
    }
    words
}

/// Where the first camelCase word of `letters` ends: `fooBar` 3, `APIKey` 3, `Foo` 3.
fn hump(letters: &[u8]) -> usize {
    let next = letters.iter().skip(1);
    let after = letters.iter().skip(2).map(Some).chain([None]);
    letters
        .iter()
        .zip(next)
        .zip(after)
        .position(|((a, b), c)| {
            b.is_ascii_uppercase() && (a.is_ascii_lowercase() || c.is_some_and(u8::is_ascii_lowercase))
        })
        .map_or(letters.len(), |i| i + 1)
}

fn is_one_of(word: &[u8], list: &[&str]) -> bool {
    list.iter().any(|entry| word.eq_ignore_ascii_case(entry.as_bytes()))
}

fn is_pair_of(a: &[u8], b: &[u8], list: &[&str]) -> bool {
    is_one_of(b, SECOND)
        && list.iter().any(|entry| {
            entry.as_bytes().split_at_checked(a.len()).is_some_and(|(head, end)| {
                !end.is_empty() && a.eq_ignore_ascii_case(head) && b.eq_ignore_ascii_case(end)
            })
        })
}

fn ends_with(word: &[u8], end: &[u8]) -> bool {
    word.len().checked_sub(end.len()).and_then(|i| word.get(i..)).is_some_and(|w| w.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::{Class, classify, is_switch};

    #[rustfmt::skip]
    const SECRET: &[&str] = &[
        "password", "--db-password", "DB_PASS", "apiKey", "API_KEY", "APIKey", "X-Api-Key", "awsSecretAccessKey",
        "PGPASSWORD", "MYSQL_PWD", "pwd", "--auth", "SENTRY_DSN", "RAILS_MASTER_KEY", "user[password]", "PASSWORD_2",
        "passWord", "-Dtoken", "--otp", "USER_PIN", "SECRET_KEY_BASE", "connectionString", "AccountKey", "_authToken",
        "VAULT_SECRET_ID", "--private-key", "client_secret", "OAuthToken", "Set-Cookie", "masterauth", "--psk",
    ];

    #[test]
    fn secret_names_are_whole_words() {
        for name in SECRET {
            assert!(classify(name.as_bytes()).is_some(), "{name}");
        }
    }

    #[rustfmt::skip]
    const OTHER: &[&str] = &[
        "author", "--authors", "authorized_keys", "tokenizer", "passenger", "secretary", "PWD", "OLDPWD",
        "--password-file", "--password-stdin", "--pass-through", "--passthrough", "auth-type", "AUTH_HOST",
        "SSH_AUTH_SOCK", "max_tokens", "TOKEN_TTL", "secretName", "existingSecret", "key", "KEY", "compass", "bypass",
        "opinion", "pinned", "spin", "hotpot", "PasswordAuthentication", "AWS_ACCESS_KEY_ID", "--public-key",
        "monkey", "DATABASE_URL", "",
    ];

    #[test]
    fn other_names_are_not() {
        for name in OTHER {
            assert_eq!(classify(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn some_values_may_be_paths_and_some_options_are_switches() {
        assert_eq!(classify(b"--private-key"), Some(Class::ValueOrPath));
        assert!(is_switch(b"--no-password") && is_switch(b"--ask-become-pass") && !is_switch(b"--password"));
    }
}
