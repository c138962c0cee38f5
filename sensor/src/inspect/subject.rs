//! Whom a question is about, and what comes back. Plain data; nothing here does I/O.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::{questions::Answer, surveys::SurveyItem};
use crate::event::stream::{Credentials, ProcessId};

/// The process that a question is about, with what the kernel said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub process: ProcessId,
    /// As the kernel's event had them. The *real* ids decide what is read: an effective uid of 0 in a set-user-ID
    /// program is not its caller's right. Without them /proc/PID/status counts, while the process is there.
    pub credentials: Option<Credentials>,
    /// A process that stands in for the subject has to be in this mount namespace.
    pub mnt_ns: Option<u32>,
    /// Processes whose root directory is used when the subject has ended: its parent; init for the host's own mount
    /// namespace. A start of 0 is not compared.
    pub fallback: Vec<ProcessId>,
}

/// One accepted question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// What comes back for a ticket: exactly one of a question, any number with an `End` as the last of a survey.
#[derive(Debug)]
pub struct Reply {
    pub ticket: Ticket,
    pub answer: Result<Said, Unknown>,
    /// Those that the answer speaks of, in its order: O_PATH, of whatever kind the worker chose (`file::stat`).
    pub descriptors: Vec<OwnedFd>,
}

/// What a reply carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Answer(Answer),
    /// Of a survey: one of many.
    Item(Box<SurveyItem>),
    /// The last reply of a survey. These processes could not be looked at in time.
    End {
        skipped: Vec<u32>,
    },
}

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

/// A question that was not accepted: there is no ticket and no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the inspector's broker does not run")]
    Down,
    #[error("too many questions are under way")]
    Busy,
    #[error("the question is larger than a message")]
    Size,
}

impl From<rustix::io::Errno> for Unknown {
    fn from(error: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match error {
            Errno::ACCESS | Errno::PERM => Self::Refused(Why::Permission),
            Errno::NOENT | Errno::NOTDIR => Self::Refused(Why::Absent),
            Errno::SRCH => Self::Gone,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::LOOP | Errno::NAMETOOLONG => Self::Budget,
            other => Self::Refused(Why::System(other.raw_os_error())),
        }
    }
}
