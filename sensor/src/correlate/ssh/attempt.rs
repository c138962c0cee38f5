//! Is a connection that was only attempted one of SSH? What fails has no identification to tell it by.
//!
//! It is, if it goes to SSH's own port or to an address and port where SSH was spoken before; if the program is
//! OpenSSH's ssh (by its content); or if the process speaks SSH and all its connections so far were SSH. A web server
//! that also speaks SSH has others: of its failures it is not known.

use std::net::SocketAddr;

use super::machine::Ssh;
use crate::{
    correlate::lineage::{Lineage, Process, session_id},
    event::stream::{Connect, ProcessId},
    finding::{Role, Session, Ssh as SshSubject, Subject},
};

/// RFC 4250, 4.
const PORT: u16 = 22;

impl Ssh {
    /// An outgoing connection has begun with an identification.
    pub(super) fn noted_spoken(&mut self, process: Option<ProcessId>, server: Option<SocketAddr>, lineage: &Lineage) {
        if let Some(process) = process.filter(|id| lineage.process(*id).is_some()) {
            let speaker = self.speakers.get_or_default(process);
            speaker.spoken = speaker.spoken.saturating_add(1);
        }
        if let Some(server) = server {
            self.servers.add(server);
        }
    }

    pub(super) fn is_ssh(&self, process: Option<&Process>, connect: &Connect) -> bool {
        let by_process = |process: &Process| {
            let speaker = self.speakers.get(&process.id).copied().unwrap_or_default();
            process.client || speaker.spoken > 0 && speaker.spoken >= speaker.connected
        };
        connect.remote.port() == PORT || self.servers.contains(&connect.remote) || process.is_some_and(by_process)
    }

    /// The SSH part of an attempt that is in nobody's session: the connection's own id, the application, the session
    /// that the client runs in.
    pub(super) fn describe_attempt(
        subject: &mut Subject,
        connect: &Connect,
        process: Option<&Process>,
        lineage: &Lineage,
    ) {
        let application = process.and_then(|process| process.application.clone());
        if let Some(ssh) = &mut subject.ssh {
            ssh.application = application;
            return;
        }
        let entity = lineage.entity_of(connect.task.id, process);
        let id = session_id(&format!("{entity} {}", connect.socket));
        let parent = process.and_then(|process| process.session).and_then(|key| lineage.session(key));
        let session = Some(Session { id, parent: parent.map(|session| session.id.clone()), adopted: false });
        subject.ssh = Some(SshSubject { role: Some(Role::Client), session, application, ..SshSubject::default() });
    }
}
