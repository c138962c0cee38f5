//! A session of a server on this host, as the protocol has it.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    event::ssh::AuthRequest,
    finding::{Capture, CommandId, SshConnectionId, ssh::Disconnect},
};

/// How far a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// A connection is served; nobody has logged in.
    #[default]
    Connected,
    /// Logged in at this boot time; `ssh-session-started` is not written: who it is shows with the first command.
    Authenticated {
        since: u64,
    },
    /// `ssh-session-started` is written.
    Started,
    Ended,
}

/// What the protocol says of a session.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The SSH user name.
    pub(super) user: Option<Arc<str>>,
    pub(super) connection: Option<SshConnectionId>,
    pub(super) capture: Capture,
    /// How the user logged in.
    pub(super) login: Option<Box<AuthRequest>>,
    pub(super) disconnect: Option<Disconnect>,
    /// Requests to run something; None where they cannot be read.
    pub(super) commands: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    pub(super) phase: Phase,
    /// None: nothing of its connection was read.
    pub(super) facts: Option<Facts>,
    /// Commands that were asked for and whose process is not seen yet.
    pub(super) awaited: VecDeque<CommandId>,
}
