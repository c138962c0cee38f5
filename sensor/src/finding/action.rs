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

impl Action {
    /// Is it about an SSH connection or session?
    pub fn is_ssh(self) -> bool {
        matches!(
            self,
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
                | Self::SshSessionEnded
        )
    }

    /// Is it what the sensor says of itself?
    pub fn is_health(self) -> bool {
        matches!(
            self,
            Self::SensorStarted
                | Self::SensorStopped
                | Self::SensorConfigReloaded
                | Self::SensorDegraded
                | Self::SensorEventsLost
                | Self::SensorSuppressed
        )
    }
}
