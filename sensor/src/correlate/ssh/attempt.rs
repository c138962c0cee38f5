//! Is a connection that was only attempted one of SSH? What fails has no identification to tell it by.
//!
//! It is, if it goes to SSH's own port or to an address and port where SSH was spoken before; if the program is
//! OpenSSH's ssh; or if the process speaks SSH and all its connections so far were SSH. A web server that also speaks
//! SSH has others: of its failures it is not known.

use std::{net::SocketAddr, sync::Arc};

use super::Correlate;
use crate::{
    bounded::Bounded,
    correlate::processes::Process,
    event::{
        record::{Id, Record, Ssh, SshSession},
        stream::{Connect, ProcessId},
    },
};

/// RFC 4250, 4.
const PORT: u16 = 22;
const SERVERS_MAX: usize = 4096;
/// Where distributions put ssh.
const CLIENTS: &[&str] = &["/usr/bin/ssh", "/bin/ssh", "/usr/local/bin/ssh"];

/// Where SSH was spoken; the oldest goes.
pub(in crate::correlate) struct Servers {
    known: Bounded<SocketAddr, ()>,
}

impl Default for Servers {
    fn default() -> Self {
        Self { known: Bounded::new(SERVERS_MAX) }
    }
}

impl Servers {
    fn add(&mut self, server: SocketAddr) {
        self.known.insert(server, ());
    }
}

impl Correlate {
    /// An outgoing connection has begun with an identification.
    pub(super) fn spoke(&mut self, process: Option<ProcessId>, server: Option<SocketAddr>) {
        if let Some(process) = process.and_then(|id| self.processes.get_mut(id)) {
            process.spoken = process.spoken.saturating_add(1);
        }
        if let Some(server) = server {
            self.servers.add(server);
        }
    }

    pub(in crate::correlate) fn is_ssh(&self, process: Option<&Process>, connect: &Connect) -> bool {
        let by_process = |process: &Process| {
            let is_client = process.executable.as_deref().is_some_and(|path| CLIENTS.contains(&path));
            is_client || process.spoken > 0 && process.spoken >= process.connected
        };
        connect.remote.port() == PORT
            || self.servers.known.contains_key(&connect.remote)
            || process.is_some_and(by_process)
    }

    /// The SSH part of an attempt that is in nobody's session: the connection's own id, the application, the session
    /// that the client runs in.
    pub(in crate::correlate) fn describe_attempt(
        &self,
        record: &mut Record,
        connect: &Connect,
        process: Option<&Process>,
    ) {
        let application = process.and_then(|process| process.application.clone());
        if let Some(ssh) = &mut record.ssh {
            ssh.application = application;
            return;
        }
        let entity = self.processes.entity_of(connect.task.id, process);
        let id: Arc<str> = super::session_id(&format!("{entity} {}", connect.socket));
        let parent = process.and_then(|process| process.session).and_then(|key| self.sessions.get(key));
        let parent = parent.map(|session| Id { id: session.id.clone() });
        let session = SshSession { id, parent, ..SshSession::default() };
        record.ssh = Some(Ssh { role: Some("client"), session, application, ..Ssh::default() });
    }
}
