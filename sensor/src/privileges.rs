//! Precedence at start and least privilege after it: once the probes are attached, each thread gives up for good what
//! it does not need.
//!
//! What stays of the main thread, and of those that it starts later: CAP_BPF and CAP_PERFMON (maps are read through
//! bpf(2)). Files of users, their memory, signals, other users, mounts, modules: gone, and no exec can bring them back
//! (no_new_privs). The thread that watches configuration files keeps CAP_SYS_PTRACE (init's root) and
//! CAP_DAC_READ_SEARCH (folders of others), the one that attaches CAP_SYS_PTRACE (whether a process lives, with
//! hidepid).
//!
//! There CAP_SYS_ADMIN stays permitted but not effective: uprobes on a program that appears later need it (*measured*
//! on 6.18: perf_event_open of a uprobe answers EACCES with CAP_PERFMON alone), so it is raised for that one call and
//! lowered again.

use rustix::{
    io::Result,
    process::setpriority_process,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs},
};

const PRECEDENCE: i32 = -4;
const PRECEDENCE_OF_RING: i32 = -10;

/// Runs before ordinary programs (nice -4, as auditd does by default): a flood of events comes with a flood of work for
/// the CPUs.
pub fn take_precedence() -> Result<()> {
    setpriority_process(None, PRECEDENCE)
}

/// The same for the thread that empties the ring: before the sensor's own helpers too. It does little, and what it does
/// not do in time is lost.
pub fn take_precedence_for_ring() -> Result<()> {
    setpriority_process(None, PRECEDENCE_OF_RING)
}

/// Gives up what the main thread does not need any more.
pub fn drop_unneeded() -> Result<()> {
    let keep = CapabilitySet::BPF | CapabilitySet::PERFMON;
    limit(keep, keep)
}

/// The same for the thread that attaches: CAP_SYS_ADMIN stays permitted, and the processes of others are seen. It opens
/// no file: it gets O_PATH descriptors.
pub fn keep_for_attaching() -> Result<()> {
    let keep = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_PTRACE;
    limit(keep, keep | CapabilitySet::SYS_ADMIN)
}

/// The same for the thread that watches configuration files: it looks at folders of others, and opens none.
pub fn keep_for_watching() -> Result<()> {
    let keep = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    limit(keep, keep)
}

/// Gives up everything: for a thread that only writes to what is open.
pub fn drop_all() -> Result<()> {
    limit(CapabilitySet::empty(), CapabilitySet::empty())
}

/// Limits the capabilities of the calling thread to these, of which `effective` can be used at once; no exec brings
/// others back.
pub fn limit(effective: CapabilitySet, permitted: CapabilitySet) -> Result<()> {
    // Nothing has to be read to keep nothing.
    let had = if permitted.is_empty() { permitted } else { capabilities(None)?.permitted };
    let permitted = had & permitted;
    let effective = permitted & effective;
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })?;
    set_no_new_privs(true)
}

/// Runs `attach` with CAP_SYS_ADMIN, if it may be had.
pub fn raised<T>(attach: impl FnOnce() -> T) -> T {
    let before = capabilities(None);
    if let Ok(sets) = before {
        let effective = sets.effective | (sets.permitted & CapabilitySet::SYS_ADMIN);
        // Without it the error of the attempt names what is missing.
        let _ = set_capabilities(None, CapabilitySets { effective, ..sets });
    }
    let result = attach();
    if let Ok(sets) = before
        && let Err(error) = set_capabilities(None, sets)
    {
        tracing::warn!(%error, "cannot lower CAP_SYS_ADMIN again");
    }
    result
}
