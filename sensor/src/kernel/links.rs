//! One uprobe's link, where a kernel has no better one (`multi`), as a bare descriptor: closing the last copy of it
//! detaches the probe, in whichever process that copy is.
//!
//! What enters: a program, a file and a place in it. What leaves: a descriptor. aya attaches too, but keeps the
//! descriptor to itself, and it has to be handed on (`holder`). So: perf_event_open(2) with the PMU `uprobe`, then a
//! link of the event and the program (BPF_LINK_CREATE, Linux 5.15), or where there are none, the event itself with the
//! program set (its ioctl).
//!
//! The file is named as /proc/self/fd/N, so that no path is walked that a user could change: the kernel resolves it to
//! what the descriptor is, which may be O_PATH (*measured*). It must be a regular file (EINVAL). Both structures are
//! those of the kernel's uapi, at the sizes that the oldest kernel here knows; what is longer there is zero.
#![allow(unsafe_code, reason = "two system calls that no crate has in the form needed")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PERF_EVENT: u32 = 41;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
/// `_IOW('$', 8, __u32)` and `_IO('$', 0)`
const PERF_EVENT_IOC_SET_BPF: libc::Ioctl = 0x4004_2408;
const PERF_EVENT_IOC_ENABLE: libc::Ioctl = 0x2400;

/// `struct perf_event_attr`, of PERF_ATTR_SIZE_VER1.
#[repr(C)]
#[derive(Default)]
struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    sample: [u64; 3],
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    /// `config1`: the path's address.
    path: u64,
    /// `config2`
    offset: u64,
}

/// `union bpf_attr`, of BPF_LINK_CREATE for a perf event.
#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    program: u32,
    event: u32,
    kind: u32,
    flags: u32,
    cookie: u64,
}

const _: () = {
    assert!(size_of::<EventAttributes>() == 72);
    assert!(size_of::<LinkAttributes>() == 24);
};

/// The PMU that makes uprobes.
#[derive(Clone, Copy)]
pub(super) struct Uprobe {
    kind: u32,
}

impl Uprobe {
    pub(super) fn new() -> io::Result<Self> {
        let text = std::fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")?;
        let kind = text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { kind })
    }

    /// Attaches a program to a place of a file.
    pub(super) fn attach(
        self,
        program: BorrowedFd,
        file: BorrowedFd,
        offset: u64,
        cookie: Option<u64>,
    ) -> io::Result<OwnedFd> {
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let attributes = EventAttributes {
            kind: self.kind,
            size: size_of::<EventAttributes>() as u32,
            path: path.as_ptr() as u64,
            offset,
            ..EventAttributes::default()
        };
        // Of every process: the CPU says nothing for a uprobe.
        let (process, cpu, group): (libc::pid_t, libc::c_int, libc::c_int) = (-1, 0, -1);
        // SAFETY: the attributes and the path that they point to outlive the call, which only reads them.
        let event = unsafe {
            libc::syscall(libc::SYS_perf_event_open, &raw const attributes, process, cpu, group, PERF_FLAG_FD_CLOEXEC)
        };
        let event = descriptor(event)?;
        match link(program, &event, cookie) {
            // Before 5.15: the command or this type of link is not known.
            Err(error) if cookie.is_none() && error.raw_os_error() == Some(libc::EINVAL) => set(program, event),
            link => link,
        }
    }
}

fn link(program: BorrowedFd, event: &OwnedFd, cookie: Option<u64>) -> io::Result<OwnedFd> {
    let attributes = LinkAttributes {
        program: program.as_raw_fd() as u32,
        event: event.as_raw_fd() as u32,
        kind: BPF_PERF_EVENT,
        flags: 0,
        cookie: cookie.unwrap_or_default(),
    };
    // SAFETY: the call reads this structure of this size.
    descriptor(unsafe {
        libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attributes, size_of::<LinkAttributes>())
    })
}

/// The event itself carries the program.
fn set(program: BorrowedFd, event: OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: takes two descriptors, which are open.
    check(unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()) })?;
    // SAFETY: as above.
    check(unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0) })?;
    Ok(event)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What a system call returned.
pub(super) fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as libc::c_int) })
}
