//! Attempts to log in, as records, sshd's log and the clients' own logs tell them: the same list from each, or somebody
//! is wrong.

use crate::Record;

/// An attempt or offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub user: String,
    pub method: String,
    /// `success`, `failure`, `partial`.
    pub outcome: String,
    pub fingerprint: String,
}

impl Attempt {
    pub fn new(user: &str, method: &str, outcome: &str, fingerprint: &str) -> Self {
        let [user, method, outcome, fingerprint] = [user, method, outcome, fingerprint].map(str::to_owned);
        Self { user, method, outcome, fingerprint }
    }

    /// The same, as far as sshd's log goes: of a key that would do it writes the name only.
    pub fn is_logged_as(&self, logged: &Self) -> bool {
        let unnamed = logged.fingerprint.is_empty() && logged.method == "publickey";
        let fingerprint = if unnamed { self.fingerprint.clone() } else { logged.fingerprint.clone() };
        *self == Self { fingerprint, ..logged.clone() }
    }
}

/// sshd's lines about the connections from a port: `Failed METHOD for USER from IP port PORT ssh2: TYPE FINGERPRINT`.
pub fn by_sshd(log: &str, port: u64) -> Vec<Vec<Attempt>> {
    let (begin, from) =
        (format!("Connection from 127.0.0.1 port {port} on "), format!(" from 127.0.0.1 port {port} ssh2"));
    let mut connections = Vec::new();
    for line in log.lines() {
        if line.starts_with(&begin) {
            connections.push(Vec::new());
        } else if let (Some(recorded), Some(last)) = (attempt(line, &from), connections.last_mut()) {
            last.push(recorded);
        }
    }
    connections
}

fn attempt(line: &str, from: &str) -> Option<Attempt> {
    let (before, after) = line.split_once(from)?;
    let mut words = before.split(' ');
    let outcome = match words.next()? {
        "Accepted" => "success",
        "Failed" => "failure",
        "Partial" => "partial",
        // The key would do; the question of an interactive method is part of its attempt.
        "Postponed" if before.starts_with("Postponed publickey") => "success",
        _ => return None,
    };
    let method = words.next()?.split('/').next()?;
    let user = before.rsplit(' ').next()?;
    let fingerprint = after.split(' ').find(|word| word.starts_with("SHA256:")).unwrap_or_default();
    Some(Attempt::new(user, method, outcome, fingerprint))
}

pub fn by_records<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<Attempt> {
    records
        .filter(|record| record.is("ssh-authentication") || record.is("ssh-key-offered"))
        .map(|record| {
            let partial = record.get("ssh.auth.partial").is_some();
            Attempt::new(
                record.text("destination.user.name"),
                record.text("ssh.auth.method"),
                if partial { "partial" } else { record.text("event.outcome") },
                record.text("ssh.auth.key.fingerprint"),
            )
        })
        .collect()
}

/// Paramiko's log. It signs at once, and does not name the key as others do: `fingerprint` is that of the only one it
/// has.
pub fn by_paramiko(log: &str, user: &str, fingerprint: &str) -> Vec<Attempt> {
    let lines =
        log.lines().filter_map(|line| line.split_once("paramiko.transport: Authentication (")?.1.split_once(") "));
    lines
        .map(|(method, rest)| {
            let outcome = if rest.starts_with("successful") { "success" } else { "failure" };
            Attempt::new(user, method, outcome, if method == "publickey" { fingerprint } else { "" })
        })
        .collect()
}

/// The log of Net::SSH, which offers its only key before it signs.
pub fn by_net_ssh(log: &str, user: &str, fingerprint: &str) -> Vec<Attempt> {
    let mut recorded = Vec::new();
    let mut offered = false;
    for line in log.lines().filter(|line| line.contains("net.ssh.authentication.")) {
        let said = line.split_once("]: ").map_or("", |(_, said)| said);
        let words: Vec<&str> = said.split(' ').collect();
        match words.as_slice() {
            ["trying", "publickey", _] => offered = true,
            ["publickey", "succeeded", ..] => {
                offered = false;
                recorded.extend([fingerprint; 2].map(|key| Attempt::new(user, "publickey", "success", key)));
            }
            ["all", "authorization", "methods", "failed", ..] if offered => {
                recorded.push(Attempt::new(user, "publickey", "failure", fingerprint));
            }
            [method @ ("none" | "password"), "failed"] => {
                recorded.push(Attempt::new(user, method, "failure", ""));
            }
            [method @ ("none" | "password"), "succeeded"] => {
                recorded.push(Attempt::new(user, method, "success", ""));
            }
            _ => {}
        }
    }
    recorded
}
