//! Layer 1: plain data, no behaviour beyond construction and naming.
//!
//! `stream` is what enters the pure middle (and what a recording holds), `record` is what leaves it.

pub mod record;
pub mod stream;
pub mod text;
