//! Why a question has no answer. Plain data, below questions, answers and the processes that exchange them.
//!
//! What enters: an error of the file system, a refusal of the broker, a deadline. What leaves: one value for each.

use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Why nothing is known. Never to be read as "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unknown {
    /// No answer in time: a slow file system, a stopped process, a flood of questions of the same user.
    Deadline,
    /// The process has ended, or its number is another's.
    Gone,
    Refused(Why),
    /// More bytes, entries or depth than a question may read; or more than a message holds.
    Budget,
    /// The worker ended before its answer, or answered what cannot be decoded.
    Crashed,
    /// The worker did not get the user's rights, or the user is not known.
    Identity,
}

/// Who refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Why {
    /// The file system: these rights do not suffice.
    Permission,
    /// Not a regular file, or not the kind of file that was expected.
    Kind,
    /// Nothing is there.
    Absent,
    /// The broker: this user's questions missed their deadline again and again.
    Penalty,
    /// The broker: too many questions wait, of this user or in all.
    Queue,
    /// Another error of the operating system, by its number.
    System(i32),
}

impl From<Errno> for Unknown {
    fn from(error: Errno) -> Self {
        match error {
            Errno::ACCESS | Errno::PERM => Self::Refused(Why::Permission),
            Errno::NOENT | Errno::NOTDIR => Self::Refused(Why::Absent),
            Errno::SRCH => Self::Gone,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::LOOP | Errno::NAMETOOLONG => Self::Budget,
            other => Self::Refused(Why::System(other.raw_os_error())),
        }
    }
}

impl From<io::Error> for Unknown {
    fn from(error: io::Error) -> Self {
        match (Errno::from_io_error(&error), error.kind()) {
            (Some(errno), _) => errno.into(),
            // As `Beneath` says it.
            (None, io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory) => Self::Refused(Why::Kind),
            (None, io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded) => Self::Budget,
            (None, _) => Self::Refused(Why::System(0)),
        }
    }
}
