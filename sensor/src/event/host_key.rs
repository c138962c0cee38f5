//! What the files that a client goes by say of its server's host key: what was found, not yet what it means.

use serde::{Deserialize, Serialize};

use super::ids::ConnectionId;

/// Emitted once for each host key that a client of this host was shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownHosts {
    pub connection: ConnectionId,
    /// Entries that say something of this key or of this server.
    pub entries: Vec<Entry>,
    pub extent: Extent,
    /// What the client does with a key that it does not know, as its arguments and configuration say.
    pub checking: Option<Checking>,
}

/// How much of what the client would go by was read. The first two are what recordings have as false and true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// Not all of it: a file that may not be read, or settings that are not followed (`Match`, KnownHostsCommand).
    #[default]
    Part,
    /// All of it, and understood.
    Whole,
    /// None: no answer in time.
    Deadline,
    /// None: the client was gone.
    Gone,
    /// None: too many questions were under way.
    Busy,
    /// None for another reason.
    Unreadable,
}

/// One entry of a file in the format of known_hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub marker: Marker,
    /// It holds the server's key, or the key of the authority that signed it. Else it holds another key of the same
    /// type.
    pub same_key: bool,
    /// A name or address of this server is in it, as far as they are known.
    pub named: bool,
    /// At the end of a file that was written when the key had been seen: by this very client, for all that is known.
    pub late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Marker {
    None,
    /// `@cert-authority`
    Authority,
    /// `@revoked`
    Revoked,
}

/// OpenSSH's StrictHostKeyChecking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checking {
    Strict,
    Ask,
    AcceptNew,
    Off,
}
