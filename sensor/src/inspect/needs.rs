//! What the broker opens for a question: plain data that a question declares, the daemon sends and the broker obeys.

use serde::{Deserialize, Serialize};

/// Ranges of `Needs::mapped`: descriptors that a worker may hold are bounded.
pub(super) const MAPPED_MAX: usize = 16;

/// What the broker opens for a question, beside the root directory. The working directory is O_PATH.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one descriptor")]
pub struct Needs {
    pub cwd: bool,
    /// What the process executes, for reading, whatever its mode is.
    pub content: bool,
    pub environ: bool,
    pub maps: bool,
    pub cmdline: bool,
    /// Files that are mapped at these ranges of addresses, for reading, whatever their mode is.
    pub mapped: Vec<(u64, u64)>,
}
