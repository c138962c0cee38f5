//! Layer 1: the account of one run, from ring to sink. For the summary of `sensor trace` and for the tests that
//! reconcile it.

/// What user space did with what the kernel sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records taken from the ring.
    pub taken: u64,
    /// Of these, pieces of a long argv.
    pub pieces: u64,
    /// Not understood: counted and reported.
    pub undecodable: u64,
    /// Audit records written.
    pub written: u64,
    /// Audit records that a filter held back.
    pub filtered: u64,
}
