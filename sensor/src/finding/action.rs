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
