//! Questions of the tests, as data: what a worker can do and cannot, and how it ends. Built for tests only.

use serde::{Deserialize, Serialize};

use super::needs::Needs;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Trial {
    /// All of a file beneath the root.
    Read(String),
    /// The same, opened without a look at what it is, as no question may do.
    ReadBlindly(String),
    Sleep {
        milliseconds: u64,
    },
    /// Takes memory without end.
    Bomb,
    Spin,
    Panic,
    /// Answers what cannot be decoded.
    Garbage,
    /// An answer of so many bytes.
    Size(usize),
    /// What was handed over for reading: content, environ, cmdline, maps, or a mapped file at this range.
    Content,
    Environ,
    Cmdline,
    Mapped(u64, u64),
    /// Its own status(5), and what it may still ask of the kernel.
    Status,
    /// In this folder, which is the user's, with the user's file `own`.
    Forbidden(String),
    /// A descriptor of a file comes with the answer.
    Descriptor(String),
    /// One for reading, which a worker may not send.
    ReadDescriptor(String),
}

impl Trial {
    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Content => Needs { content: true, ..Needs::default() },
            Self::Environ => Needs { environ: true, ..Needs::default() },
            Self::Cmdline => Needs { cmdline: true, ..Needs::default() },
            Self::Mapped(start, end) => Needs { mapped: vec![(*start, *end)], ..Needs::default() },
            _ => Needs::default(),
        }
    }
}
