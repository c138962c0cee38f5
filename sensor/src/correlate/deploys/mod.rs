//! Deploys: a run of a deploy tool, and everything that hangs from it.
//!
//! The last of the three machines. What enters: execs and exits, with the view of lineage; facts about projects and
//! hooks; what the machine of SSH lends of connections and commands (`correlate::facts`). What leaves:
//! `deploy-started`, `deploy-step`, `deploy-finished`, and the `deploy.id` in the records of all its processes and
//! connections. It rests on lineage: what descends from the tool belongs to its deploy, and so does every SSH
//! connection that such a process opens. An exec in place (shim, env, ruby) is the same deploy, a tool below a running
//! deploy is a step of it.
//!
//! On the other side, a session that runs what a tool sends is a deploy's too (`target`): the deployer's own, if that
//! is on this host and the connection's id says so, else one that this host knows by service, destination and who
//! connected. What a limit refuses is counted; a run whose root is lost ends unknown.
//!
//! A tool's name proves nothing: what was seen of its acts is `deploy.evidence` (`outcome`), and what only environment,
//! files or arguments say is named in `deploy.claimed` (`findings`).

mod about;
mod candidate;
mod findings;
mod groups;
mod local;
mod machine;
mod names;
mod outcome;
mod remote;
mod run;
mod seen;
mod target;
#[cfg(test)]
mod tests;

pub(super) use machine::{Deploys, Of};
