//! Precedence at start and least privilege after it: once the probes are attached, root's other capabilities are given up for good.
//!
//! What stays: CAP_BPF and CAP_PERFMON (maps are read through bpf(2)), CAP_SYS_PTRACE (/proc/PID/exe, root and fd of other users' processes), CAP_DAC_READ_SEARCH (their
//! files). Writing to files of others, mounting, signalling, changing users, loading modules: gone, and no exec can bring them back
//! (no_new_privs). It is about the calling thread: sensor has one.

use rustix::{
    io::Result,
    process::setpriority_process,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs},
};

const PRECEDENCE: i32 = -4;

/// Runs before ordinary programs (nice -4, as auditd does by default): a flood of events comes with a flood of work for the CPUs.
pub fn take_precedence() -> Result<()> {
    setpriority_process(None, PRECEDENCE)
}

/// Gives up what is not needed any more.
pub fn drop_unneeded() -> Result<()> {
    let keep = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    set_no_new_privs(true)?;
    let now = capabilities(None)?;
    let sets = CapabilitySets {
        effective: now.effective & keep,
        permitted: now.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)
}
