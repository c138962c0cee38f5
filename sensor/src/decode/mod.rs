//! Layer 2: bytes to values.
//!
//! `Decoder` turns ring records into events, `ssh` reads the protocol, `redact` removes secrets from command lines
//! before anything else sees them, `recording` reads and writes the stream. All of it is total: hostile bytes give a
//! typed error, never a panic, and bounded memory.

mod assemble;
pub mod recording;
pub mod redact;
pub mod ssh;
mod wire;

pub use assemble::Decoder;
pub use wire::Error;
