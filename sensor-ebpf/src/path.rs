//! Absolute paths, walked from the leaf to the root.
//!
//! bpf_d_path is not for these program types, so the dentry tree is read: names go up `d_parent`, and at the root of a
//! mount on to its mount point. The walk ends at the task's own root (a chroot is seen as the task sees it). Without
//! locks a concurrent rename can give a path that never was; it cannot give an address that faults. A path that is too
//! deep or too long is cut at the root side and flagged.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use sensor_common::{NAME_MAX, PATH_DEPTH_MAX, PATHS_MAX};

use crate::field::{Addr, at, pointer};

/// A place in the tree: `struct path`.
#[derive(Clone, Copy)]
pub struct Place {
    dentry: Addr,
    mnt: Addr,
}

impl Place {
    #[inline(always)]
    pub fn read(path: Addr) -> Self {
        Self { dentry: pointer(path, at!(path_dentry)), mnt: pointer(path, at!(path_mnt)) }
    }
}

/// A value below `PATHS_MAX`, in a form that every verifier believes: LLVM would drop a mask that it can prove
/// needless.
#[inline(always)]
fn bounded(at: u32) -> usize {
    let mut at = at as usize;
    // SAFETY: arithmetic on one register.
    unsafe { asm!("{at} &= {mask}", at = inout(reg) at, mask = const PATHS_MAX - 1) };
    at
}

/// Writes the components of a place to `paths` from `start` on, leaf first, and their size to `used`. Returns whether
/// the walk reached the root.
///
/// The running size lives in the record and not in a register: what is loaded from memory is any number to the
/// verifier, so each turn of the loop looks the same to it. Kept in a register, its ranges multiplied to over a million
/// states on 5.10 and 6.1.
///
/// # Safety
/// `paths` points at `PATHS_MAX + NAME_MAX` bytes, `used` at a u32, both in a reserved record.
#[inline(always)]
pub unsafe fn write(paths: *mut u8, start: *const u32, used: *mut u32, place: Place, root: Place) -> bool {
    let Place { mut dentry, mut mnt } = place;
    // SAFETY: the caller's promise; `bounded` keeps the place of each name below PATHS_MAX, and NAME_MAX more bytes are
    // there.
    unsafe {
        let start = if start.is_null() { 0 } else { start.read_volatile() };
        used.write_volatile(0);
        for _ in 0..PATH_DEPTH_MAX {
            if (dentry ^ root.dentry) | (mnt ^ root.mnt) == 0 {
                return true;
            }
            if pointer(mnt, at!(vfsmount_root)) == dentry {
                // mnt lies inside its struct mount
                let mount = mnt - at!(mount_mnt) as u64;
                let above = pointer(mount, at!(mount_parent));
                if above == mount {
                    return true;
                }
                dentry = pointer(mount, at!(mount_mountpoint));
                mnt = above + at!(mount_mnt) as u64;
                continue;
            }
            let end = start + used.read_volatile();
            let name = pointer(dentry, at!(dentry_name));
            let n = bpf_probe_read_kernel_str(paths.add(bounded(end)).cast(), NAME_MAX as u32, name as *const _);
            if n <= 0 || end >= PATHS_MAX as u32 {
                return false;
            }
            used.write_volatile(end - start + n as u32);
            let parent = pointer(dentry, at!(dentry_parent));
            if parent == dentry {
                // Not below any mount: memfd and the like.
                return true;
            }
            dentry = parent;
        }
    }
    false
}

const _: () = assert!(PATHS_MAX.is_power_of_two());
