//! SSH as the programs that speak it see it: `clear` reads the phase before the keys from the sockets (`phase`;
//! `stream` does so where a connection runs through another one's channel), `cipher` the packets after it at OpenSSH's
//! calls of the cipher function, `library` at those of the libraries that others use. Whose connection a packet is say
//! `owner` (of a process), `context` (of a library's cipher context, which `openssl` reads) and `first` (by the first
//! encrypted bytes); `connection` and `thread` keep state, `teardown` forgets it. `packet` reads a packet, `allow` says
//! what of it may leave.
//!
//! Nothing here returns a value to the probed program, sleeps or writes to its memory; every read of it is bounded and
//! may fail.

mod allow;
mod cipher;
mod clear;
mod connection;
mod context;
mod first;
mod kept;
mod library;
mod maps;
mod memory;
mod openssl;
mod owner;
mod packet;
mod phase;
mod stream;
mod teardown;
mod thread;

pub use teardown::{ends, process_ends, thread_ends};
