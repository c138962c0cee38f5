//! What each process gives up, for good, before it looks at anything.
//!
//! Kernel facts (credentials(7), capabilities(7)): setresuid from 0 clears the effective capabilities and, without
//! PR_SET_KEEPCAPS, the permitted ones; the file system ids follow the effective ones, so they are set last; setfsuid
//! reports no error and is read back by setfsuid(-1); a change of ids clears the parent-death signal and makes the
//! process non-dumpable. Owner of a worker's process is the dedicated uid, so the user may neither signal nor trace it;
//! for the file system it is the user, with what the modes allow and nothing else, root included. It fails before
//! anything is read: the worker then answers `Unknown::Identity` and ends.

use landlock::{ABI, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreated, RulesetStatus};
use nix::unistd::{self, setfsgid, setfsuid};
use rustix::{
    io::Errno,
    process::{
        DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, getgroups, getppid, set_dumpable_behavior,
        set_parent_process_death_signal, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

use crate::privileges;

/// Rights by which files are read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups.
    pub(super) groups: Vec<u32>,
}

/// Beyond what is mapped at its start.
const WORKER_MEMORY: u64 = 256 << 20;
/// In the whole life of a worker, which ends after `QUESTIONS_MAX` questions.
const WORKER_CPU_SECONDS: u64 = 60;
const WORKER_DESCRIPTORS: u64 = 64;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot {0}: {1}")]
    System(&'static str, Errno),
    #[error("the process that started this one has ended")]
    Orphan,
    #[error("the user's rights were not taken on")]
    Identity,
}

trait Action<T> {
    fn to(self, what: &'static str) -> Result<T, Failure>;
}

impl<T> Action<T> for Result<T, Errno> {
    fn to(self, what: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::System(what, error))
    }
}

/// What the broker uses. CAP_KILL since workers have another uid.
pub(super) fn broker_capabilities() -> CapabilitySet {
    CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::KILL
}

/// /proc/PID/map_files is opened with CAP_CHECKPOINT_RESTORE (5.9) or CAP_SYS_ADMIN only: kept permitted, raised by the
/// opener for that one thing.
pub(super) fn mapped_capability(permitted: CapabilitySet) -> CapabilitySet {
    match permitted.contains(CapabilitySet::CHECKPOINT_RESTORE) {
        true => CapabilitySet::CHECKPOINT_RESTORE,
        false => permitted & CapabilitySet::SYS_ADMIN,
    }
}

/// Limits the capabilities to these, of which `effective` can be used at once.
pub(super) fn limit_capabilities(effective: CapabilitySet, permitted: CapabilitySet) -> Result<(), Failure> {
    privileges::limit(effective, permitted).to("give up capabilities")
}

/// Ends this process with its parent, which is the thread that forked it.
pub(super) fn end_with(parent: Pid) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).to("end with the parent")?;
    // It may have ended before that call.
    if getppid() == Some(parent) { Ok(()) } else { Err(Failure::Orphan) }
}

/// Neither traced nor dumped by others than root.
pub(super) fn hide() -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).to("forbid dumps")?;
    limit(Resource::Core, 0)
}

fn limit(resource: Resource, to: u64) -> Result<(), Failure> {
    setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) }).to("limit resources")
}

/// Takes on the user's rights on files, and gives up all others. `dedicated` is the uid and gid of the process itself.
pub(super) fn worker(identity: &Identity, dedicated: u32, parent: Pid) -> Result<(), Failure> {
    let mapped = mapped_bytes();
    let own = CapabilitySet::SETUID | CapabilitySet::SETGID;
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups).to("set the groups")?;
    let (uid, gid) = (Uid::from_raw(dedicated), Gid::from_raw(dedicated));
    set_thread_res_gid(gid, gid, gid).to("set the gid")?;
    set_keep_capabilities(true).to("keep capabilities")?;
    set_thread_res_uid(uid, uid, uid).to("set the uid")?;
    limit_capabilities(own, own)?;
    setfsgid(unistd::Gid::from_raw(identity.gid));
    setfsuid(unistd::Uid::from_raw(identity.uid));
    check(identity, dedicated)?;
    limit_capabilities(CapabilitySet::empty(), CapabilitySet::empty())?;
    if capabilities(None).to("read the capabilities")? != no_capabilities() {
        return Err(Failure::Identity);
    }
    // By then no call of these may change: `setfsuid` without capabilities changes nothing but back to one's own.
    check(identity, dedicated)?;
    end_with(parent)?;
    hide()?;
    // Where the kernel has none, seccomp and the limit on file sizes remain; `start` said so.
    deny_changes(CompatLevel::BestEffort);
    limit(Resource::As, mapped + WORKER_MEMORY)?;
    limit(Resource::Cpu, WORKER_CPU_SECONDS)?;
    limit(Resource::Nofile, WORKER_DESCRIPTORS)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nproc, 0)
}

/// Landlock (5.13): no creating, writing, truncating, renaming, removing or ioctl of devices anywhere, whatever the
/// user may do. `true`: it holds.
fn deny_changes(level: CompatLevel) -> bool {
    let set = Ruleset::default().set_compatibility(level).handle_access(AccessFs::from_write(ABI::V5));
    let held = set.and_then(Ruleset::create).and_then(RulesetCreated::restrict_self);
    held.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// Does this kernel have Landlock?
pub(super) fn has_landlock() -> bool {
    let set = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::WriteFile);
    set.and_then(Ruleset::create).is_ok()
}

fn no_capabilities() -> CapabilitySets {
    let none = CapabilitySet::empty();
    CapabilitySets { effective: none, permitted: none, inheritable: none }
}

/// Reads back who this is.
fn check(identity: &Identity, dedicated: u32) -> Result<(), Failure> {
    // An id that does not exist changes nothing, and the current one is returned.
    let fsuid = setfsuid(unistd::Uid::from_raw(u32::MAX)).as_raw();
    let fsgid = setfsgid(unistd::Gid::from_raw(u32::MAX)).as_raw();
    let uids = nix::unistd::getresuid().map_err(|_| Failure::Identity)?;
    let gids = nix::unistd::getresgid().map_err(|_| Failure::Identity)?;
    let uids = [uids.real, uids.effective, uids.saved].map(unistd::Uid::as_raw);
    let gids = [gids.real, gids.effective, gids.saved].map(unistd::Gid::as_raw);
    let mut wanted = identity.groups.clone();
    let mut groups: Vec<u32> = getgroups().to("read the groups")?.into_iter().map(Gid::as_raw).collect();
    // The kernel keeps them sorted.
    wanted.sort_unstable();
    groups.sort_unstable();
    let own = uids == [dedicated; 3] && gids == [dedicated; 3];
    let user = fsuid == identity.uid && fsgid == identity.gid && groups == wanted;
    if own && user { Ok(()) } else { Err(Failure::Identity) }
}

/// Address space in use: proc(5), statm, in pages.
fn mapped_bytes() -> u64 {
    /// A guess that is too high, where /proc does not say.
    const UNKNOWN: u64 = 1 << 30;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    pages.map_or(UNKNOWN, |pages| pages.saturating_mul(rustix::param::page_size() as u64))
}
