//! What the processes of the inspector say to each other: postcard, one message a datagram, bounded in length, decoded
//! totally.
//!
//! What enters: bytes, hostile where a worker wrote them. What leaves: a value or `Malformed`; never a panic, never an
//! allocation larger than what the bytes can fill. An answer passes through the broker as bytes: only the daemon
//! decodes it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    answer::Answer,
    counters::Children,
    needs::Needs,
    question::Question,
    subject::{Subject, Ticket},
    surveys::{Survey, SurveyItem},
    unknown::Unknown,
};

/// Of one message. Below the kernel's default socket buffer (208 KiB), which an unprivileged sender cannot exceed.
pub const MESSAGE_MAX: usize = 128 << 10;
/// Of what a worker or a survey sends: room for the broker's own words.
pub const ANSWER_MAX: usize = MESSAGE_MAX - 256;
/// Of a question: a list of names or addresses, a path.
pub const QUESTION_MAX: usize = 32 << 10;
/// Descriptors in one message: the root and six more, and those that are mapped. A worker's limit of open files has
/// room for two such messages.
pub const DESCRIPTORS_MAX: usize = 24;

/// Daemon to broker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum ToBroker {
    Ask {
        ticket: Ticket,
        subject: Subject,
        needs: Needs,
        patience_ms: u32,
        question: serde_bytes::ByteBuf,
    },
    /// About the one file that comes with it (O_PATH), in this user's turn. The answer is not that of the user's own
    /// worker.
    Check {
        ticket: Ticket,
        uid: u32,
        mnt_ns: Option<u32>,
        patience_ms: u32,
        question: serde_bytes::ByteBuf,
    },
    Survey {
        ticket: Ticket,
        survey: Survey,
    },
    /// What this worker answered could not be decoded.
    Distrust {
        worker: u64,
    },
}

/// Broker (or spawner) to daemon.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum FromBroker {
    /// A broker begins; with a pidfd of itself.
    Hello {
        generation: u64,
        /// Workers cannot change files, whatever becomes of them (Landlock).
        landlock: bool,
    },
    /// It cannot begin.
    Failed {
        why: String,
    },
    /// The spawner: the broker ended, with this wait status. What it was asked is not answered any more.
    Died {
        generation: u64,
        status: i32,
    },
    /// The answer as the worker sent it, with its descriptors.
    Reply {
        ticket: Ticket,
        worker: u64,
        answer: serde_bytes::ByteBuf,
    },
    Unknown {
        ticket: Ticket,
        why: Unknown,
    },
    /// Of a survey, as its child sent it.
    Item {
        ticket: Ticket,
        item: serde_bytes::ByteBuf,
    },
    End {
        ticket: Ticket,
        skipped: Vec<u32>,
    },
    Counters(Children),
    /// This user's questions are refused for so many seconds.
    Penalty {
        uid: u32,
        seconds: u32,
    },
}

/// Broker to worker, with descriptors.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub needs: Needs,
    /// One bit for each descriptor that is there, at its slot (`slot`).
    pub present: u64,
    pub question: serde_bytes::ByteBuf,
}

/// Worker to daemon.
pub type WorkerAnswer = Result<Answer, Unknown>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a message of {0} bytes is longer than {MESSAGE_MAX}")]
    Length(usize),
    #[error("{0} bytes after the end of a message")]
    Trailing(usize),
    #[error("not a message: {0}")]
    Encoding(#[from] postcard::Error),
}

/// Decodes one message, whole.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    if bytes.len() > MESSAGE_MAX {
        return Err(Malformed::Length(bytes.len()));
    }
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(Malformed::Trailing(rest.len())),
    }
}

/// Encodes one message.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Malformed> {
    let bytes = postcard::to_stdvec(message)?;
    if bytes.len() > MESSAGE_MAX { Err(Malformed::Length(bytes.len())) } else { Ok(bytes) }
}

/// For fuzzing: each kind of message, from the same bytes.
pub fn decode_each(bytes: &[u8]) {
    let _ = (decode::<ToBroker>(bytes), decode::<FromBroker>(bytes), decode::<Job>(bytes), decode::<SurveyItem>(bytes));
    let _ = (decode::<WorkerAnswer>(bytes), decode::<Question>(bytes));
}
