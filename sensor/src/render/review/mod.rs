//! Deploys for a person at a terminal: a list with one line each, and the tree of one.
//!
//! What enters: what `review` found. What leaves: text, as wide as the terminal and without control characters of
//! anybody else's. A renderer knows no clock: times are those of the records, in the given zone.

mod header;
mod list;
mod look;
mod tree;

pub use look::Look;

use crate::review::{Deploy, Node};

/// One line for each deploy.
pub fn list(look: &Look, deploys: &[Deploy]) -> String {
    list::draw(look, deploys)
}

/// One deploy, with the tree of what belongs to it.
pub fn show(look: &Look, deploy: &Deploy, nodes: &[Node]) -> String {
    header::draw(look, deploy) + "\n" + &tree::draw(look, deploy, nodes)
}
