//! The processes that are there at the start, until all of them are found.

use crate::host::snapshot::Seen;

/// The processes that are there, as they come.
#[derive(Default)]
pub(super) struct Present {
    pub(super) seen: Vec<Seen>,
    pub(super) ended: bool,
    /// Those that could not be looked at.
    pub(super) skipped: usize,
}
