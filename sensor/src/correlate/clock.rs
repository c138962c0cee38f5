//! Boot time, which the kernel's records bear, to the wall clock's, which ours bear.

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// CLOCK_REALTIME - CLOCK_BOOTTIME, ns. 0: not known yet.
    offset: i64,
}

impl Clock {
    /// Sets the offset, and returns by how much the wall clock was moved (ns).
    pub(super) fn set(&mut self, offset: i64) -> Option<i64> {
        let before = std::mem::replace(&mut self.offset, offset);
        (before != 0).then(|| offset.saturating_sub(before))
    }

    /// Boot time (ns) to ns since the epoch.
    pub(super) fn wall(self, boot: u64) -> i64 {
        (boot as i64).wrapping_add(self.offset)
    }
}
