//! SSH bytes to SSH messages (RFC 4250-4254).
//!
//! What enters: the start of a decrypted packet's payload, as far as the kernel's allow-list goes (`packet`), and
//! pieces of the clear phase (`clear`). What leaves: `event::ssh` messages, with command lines redacted. Total and
//! pure: what does not hold what its number promises becomes `Malformed`, never a panic; memory is bounded. Beside
//! them, what clients go by: `known_hosts` and their `settings`.

mod clear;
pub mod fingerprint;
mod kexinit;
mod key;
pub mod known_hosts;
mod packet;
mod reader;
pub mod settings;
#[cfg(test)]
mod tests;

pub(super) use clear::{Piece, Streams};
pub(super) use packet::message;
