//! What was found: a kind with its own fields for each action.

use std::sync::Arc;

use super::{
    action::Action,
    deploy::{ConfigChange, DeployFinished, DeployStarted, DeployStep},
    health::{Degraded, Lost, Probe, SensorStopped, Suppressed},
    ssh::{Auth, Channel, Command, Disconnect, Failure, Forward, Handshake, HostKey, SessionEnded},
    subject::Exit,
};

/// Large ones are boxed: most findings are about processes, and each is moved a few times.
#[derive(Clone, Debug, PartialEq)]
pub enum FindingKind {
    /// Identifications and algorithms of an SSH connection.
    SshConnection(Box<Handshake>),
    /// A server showed its key; the outcome says whether the client continued.
    SshHostKey(Box<HostKey>),
    /// A key without a signature: would it do?
    SshKeyOffered(Box<Auth>),
    /// One attempt that was answered, or given up.
    SshAuthentication(Box<Auth>),
    SshChannelOpened(Box<Channel>),
    SshChannelClosed(Box<Channel>),
    SshForwardRequested(Box<Forward>),
    SshCommandStarted(Box<Command>),
    SshCommandEnded(Box<Command>),
    SshProtocolError(Failure),
    /// With the request by which it began, where it was read.
    SshSessionStarted(Option<Box<Auth>>),
    SshSessionEnded(Box<SessionEnded>),
    /// A program was executed; all there is to say is in the subject.
    ProcessStarted,
    ProcessEnded(Exit),
    ConnectionOpened,
    ConnectionClosed(ConnectionClosed),
    ConnectionFailed(Failure),
    DeployConfigChanged(Box<ConfigChange>),
    DeployStarted(Box<DeployStarted>),
    DeployStep(Box<DeployStep>),
    DeployFinished(Box<DeployFinished>),
    SensorStarted(Vec<Probe>),
    SensorStopped(Box<SensorStopped>),
    SensorConfigReloaded,
    SensorDegraded(Box<Degraded>),
    SensorEventsLost(Box<Lost>),
    SensorSuppressed(Box<Suppressed>),
}

/// The end of a connection that a process made, or of one to an SSH server on which nobody logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionClosed {
    pub failure: Option<Failure>,
    pub disconnect: Option<Box<Disconnect>>,
    /// The user that a client asked to log in as, where the flow does not name one: a search finds the record by it.
    pub tried_user: Option<Arc<str>>,
}

impl FindingKind {
    pub fn action(&self) -> Action {
        match self {
            Self::SshConnection { .. } => Action::SshConnection,
            Self::SshHostKey { .. } => Action::SshHostKey,
            Self::SshKeyOffered { .. } => Action::SshKeyOffered,
            Self::SshAuthentication { .. } => Action::SshAuthentication,
            Self::SshChannelOpened { .. } => Action::SshChannelOpened,
            Self::SshChannelClosed { .. } => Action::SshChannelClosed,
            Self::SshForwardRequested { .. } => Action::SshForwardRequested,
            Self::SshCommandStarted { .. } => Action::SshCommandStarted,
            Self::SshCommandEnded { .. } => Action::SshCommandEnded,
            Self::SshProtocolError { .. } => Action::SshProtocolError,
            Self::SshSessionStarted { .. } => Action::SshSessionStarted,
            Self::SshSessionEnded { .. } => Action::SshSessionEnded,
            Self::ProcessStarted { .. } => Action::ProcessStarted,
            Self::ProcessEnded { .. } => Action::ProcessEnded,
            Self::ConnectionOpened { .. } => Action::ConnectionOpened,
            Self::ConnectionClosed { .. } => Action::ConnectionClosed,
            Self::ConnectionFailed { .. } => Action::ConnectionFailed,
            Self::DeployConfigChanged { .. } => Action::DeployConfigChanged,
            Self::DeployStarted { .. } => Action::DeployStarted,
            Self::DeployStep { .. } => Action::DeployStep,
            Self::DeployFinished { .. } => Action::DeployFinished,
            Self::SensorStarted { .. } => Action::SensorStarted,
            Self::SensorStopped { .. } => Action::SensorStopped,
            Self::SensorConfigReloaded { .. } => Action::SensorConfigReloaded,
            Self::SensorDegraded { .. } => Action::SensorDegraded,
            Self::SensorEventsLost { .. } => Action::SensorEventsLost,
            Self::SensorSuppressed { .. } => Action::SensorSuppressed,
        }
    }
}
