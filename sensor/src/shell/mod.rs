//! Layer 1: shell text as words, and what shells and containers run.
//!
//! In: one command line, any bytes. Out: words without their quotes and operators, each with its place in the text
//! ([`lexer`], [`word`]); or, of words that are there, which ones a shell or a container runs ([`runners`]). Redaction
//! and the recognition of deploys read command lines with it, so that both see the same words. It rests on
//! POSIX.1-2024 XCU 2. No input fails; time is linear.

pub(crate) mod bytes;
pub(crate) mod expansion;
pub(crate) mod lexer;
pub(crate) mod runners;
pub(crate) mod word;
