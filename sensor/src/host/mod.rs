//! Layer 2: what the host says about itself, outside the kernel probes: /proc, passwd files, cgroup paths, executable
//! files.
//!
//! What enters: paths and the events that need a fact. What leaves: facts, as events of the stream, so that a replay
//! needs no host. Everything read from a process's root is hostile: sizes are bounded, nothing is followed blindly, an
//! unreadable file means "not known". `proc` may be another machine's view mounted aside (/host/proc in a container).

pub mod beneath;
pub mod config_files;
pub mod content;
pub mod examine;
pub mod holders;
pub mod identity;
pub mod known_hosts;
pub mod known_hosts_read;
pub mod libraries;
pub mod mounts;
pub mod passwd;
pub mod private;
pub mod program;
pub mod sites;
pub mod snapshot;
pub mod sockets;
pub mod ssh_binaries;
pub mod tools;
