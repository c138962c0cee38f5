//! `related.*`: what a search should find a record by. It is said again, so a finding does not hold it.

use std::net::IpAddr;

use super::{fields::Related, list::Texts, value::Text};
use crate::finding::{Finding, FindingKind, Protocol, ssh::Key};

/// Of SSH and of configuration files; a connection of a process is found by its own fields.
pub(super) fn related(finding: &Finding) -> Option<Related<'_>> {
    let flow = finding.subject.flow.as_ref();
    let is_ssh = match &finding.kind {
        FindingKind::SshConnection(_)
        | FindingKind::SshHostKey(_)
        | FindingKind::SshKeyOffered(_)
        | FindingKind::SshAuthentication(_)
        | FindingKind::SshChannelOpened(_)
        | FindingKind::SshChannelClosed(_)
        | FindingKind::SshForwardRequested(_)
        | FindingKind::SshCommandStarted(_)
        | FindingKind::SshCommandEnded(_)
        | FindingKind::SshProtocolError(_)
        | FindingKind::SshSessionStarted(_)
        | FindingKind::SshSessionEnded(_)
        | FindingKind::DeployStep(_) => true,
        // One without a socket runs through another SSH connection.
        FindingKind::ConnectionClosed(_) => {
            flow.is_some_and(|flow| flow.network.as_ref().is_none_or(|network| network.protocol == Some(Protocol::Ssh)))
        }
        _ => false,
    };
    let flow = flow.filter(|_| is_ssh);
    let mut ip: Vec<IpAddr> = Vec::new();
    if let Some(source) = flow.and_then(|flow| flow.source.as_ref()) {
        ip.push(source.ip);
        ip.extend(flow.and_then(|flow| flow.destination.ip).filter(|to| *to != source.ip));
    }
    let login = flow.and_then(|flow| flow.destination.login.as_ref()).and_then(|login| login.name.as_ref());
    let login = login.or(match &finding.kind {
        FindingKind::ConnectionClosed(closed) => closed.tried_user.as_ref(),
        _ => None,
    });
    let hash = hashes(&finding.kind);
    let related = Related {
        ip: (!ip.is_empty()).then_some(ip),
        user: login.map(|name| Texts::Own(vec![name.into()])),
        hash: (!hash.is_empty()).then_some(Texts::Own(hash)),
    };
    let any = related.ip.is_some() || related.user.is_some() || related.hash.is_some();
    (any || flow.is_some()).then_some(related)
}

fn hashes<'a>(kind: &'a FindingKind) -> Vec<Text<'a>> {
    let fingerprint = |key: Option<&'a Key>| key.and_then(|key| key.fingerprint.as_ref());
    let found = match kind {
        FindingKind::SshConnection(handshake) => {
            let key = fingerprint(handshake.host_key.as_ref());
            [handshake.hassh.as_ref(), handshake.hassh_server.as_ref(), key]
        }
        FindingKind::SshHostKey(shown) => [fingerprint(Some(&shown.key)), None, None],
        FindingKind::SshKeyOffered(auth)
        | FindingKind::SshAuthentication(auth)
        | FindingKind::SshSessionStarted(Some(auth)) => [fingerprint(auth.key.as_ref()), None, None],
        FindingKind::SshSessionEnded(ended) => {
            [fingerprint(ended.login.as_ref().and_then(|login| login.key.as_ref())), None, None]
        }
        FindingKind::DeployConfigChanged(change) => {
            let public = change.now.filter(|now| !now.secret);
            return public.map(|now| Text(hex::encode(now.sha256).into())).into_iter().collect();
        }
        _ => return Vec::new(),
    };
    found.into_iter().flatten().map(Text::from).collect()
}
