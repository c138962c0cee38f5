//! What lineage finds out about sessions, for the machine of SSH.

use super::sessions::SessionKey;
use crate::event::stream::ProcessId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::correlate) enum LineageFact {
    /// A process of the session acted, so what its connection said before was true.
    Acted { session: SessionKey },
    /// Lineage shows that somebody has logged in, at `since` (boot ns).
    LoggedIn { session: SessionKey, since: u64 },
    /// Somebody has logged in, and who it is can be seen now.
    Named { session: SessionKey },
    /// The server started a command, and this is its first process.
    CommandRan { session: SessionKey, process: ProcessId },
    /// The session's connection is over; it is in the tables until this is handled. Bytes of payload, in and out, where
    /// the socket has them.
    Closed { session: SessionKey, at: u64, bytes: Option<(u64, u64)> },
    /// The session has left the tables, also the one of those that were over last.
    Forgotten { session: SessionKey },
}
