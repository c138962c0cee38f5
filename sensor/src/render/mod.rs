//! Layer 4: records to bytes.
//!
//! `json` is the contract (one object a line), `table` is for a person at a terminal; `deploys` shows deploys that `review` found.

mod deploy;
pub mod deploys;
pub mod filter;
pub mod json;
mod ssh;
pub mod table;
