//! Names of processes, connections, sessions, commands and deploys, each a type of its own.
//!
//! In: text that `correlate` derived (hashes, counters), or that a record of the log holds. Out: values that the
//! compiler does not mix up. A clone is a reference count: one process names itself in thousands of findings.

use std::{fmt, ops::Deref, sync::Arc};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

id! {
    /// A process for as long as the machine runs: a hash of boot id, tgid and start in USER_HZ ticks. The same from a
    /// probe, from /proc and after a restart of the sensor.
    EntityId
}
id! {
    /// An SSH connection, the same on client and server: a hash of the cookies of the first two KEXINITs.
    SshConnectionId
}
id! {
    /// An SSH session on this host, from the entity id of the process that serves it.
    SessionId
}
id! {
    /// A command of an SSH session: the session's id and a counter.
    CommandId
}
id! {
    /// A deploy on this host, from the identity of the process or session that it began with.
    DeployId
}
id! {
    /// Community ID v1 of a flow.
    CommunityId
}
