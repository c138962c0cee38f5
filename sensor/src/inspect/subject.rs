//! The process that a question is about, and what comes back. Plain data; nothing here does I/O.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::{answer::Answer, surveys::SurveyItem, unknown::Unknown};
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
