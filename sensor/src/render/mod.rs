//! Layer 4: records to bytes.
//!
//! `json` is the contract (one object a line), `table` is for a person at a terminal; `review` shows the deploys that
//! layer 3 found in logs.

mod deploy;
pub mod filter;
pub mod json;
pub mod json_text;
pub mod json_writer;
pub mod review;
mod ssh;
pub mod table;
