//! SSH as the programs that speak it see it: `clear` reads the phase before the keys from the sockets (`phase`;
//! `stream` does so where a connection runs through another one's channel), `cipher` the packets after it at OpenSSH's
//! calls of the cipher function, `library` at those of the libraries that others use. `bind` and `context` say whose
//! connection a packet is, `packet` reads it, `allow` says what of it may leave.
//!
//! Nothing here returns a value to the probed program, sleeps or writes to its memory; every read of it is bounded and
//! may fail.

mod allow;
mod bind;
mod cipher;
mod clear;
mod context;
mod kept;
mod library;
mod maps;
mod memory;
mod packet;
mod phase;
mod stream;

pub use bind::{process_ends, thread_ends};
pub use phase::ends;
