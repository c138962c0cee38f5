//! Layer 3: events to findings.
//!
//! Pure: a value and a time in, findings out; the same stream gives the same findings. Three machines own the tables,
//! each its own, and hand each other typed facts in one direction:
//!
//! ```text
//! lineage  --LineageFact-->  ssh  --views, through the outlet-->  deploys
//! ```
//!
//! `lineage` has processes and sessions; the others see it through a read-only view. `ssh` has connections, channels,
//! commands and host keys. `deploys` has the runs of deploy tools and names the deploy in every record on its way out.
//! What comes back is marks: which command, which deploy a process belongs to, and that a session's start is recorded.
//! `observe` (`machines`) is the table of contents: one line per kind of event. Tables are bounded; what a limit
//! refuses is counted and becomes a record.

mod clock;
mod config_files;
mod deploys;
mod facts;
mod health;
mod lineage;
mod machines;
mod outlet;
mod scope;
mod ssh;
#[cfg(test)]
mod tests;

pub use machines::Correlate;
pub use scope::Scope;
