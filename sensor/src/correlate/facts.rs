//! What the machine of SSH finds out, lent to the machine of deploys: views that hold nothing.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    event::ids::{ConnectionId, ProcessId},
    finding::{CommandId, DeployId, Process, Role, SessionId, SshConnectionId, ssh::CommandKind},
};

/// One end of an SSH connection.
#[derive(Clone, Copy)]
pub(super) struct ConnectionView<'a> {
    pub(super) id: ConnectionId,
    pub(super) role: Option<Role>,
    /// The process at this end, where it is known.
    pub(super) process: Option<ProcessId>,
    /// (local, remote)
    pub(super) endpoints: Option<(SocketAddr, SocketAddr)>,
    pub(super) connection_id: Option<&'a SshConnectionId>,
    pub(super) session_id: Option<&'a SessionId>,
    /// The other end's software, as it identified itself.
    pub(super) peer_software: &'a [u8],
    /// The SSH user.
    pub(super) user: Option<&'a Arc<str>>,
    pub(super) authenticated: bool,
    pub(super) decrypted: bool,
    /// The integrity of its last packet is not confirmed yet.
    pub(super) unconfirmed: bool,
}

impl ConnectionView<'_> {
    /// The server's address, seen from either end.
    pub(super) fn host(&self) -> Option<String> {
        let (local, remote) = self.endpoints?;
        Some(if self.role == Some(Role::Server) { local.ip() } else { remote.ip() }.to_canonical().to_string())
    }
}

/// A command of a connection.
#[derive(Clone, Copy)]
pub(super) struct CommandView<'a> {
    pub(super) id: &'a CommandId,
    pub(super) kind: CommandKind,
    pub(super) line: Option<&'a [u8]>,
    pub(super) redacted: bool,
    /// When it was asked for (boot ns).
    pub(super) time: u64,
    /// The first process that it became, in the server role.
    pub(super) process: Option<&'a Process>,
}

/// A connection that was never made.
#[derive(Clone, Copy)]
pub(super) struct Unreachable<'a> {
    pub(super) process: ProcessId,
    /// The process runs OpenSSH's ssh.
    pub(super) by_ssh: bool,
    pub(super) deploy: &'a DeployId,
    pub(super) remote: SocketAddr,
    pub(super) why: &'a str,
}
