//! The names of kinds.

macro_rules! actions {
    ($($name:ident),* $(,)?) => {
        /// The name of a kind, without its fields.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action {
            $($name),*
        }

        impl Action {
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

actions!(
    SshConnection,
    SshHostKey,
    SshKeyOffered,
    SshAuthentication,
    SshChannelOpened,
    SshChannelClosed,
    SshForwardRequested,
    SshCommandStarted,
    SshCommandEnded,
    SshProtocolError,
    SshSessionStarted,
    SshSessionEnded,
    ProcessStarted,
    ProcessEnded,
    ConnectionOpened,
    ConnectionClosed,
    ConnectionFailed,
    DeployConfigChanged,
    DeployStarted,
    DeployStep,
    DeployFinished,
    SensorStarted,
    SensorStopped,
    SensorConfigReloaded,
    SensorDegraded,
    SensorEventsLost,
    SensorSuppressed,
);

/// What an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// An SSH connection or session.
    Ssh,
    Process,
    /// A connection of a process.
    Network,
    Deploy,
    /// The sensor itself.
    Health,
}

impl Action {
    pub fn family(self) -> Family {
        match self {
            Self::SshConnection
            | Self::SshHostKey
            | Self::SshKeyOffered
            | Self::SshAuthentication
            | Self::SshChannelOpened
            | Self::SshChannelClosed
            | Self::SshForwardRequested
            | Self::SshCommandStarted
            | Self::SshCommandEnded
            | Self::SshProtocolError
            | Self::SshSessionStarted
            | Self::SshSessionEnded => Family::Ssh,
            Self::ProcessStarted | Self::ProcessEnded => Family::Process,
            Self::ConnectionOpened | Self::ConnectionClosed | Self::ConnectionFailed => Family::Network,
            Self::DeployConfigChanged | Self::DeployStarted | Self::DeployStep | Self::DeployFinished => Family::Deploy,
            Self::SensorStarted
            | Self::SensorStopped
            | Self::SensorConfigReloaded
            | Self::SensorDegraded
            | Self::SensorEventsLost
            | Self::SensorSuppressed => Family::Health,
        }
    }
}
