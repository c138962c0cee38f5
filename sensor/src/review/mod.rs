//! Layer 3: records back into deploys, for `sensor deploys`.
//!
//! What enters: lines of logs, of deployers and of targets. What leaves: [`Deploy`]s, and the tree of one as [`Node`]s.
//! Pure: lines and values in, values out; the logs are read twice, since what belongs to a deploy can precede what says
//! so.
//!
//! ```text
//! lines -> Index -> Deploys (joined: sides) -> one is chosen -> lines -> Story -> tree
//! ```
//!
//! Only what the contract of records names is read, and what of it is absent is left out. Memory is bounded by what is
//! kept of deploys, not by the log. Text from records is as hostile as what was recorded: `render` escapes it.

mod builder;
pub mod deploy;
mod failing;
pub mod filter;
mod index;
pub mod lines;
mod local;
mod marks;
pub mod node;
mod record;
mod remote;
mod sections;
mod sides;
mod story;

#[cfg(test)]
mod tests;

pub use deploy::Deploy;
pub use filter::Filter;
pub use index::Index;
pub use node::Node;
pub use story::DeployDetail;
