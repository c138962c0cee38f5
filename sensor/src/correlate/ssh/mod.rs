//! SSH connections: what the protocol says of them, joined with processes and sessions.
//!
//! What enters: messages of the clear phase and decrypted ones, in the order of the kernel's ring. What leaves: `ssh-*`
//! records. In the server role the connection's session is the one that lineage knows by the same socket: it has one
//! id, starts once and ends once, whoever saw it first. In the client role the session is the connection's own.
//!
//! The second of the three machines. It owns the connections of processes, the SSH connections among them with their
//! channels and commands, and what the protocol says of the sessions that lineage found. It asks lineage through its
//! view, and gives what it finds to the `Outlet`.

mod attempt;
mod auth;
mod changes;
mod channels;
mod commands;
mod connection;
mod ending;
mod findings;
mod host_key;
mod known_servers;
mod machine;
mod messages;
mod network;
mod owner;
mod served;
mod sessions;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod tunnel;

pub(super) use machine::Ssh;
