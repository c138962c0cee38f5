//! SSH as the programs that speak it see it: `clear` reads the phase before the keys from the sockets, `cipher` the packets after it at the calls
//! of the cipher function, `allow` says what of a packet may leave, `bind` whose connection it is, `packet` puts them together.
//!
//! Nothing here returns a value to the probed program, sleeps or writes to its memory; every read of it is bounded and may fail.

mod allow;
mod bind;
mod cipher;
mod clear;
mod maps;
mod packet;

pub use bind::{process_ends, thread_ends};
pub use clear::closed;
