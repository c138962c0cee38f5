//! Layer 1: plain data, no behaviour beyond construction and naming.
//!
//! `stream` is what enters the pure middle (and what a recording holds), `ssh` the protocol's part of it, `record` is what leaves.

pub mod deploy;
pub mod record;
mod record_deploy;
mod record_ssh;
pub mod ssh;
pub mod stream;
pub mod text;
mod time;
