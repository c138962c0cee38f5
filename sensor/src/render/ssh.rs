//! Lines of the table for findings of the SSH protocol.

use std::fmt::Write as _;

use crate::{
    finding::{
        Capture, Finding, FindingKind, Outcome,
        ssh::{Address, Auth, Channel, Command, Forward, Handshake, HostKey, Key},
    },
    schema::ecs::Words,
};

/// The column WHAT.
pub(super) fn what(finding: &Finding) -> String {
    match &finding.kind {
        FindingKind::SshConnection(shown) => handshake(finding, shown),
        FindingKind::SshHostKey(shown) => host_key(shown),
        FindingKind::SshKeyOffered(request) | FindingKind::SshAuthentication(request) => auth(request),
        FindingKind::SshChannelOpened(shown) | FindingKind::SshChannelClosed(shown) => channel(shown),
        FindingKind::SshForwardRequested(asked) => forward(asked),
        FindingKind::SshCommandStarted(shown) | FindingKind::SshCommandEnded(shown) => command(shown),
        FindingKind::SshProtocolError(failure) => failure.message.clone().unwrap_or_default().into_owned(),
        _ => String::new(),
    }
}

fn handshake(finding: &Finding, shown: &Handshake) -> String {
    let software = |software: &Option<String>| software.clone().unwrap_or_else(|| "?".to_owned());
    let mut text = format!("{} to {}", software(&shown.client), software(&shown.server));
    if let Some(cipher) = shown.cipher.as_ref().and_then(|cipher| cipher.client_to_server.as_ref()) {
        let _ = write!(text, ", {cipher}");
    }
    if let Some(host_key) = &shown.host_key {
        let _ = write!(text, ", host key {}", brief(host_key));
    }
    let capture = finding.subject.ssh.as_ref().and_then(|ssh| ssh.capture);
    if let Some(capture) = capture.filter(|capture| *capture != Capture::Full) {
        let _ = write!(text, " ({} only)", capture.word());
    }
    text
}

fn host_key(shown: &HostKey) -> String {
    let mut text = shown.status.map_or("not known", Words::word).to_owned();
    if let Some(reason) = shown.status_reason {
        let _ = write!(text, " ({})", reason.word());
    }
    let _ = write!(text, ": {}", brief(&shown.key));
    text
}

fn auth(request: &Auth) -> String {
    let mut text = request.method.clone();
    if let Some(offered) = &request.key {
        let _ = write!(text, " {}", brief(offered));
    }
    if let Some(certificate) = &request.certificate {
        let _ = write!(text, " certificate {}", certificate.key_id);
    }
    if request.partial {
        text.push_str(" (another method must follow)");
    }
    text
}

fn channel(shown: &Channel) -> String {
    let mut text = shown.kind.clone();
    if let Some(to) = &shown.destination {
        let _ = write!(text, " to {}", endpoint(to));
    }
    if let Some(path) = &shown.path {
        let _ = write!(text, " to {path}");
    }
    if let Some(from) = &shown.originator {
        let _ = write!(text, " from {}", endpoint(from));
    }
    if let (Some(bytes_in), Some(bytes_out)) = (shown.bytes_in, shown.bytes_out) {
        let _ = write!(text, ", {bytes_in} bytes in, {bytes_out} out");
    }
    if let Some(reason) = &shown.reason {
        let _ = write!(text, ": {reason}");
    }
    text
}

fn forward(asked: &Forward) -> String {
    let mut text = asked.kind.word().to_owned();
    if let (Some(address), Some(port)) = (&asked.bind_address, asked.bind_port) {
        let _ = write!(text, " {}", endpoint(&Address { address: address.clone(), port }));
    }
    if let Some(path) = &asked.path {
        let _ = write!(text, " {path}");
    }
    text
}

fn command(shown: &Command) -> String {
    let kind = shown.kind.word();
    let pty = if shown.pty { " (pty)" } else { "" };
    match &shown.line {
        Some(line) => format!("{kind}{pty}: {line}"),
        None => format!("{kind}{pty}"),
    }
}

/// The column RESULT; None: as for other findings.
pub(super) fn result(finding: &Finding) -> Option<String> {
    let by_outcome = match finding.outcome {
        Outcome::Success => "ok",
        Outcome::Failure => "failed",
        Outcome::Unknown => "no answer",
    };
    Some(match (&finding.kind, finding.outcome) {
        (FindingKind::SshCommandEnded(command), _) => match (&command.exit_signal, command.exit_status) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, Some(0)) => "ok".into(),
            (None, Some(status)) => format!("exit {status}"),
            (None, None) => "no status".into(),
        },
        (FindingKind::SshKeyOffered(_) | FindingKind::SshHostKey(_), Outcome::Failure) => "not accepted".into(),
        (FindingKind::SshHostKey(_), Outcome::Unknown) => String::new(),
        (FindingKind::SshChannelOpened(_), Outcome::Failure) => "refused".into(),
        (
            FindingKind::SshConnection(_)
            | FindingKind::SshHostKey(_)
            | FindingKind::SshKeyOffered(_)
            | FindingKind::SshAuthentication(_)
            | FindingKind::SshChannelOpened(_)
            | FindingKind::SshForwardRequested(_)
            | FindingKind::SshCommandStarted(_),
            _,
        ) => by_outcome.into(),
        (FindingKind::SshProtocolError(failure), _) => failure.code.clone().unwrap_or_default().into_owned(),
        _ => return None,
    })
}

fn brief(key: &Key) -> String {
    let kind = key.kind.strip_prefix("ssh-").unwrap_or(&key.kind);
    format!("{kind} {}", key.fingerprint.as_deref().unwrap_or("(cut)"))
}

fn endpoint(end: &Address) -> String {
    if end.address.contains(':') {
        format!("[{}]:{}", end.address, end.port)
    } else {
        format!("{}:{}", end.address, end.port)
    }
}
