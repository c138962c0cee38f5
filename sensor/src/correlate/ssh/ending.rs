//! How a client's connection ended that was no session, or a key exchange that did not: where in the protocol, and why.
//!
//! What is known of it comes from the packets (RFC 4253, 7 to 9): which of the identifications, KEXINITs, host key and
//! NEWKEYS were seen, and in which direction. Nothing is said where packets of the key exchange were missed.

use super::{connection::SshConnection, machine::Ssh};
use crate::{
    correlate::lineage::Lineage,
    decode::ssh::fingerprint::{authenticates, negotiate},
    finding::{ConnectionClosed, Failure, Finding, FindingKind, Flow, Outcome, Role},
};

impl SshConnection {
    /// Keys of both sides, as far as it can be known.
    pub(super) fn has_keys(&self) -> bool {
        let both = self.new_keys.incoming && self.new_keys.outgoing;
        self.decrypted || self.keyed.is_some() && (both || self.clear_lost.is_some())
    }

    /// Why there are no keys.
    pub(super) fn no_keys(&self) -> Failure {
        use crate::event::ssh::ClearLoss::{Gap, Limit, Malformed};
        let error = |code: &'static str, message: &str| Failure {
            code: Some(code.into()),
            message: Some(message.to_owned().into()),
        };
        match self.clear_lost {
            Some(Gap) => {
                return Failure { code: None, message: Some("packets of the key exchange were not seen".into()) };
            }
            Some(Limit) => {
                return Failure {
                    code: None,
                    message: Some("the key exchange is longer than what is read of it".into()),
                };
            }
            Some(Malformed) => return error("malformed", "the key exchange is not SSH as RFC 4253 has it"),
            None => {}
        }
        let mine = self.new_keys.outgoing;
        match (&self.kexinit.incoming, &self.kexinit.outgoing) {
            (Some(_), Some(_)) => {
                if let Some(what) = self.nothing_in_common() {
                    let message = format!("client and server have no {what} in common");
                    error("no_common_algorithm", &message)
                } else if self.host_key.is_some() && self.role == Some(Role::Client) && !mine {
                    error("host_key_not_accepted", "the client left when it had seen the server's host key")
                } else {
                    error("eof_during_key_exchange", "the connection ended before the key exchange did")
                }
            }
            _ if self.software.incoming.is_none() || self.software.outgoing.is_none() => {
                error("eof_during_identification", "the connection ended before both sides had identified themselves")
            }
            _ => error("eof_during_negotiation", "the connection ended before the algorithms were agreed on"),
        }
    }

    fn nothing_in_common(&self) -> Option<&'static str> {
        let (Some(client), Some(server)) = self.kexinit.by_role(self.role.unwrap_or(Role::Client)) else { return None };
        let agreed = negotiate(client, server);
        let has_mac = |cipher: &Option<String>, mac: &Option<String>| {
            mac.is_some() || cipher.as_deref().is_none_or(authenticates)
        };
        if agreed.kex.is_none() {
            Some("key exchange method")
        } else if agreed.host_key.is_none() {
            Some("host key type")
        } else if agreed.cipher_client.is_none() || agreed.cipher_server.is_none() {
            Some("cipher")
        } else if !has_mac(&agreed.cipher_client, &agreed.mac_client)
            || !has_mac(&agreed.cipher_server, &agreed.mac_server)
        {
            Some("MAC")
        } else if agreed.compression_client.is_none() || agreed.compression_server.is_none() {
            Some("compression")
        } else {
            None
        }
    }
}

impl Ssh {
    /// `connection-closed` of a client's connection on which no session began, or of which that is not known.
    pub(super) fn client_left(
        &self,
        time: u64,
        conn: &SshConnection,
        bytes: Option<(u64, u64)>,
        lineage: &Lineage,
    ) -> Finding {
        let (outcome, failure) = if !conn.has_keys() {
            (Outcome::Failure, Some(conn.no_keys()))
        } else if !conn.is_read() && (conn.encrypted.outgoing || conn.clear_lost.is_some()) {
            (Outcome::Unknown, None)
        } else {
            (Outcome::Failure, Some(before_login(conn)))
        };
        let closed = ConnectionClosed { failure, disconnect: conn.disconnect.clone().map(Box::new), tried_user: None };
        let mut finding = self.finding(time, outcome, FindingKind::ConnectionClosed(closed), conn, lineage);
        finding.duration = Some(time.saturating_sub(conn.began));
        if let Some((bytes_in, bytes_out)) = bytes {
            let flow = finding.subject.flow.get_or_insert_with(Flow::default);
            if let Some(source) = &mut flow.source {
                source.bytes = Some(bytes_out);
            }
            flow.destination.bytes = Some(bytes_in);
        }
        finding
    }
}

/// With keys, and without a login.
fn before_login(conn: &SshConnection) -> Failure {
    let (code, message) = match conn.failed.as_slice() {
        [] if conn.user.is_none() => (
            "host_key_not_accepted",
            "the client left after the key exchange, before it had asked for authentication".to_owned(),
        ),
        [] => ("eof_during_authentication", "the connection ended during authentication".to_owned()),
        methods => ("authentication_failed", format!("nobody was logged in; failed: {}", methods.join(", "))),
    };
    Failure { code: Some(code.into()), message: Some(message.into()) }
}
