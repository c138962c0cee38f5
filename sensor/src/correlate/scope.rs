//! Whose acts become records.

/// Empty `pids` mean everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Also what happens outside of sessions.
    pub all: bool,
    /// Only these processes and what descends from them, in or out of sessions.
    pub pids: Vec<u32>,
}

impl Scope {
    pub(super) fn in_scope(&self, session: bool, deploy: bool, watched: bool) -> bool {
        if self.pids.is_empty() { self.all || session || deploy } else { watched }
    }
}
