//! seccomp allow-lists: what each kind of process may ask of the kernel. Anything else is EPERM.
//!
//! Fact (seccomp(2)): filters are inherited and all of them have to allow, so the broker's list holds what any of its
//! children needs. None has execve, connect, bind, ptrace, mount, bpf, kill of others (but for the broker), or memory
//! that is executable; sockets are pairs only. It fails closed: a process whose filter cannot be installed ends.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    Broker,
    Worker,
    /// Opener and survey.
    Reader,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("this processor's system calls are not known to seccomp filters here")]
    Architecture,
    #[error("cannot assemble the seccomp filter: {0}")]
    Filter(#[from] seccompiler::BackendError),
    #[error("cannot install the seccomp filter: {0}")]
    Install(#[from] seccompiler::Error),
}

/// Memory, time, messages over descriptors that are there, ending.
const COMMON: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    // abort(3) ends in it, since it may not signal: workers of all users have one uid.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sendmsg,
    libc::SYS_sigaltstack,
    // Files. None of these writes; openat2 and open could create and truncate, which Landlock denies
    // (`confine::worker`).
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
];

/// Of the broker, and of its children until their own filter stands.
const BROKER: &[i64] = &[
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_clone,
    libc::SYS_close_range,
    libc::SYS_dup3,
    libc::SYS_getgroups,
    libc::SYS_getppid,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_kill,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_pidfd_open,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_rseq,
    libc::SYS_seccomp,
    libc::SYS_set_robust_list,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setrlimit,
    libc::SYS_setsockopt,
    libc::SYS_socketpair,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Its log.
    libc::SYS_write,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
];

/// Assembles the filter of a kind of process.
pub(super) fn filter(profile: Profile) -> Result<BpfProgram, Failure> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = COMMON.iter().map(|number| (*number, Vec::new())).collect();
    if profile == Profile::Broker {
        rules.extend(BROKER.iter().map(|number| (*number, Vec::new())));
    }
    // mmap(address, length, protection, ...), mprotect(address, length, protection): never executable.
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        let condition = SeccompCondition::new(2, SeccompCmpArgLen::Dword, executable, 0)?;
        rules.insert(number, vec![SeccompRule::new(vec![condition])?]);
    }
    // open(path, flags, ...), openat(folder, path, flags, ...): never for writing. openat2 has its flags where no
    // filter can look.
    let writing = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u64;
    let only_reading = |argument| -> Result<Vec<SeccompRule>, Failure> {
        let reads = SeccompCmpOp::MaskedEq(writing);
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, reads, 0)?;
        Ok(vec![SeccompRule::new(vec![condition])?])
    };
    rules.insert(libc::SYS_openat, only_reading(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, only_reading(1)?);
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| Failure::Architecture)?;
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    Ok(SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)?.try_into()?)
}

/// Installs it, for good.
pub(super) fn install(filter: &BpfProgram) -> Result<(), Failure> {
    Ok(seccompiler::apply_filter(filter)?)
}
