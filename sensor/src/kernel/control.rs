//! The switches that the programs look at, mapped into memory (`sensor_common::Control`).
//!
//! What enters: the object's map CONTROL (an array with BPF_F_MMAPABLE, Linux 5.5). What leaves: a handle, as many as
//! are wanted; each keeps the mapping, and the mapping keeps the map. Storing is all it takes: no system call, nothing
//! that can fail or wait. It fails only where the map cannot be mapped, at start.
#![allow(
    unsafe_code,
    reason = "memory that is shared with the kernel: mapped, used through atomics only, unmapped by its last owner"
)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering, fence},
    },
};

use aya::maps::Map;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use sensor_common::CONTROL_MAP;

use super::Error;

/// The page of the map's only value.
struct Page(NonNull<sensor_common::Control>);

// SAFETY: the page is only accessed through atomics, and unmapped by the last owner.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

/// A handle to the switches.
#[derive(Clone)]
pub struct Control(Arc<Page>);

impl Control {
    pub(super) fn new(map: &Map) -> Result<Self, Error> {
        Self::of(Self::map(map)?).map_err(|error| Error::MapUse { map: CONTROL_MAP, why: error.to_string() })
    }

    /// The map's descriptor.
    pub(super) fn map(map: &Map) -> Result<BorrowedFd<'_>, Error> {
        let Map::Array(data) = map else { return Err(Error::Map(CONTROL_MAP)) };
        Ok(data.fd().as_fd())
    }

    /// Maps the map behind a descriptor.
    pub(super) fn of(map: BorrowedFd) -> io::Result<Self> {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping of its own at an address that the kernel chooses.
        let page =
            unsafe { mmap(std::ptr::null_mut(), size_of::<sensor_common::Control>(), both, MapFlags::SHARED, map, 0) }?;
        let page = NonNull::new(page.cast::<sensor_common::Control>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self(Arc::new(Page(page))))
    }

    /// Every program returns at once from now on, for good. One that has begun ends as usual, within microseconds.
    pub fn silence(&self) {
        self.silenced().store(1, Ordering::SeqCst);
    }

    pub fn is_silenced(&self) -> bool {
        self.silenced().load(Ordering::Relaxed) != 0
    }

    /// The reader is about to sleep: the next record wakes it. After this the ring must be looked at once more.
    pub(super) fn sleeps(&self) {
        self.sleeping().store(1, Ordering::Relaxed);
        // Before the look into the ring, as the programs store the ring's position before they look here.
        fence(Ordering::SeqCst);
    }

    pub(super) fn wakes(&self) {
        self.sleeping().store(0, Ordering::Relaxed);
    }

    fn silenced(&self) -> &AtomicU32 {
        // SAFETY: mapped as long as `Page` lives; page-aligned; used through atomics only, and by the programs through
        // whole words.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0.0.as_ptr()).silenced) }
    }

    fn sleeping(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0.0.as_ptr()).sleeping) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `Control::of` with this size; no other pointer to it exists.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), size_of::<sensor_common::Control>()) };
    }
}
