//! Layer 2a: reads users' files for the daemon, in processes that have no rights of their own, as OpenSSH separates its
//! privileges.
//!
//! ```text
//! daemon --ask--> broker --descriptors + question--> worker (one user's rights, no capabilities)
//!   ^               |  \--> opener --read descriptors--> worker (short-lived: what the kernel executed or mapped)
//!   |               |   \-> survey (walks /proc, opens no user's file)
//!   +---replies-----+
//! spawner: forks the broker, and forks it anew when it dies
//! ```
//!
//! What enters: a `Subject` (a process, the user that it belongs to) and a `Question`. What leaves: a `Reply` for each
//! accepted question, always, with an `Answer` and descriptors or with the reason why nothing is known (`Unknown`).
//! Neither `ask` nor `poll` blocks, whatever a user's file system, memory or signals do.
//!
//! Why a spawner: fork copies page tables and every lock, so the broker has to come from a small process with one
//! thread; the daemon is that only at its start. The spawner stays small because it does nothing but fork and wait. It
//! keeps the broker's end of the socket, so the daemon's descriptor survives a crash of the broker; a second way
//! (executing the daemon's file again) would need execve in a process that has no other use for it.
//!
//! Kernel facts: credentials(7), setfsuid(2) (reports no error, so it is read back), openat2(2), unix(7) for
//! descriptors as messages, seccomp(2). How it fails: a dead broker, an unanswered question and a broken answer are
//! each one value, counted in `Counters`, and `take_degraded` says it once.

mod answer;
mod broker;
mod channel;
mod confine;
mod counters;
pub mod file;
mod fork;
mod inspector;
mod ledger;
pub mod message;
mod needs;
mod opener;
mod options;
mod place;
mod question;
mod questions;
mod slot;
mod spawner;
mod subject;
mod surveyor;
pub mod surveys;
mod syscalls;
#[cfg(test)]
mod trial;
mod unknown;
mod worker;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Candidate, Names};
pub use counters::Counters;
pub use inspector::Inspector;
pub use options::{Options, StartError};
pub use question::{Invoked, Question, Range, Where};
pub use subject::{Refused, Reply, Said, Subject, Ticket};
pub use surveys::{Survey, SurveyItem};
pub use unknown::{Unknown, Why};
