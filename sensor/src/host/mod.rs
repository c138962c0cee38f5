//! Layer 2: what the host says about itself, outside the kernel probes: /proc, passwd files, cgroup paths, executable files.
//!
//! What enters: paths and the events that need a fact. What leaves: facts, as events of the stream, so that a replay needs no host. Everything read
//! from a process's root is hostile: sizes are bounded, nothing is followed blindly, an unreadable file means "not known".
//! `proc` may be another machine's view mounted aside (/host/proc in a container).

pub mod config_files;
mod examine;
pub mod facts;
mod holders;
pub mod identity;
mod inside;
pub mod known_hosts;
mod known_hosts_read;
mod libraries;
pub mod mounts;
pub mod private;
pub mod privileges;
pub mod program;
pub mod project;
pub mod sites;
pub mod snapshot;
pub mod sockets;
pub mod speakers;
pub mod tools;
