//! Authentication (RFC 4252, 4256): one record for each attempt that was answered, one for each key that was only
//! offered.

use super::{
    connection::{Attempt, SshConnection},
    findings::auth,
    machine::Ssh,
};
use crate::{
    correlate::outlet::Outlet,
    event::{
        ssh::{Message, Packet},
        text::escape,
    },
    finding::{FindingKind, Outcome, Quality, Role},
};

/// RFC 4252 and its companions know six methods.
const FAILED_MAX: usize = 8;

impl Ssh {
    pub(super) fn auth(&mut self, time: u64, conn: &mut SshConnection, packet: &Packet, out: &mut Outlet<'_>) {
        match &packet.message {
            Message::AuthRequest(request) => {
                // Given up for another method, without an answer (RFC 4252, 5.1).
                if let Some(attempt) = conn.attempt.take() {
                    self.attempted(time, conn, &attempt, Outcome::Unknown, false, out);
                }
                conn.user = Some(escape(&request.user).0.into());
                conn.attempt = Some(Attempt { request: (**request).clone(), time });
            }
            Message::AuthAsk => {
                // An offered key would do. Any other method goes on with questions.
                if let Some(attempt) = conn.attempt.take_if(|attempt| attempt.is_offer()) {
                    self.attempted(time, conn, &attempt, Outcome::Success, false, out);
                }
            }
            Message::AuthFailure { partial, .. } => {
                if let Some(attempt) = conn.attempt.take() {
                    let outcome = if *partial { Outcome::Success } else { Outcome::Failure };
                    self.attempted(time, conn, &attempt, outcome, *partial, out);
                }
            }
            Message::AuthSuccess => {
                if let Some(attempt) = conn.attempt.take() {
                    self.attempted(time, conn, &attempt, Outcome::Success, false, out);
                    conn.login = Some(attempt.request);
                }
                conn.authenticated = true;
                if conn.role == Some(Role::Server) {
                    self.share(conn, out);
                    self.logged_in(time, conn, out);
                }
            }
            _ => {}
        }
    }

    /// The server's session begins now, if lineage has not seen it begin.
    fn logged_in(&mut self, time: u64, conn: &mut SshConnection, out: &mut Outlet<'_>) {
        self.emit_connection(conn, out);
        if let Some((key, _)) = out.lineage().session_of(conn.id) {
            self.logs_in(key, time);
            self.start_session(key, out);
        }
    }

    /// The server ends a connection instead of answering the attempt that was one too many.
    pub(super) fn attempts_exhausted(&mut self, time: u64, conn: &mut SshConnection, out: &mut Outlet<'_>) {
        if let Some(attempt) = conn.attempt.take() {
            self.attempted(time, conn, &attempt, Outcome::Failure, false, out);
        }
    }

    /// The connection ended before an answer came.
    pub(super) fn unanswered(&mut self, time: u64, conn: &mut SshConnection, out: &mut Outlet<'_>) {
        if let Some(attempt) = conn.attempt.take() {
            self.attempted(time, conn, &attempt, Outcome::Unknown, false, out);
        }
    }

    fn attempted(
        &mut self,
        time: u64,
        conn: &mut SshConnection,
        attempt: &Attempt,
        outcome: Outcome,
        partial: bool,
        out: &mut Outlet<'_>,
    ) {
        self.emit_connection(conn, out);
        note_failure(conn, attempt, outcome);
        let mut quality = Quality::default();
        let request = Box::new(auth(&attempt.request, partial, &mut quality));
        let is_offer = attempt.is_offer();
        let kind = if is_offer { FindingKind::SshKeyOffered(request) } else { FindingKind::SshAuthentication(request) };
        let mut finding = self.finding(time, outcome, kind, conn, out.lineage());
        finding.duration = Some(time.saturating_sub(attempt.time));
        finding.quality.add_fields(&quality);
        out.emit(&conn.view(), finding);
    }
}

fn note_failure(conn: &mut SshConnection, attempt: &Attempt, outcome: Outcome) {
    let method = escape(&attempt.request.method).0;
    if outcome == Outcome::Failure
        && method != "none"
        && conn.failed.len() < FAILED_MAX
        && !conn.failed.iter().any(|known| *known == method)
    {
        conn.failed.push(method.into_owned());
    }
}
