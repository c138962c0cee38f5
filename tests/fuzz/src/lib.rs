//! Fuzz targets: everything that reads bytes which somebody else wrote.
//!
//! What enters: arbitrary bytes, from libFuzzer, which keeps those that reach new code. What must hold: no panic, no
//! overflow, bounded memory and time, and what each target asserts. One file per target; `targets/` holds the programs,
//! `cargo xtask fuzz` builds and runs them. The generators make input that gets past the first check (a size, a magic,
//! an id that is known), since the state behind it is what breaks.

pub mod decoder;
pub mod deploys;
pub mod files;
pub mod inspect;
pub mod middle;
pub mod program;
pub mod recording;
pub mod redact;
pub mod sites;
pub mod ssh;
mod stream;
pub mod tools;
