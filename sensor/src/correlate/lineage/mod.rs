//! Lineage: processes, and the SSH sessions that grow from servers' processes. The first of the three machines.
//!
//! What enters: fork, exec and exit, processes found in /proc, the end of sockets. What leaves: `LineageFact`s for the
//! machine of SSH, in their order, and a read-only view of the tables. Lineage knows nothing of what is said over a
//! connection, and nothing of deploys: what the machines below find out about a process comes back as `Marks`, which
//! descend with it.

mod adopt;
mod application;
mod candidates;
mod describe;
mod facts;
mod lifecycle;
mod machine;
mod processes;
mod program;
mod sessions;
mod unexamined;

pub(super) use describe::{container_id, destination, exit, session_id, source, ssh_flow};
pub(super) use facts::LineageFact;
pub(super) use machine::Lineage;
pub(super) use processes::Process;
pub(super) use program::Program;
pub(super) use sessions::{Session, SessionKey};
