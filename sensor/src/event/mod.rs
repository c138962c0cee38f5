//! Layer 1: plain data, no behaviour beyond construction and naming.
//!
//! `stream` is what enters the pure middle (and what a recording holds), `ssh` the protocol's part of it, `host_key`
//! what a client's files say of a key, `executed` and `interpreters` what an exec runs, `labels` names for commands,
//! `ids` what names things. What leaves the middle is `finding`.

pub mod config_file;
pub mod deploy;
pub mod executed;
pub mod file;
mod health;
pub mod hidden;
pub mod host_key;
pub mod ids;
pub mod interpreters;
pub mod labels;
pub mod ssh;
pub mod stream;
pub mod text;
pub mod time;
