//! Memory that was freed, given back to the system.
//!
//! Reading the kernel's BTF takes 30 MiB for a moment. glibc keeps what is freed for later, and more of it the larger
//! the largest block was (its thresholds are dynamic): measured 27.2 MiB resident where 0.8 MiB were in use, and 1.5
//! MiB after this call. Other C libraries have no such call.

/// Gives back what is free. Costs a walk over the free blocks: for quiet moments.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "the C library has no other door to this")]
    // SAFETY: takes a number, works under the allocator's own locks, and touches no block that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
