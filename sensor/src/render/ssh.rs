//! Lines of the table for records of the SSH protocol.

use std::fmt::Write as _;

use crate::event::record::{Action, Address, HostKey, KeyFields, Outcome, Record};

/// The column WHAT.
pub(super) fn what(record: &Record) -> String {
    let Some(ssh) = &record.ssh else { return String::new() };
    let Some(protocol) = ssh.protocol.as_deref() else { return command(record) };
    let mut text = String::new();
    match record.action {
        Action::SshConnection => {
            let software = |software: &Option<crate::event::record::Software>| {
                software.as_ref().map_or_else(|| "?".to_owned(), |software| software.software.clone())
            };
            let _ = write!(text, "{} to {}", software(&protocol.client), software(&protocol.server));
            if let Some(cipher) = protocol.cipher.as_ref().and_then(|cipher| cipher.client_to_server.as_ref()) {
                let _ = write!(text, ", {cipher}");
            }
            if let Some(host_key) = &protocol.host_key {
                let _ = write!(text, ", host key {}", host_key_of(host_key));
            }
            if ssh.capture != "full" {
                let _ = write!(text, " ({} only)", ssh.capture);
            }
        }
        Action::SshHostKey => {
            if let Some(host_key) = &protocol.host_key {
                text.push_str(host_key.status.unwrap_or("not known"));
                if let Some(reason) = host_key.status_reason {
                    let _ = write!(text, " ({reason})");
                }
                let _ = write!(text, ": {}", host_key_of(host_key));
            }
        }
        Action::SshKeyOffered | Action::SshAuthentication => {
            if let Some(auth) = &protocol.auth {
                text.push_str(auth.method.as_deref().unwrap_or("?"));
                if let Some(offered) = &auth.key {
                    let _ = write!(text, " {}", key(offered));
                }
                if let Some(certificate) = &auth.certificate {
                    let _ = write!(text, " certificate {}", certificate.key_id);
                }
                if auth.partial == Some(true) {
                    text.push_str(" (another method must follow)");
                }
            }
        }
        Action::SshChannelOpened | Action::SshChannelClosed => {
            if let Some(channel) = &protocol.channel {
                text.push_str(&channel.kind);
                if let Some(to) = &channel.destination {
                    let _ = write!(text, " to {}", endpoint(to));
                }
                if let Some(path) = &channel.path {
                    let _ = write!(text, " to {path}");
                }
                if let Some(from) = &channel.originator {
                    let _ = write!(text, " from {}", endpoint(from));
                }
                if let (Some(bytes_in), Some(bytes_out)) = (channel.bytes_in, channel.bytes_out) {
                    let _ = write!(text, ", {bytes_in} bytes in, {bytes_out} out");
                }
                if let Some(reason) = &channel.reason {
                    let _ = write!(text, ": {reason}");
                }
            }
        }
        Action::SshForwardRequested => {
            if let Some(forward) = &protocol.forward {
                text.push_str(&forward.kind);
                if let (Some(address), Some(port)) = (&forward.bind_address, forward.bind_port) {
                    let _ = write!(text, " {}", endpoint(&Address { address: address.clone(), port }));
                }
                if let Some(path) = &forward.path {
                    let _ = write!(text, " {path}");
                }
            }
        }
        _ => return command(record),
    }
    text
}

fn command(record: &Record) -> String {
    if let (Action::SshProtocolError, Some(error)) = (record.action, &record.error) {
        return error.message.clone().unwrap_or_default();
    }
    let Some(command) = record.ssh.as_ref().and_then(|ssh| ssh.command.as_ref()) else { return String::new() };
    let kind = command.kind.unwrap_or_default();
    let pty = if command.pty == Some(true) { " (pty)" } else { "" };
    match &command.line {
        Some(line) => format!("{kind}{pty}: {line}"),
        None => format!("{kind}{pty}"),
    }
}

/// The column RESULT; None: as for other records.
pub(super) fn result(record: &Record) -> Option<String> {
    let by_outcome = || match record.outcome {
        Outcome::Success => "ok",
        Outcome::Failure => "failed",
        Outcome::Unknown => "no answer",
    };
    Some(match record.action {
        Action::SshCommandEnded => {
            let command = record.ssh.as_ref().and_then(|ssh| ssh.command.as_ref())?;
            match (&command.exit_signal, command.exit_status) {
                (Some(signal), _) => format!("signal {signal}"),
                (None, Some(0)) => "ok".into(),
                (None, Some(status)) => format!("exit {status}"),
                (None, None) => "no status".into(),
            }
        }
        Action::SshKeyOffered | Action::SshHostKey if record.outcome == Outcome::Failure => "not accepted".into(),
        Action::SshHostKey if record.outcome == Outcome::Unknown => String::new(),
        Action::SshChannelOpened if record.outcome == Outcome::Failure => "refused".into(),
        Action::SshConnection
        | Action::SshHostKey
        | Action::SshKeyOffered
        | Action::SshAuthentication
        | Action::SshChannelOpened
        | Action::SshForwardRequested
        | Action::SshCommandStarted => by_outcome().into(),
        Action::SshProtocolError => record.error.as_ref().and_then(|error| error.code.clone()).unwrap_or_default(),
        _ => return None,
    })
}

fn key(key: &KeyFields) -> String {
    brief(&key.kind, key.fingerprint.as_deref())
}

fn host_key_of(key: &HostKey) -> String {
    brief(&key.kind, key.fingerprint.as_deref())
}

fn brief(kind: &str, fingerprint: Option<&str>) -> String {
    format!("{} {}", kind.strip_prefix("ssh-").unwrap_or(kind), fingerprint.unwrap_or("(cut)"))
}

fn endpoint(end: &Address) -> String {
    if end.address.contains(':') {
        format!("[{}]:{}", end.address, end.port)
    } else {
        format!("{}:{}", end.address, end.port)
    }
}
