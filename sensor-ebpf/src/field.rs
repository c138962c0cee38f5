//! Reading kernel structures at offsets known only when the object is loaded.
//!
//! Every read is `bpf_probe_read_kernel`: it cannot fault whatever the address, and it fills the destination with
//! zeroes when it fails. So reading through a null pointer gives 0 again, and chains of reads need no branch: the
//! verifier walks every path, and a branch per read is 2^n of them. Only where absent must be told from zero (`read`)
//! does a result carry success, as arithmetic.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use sensor_common::ABSENT;

/// The patched offset of a field of `Layout`: a constant for the verifier.
macro_rules! at {
    ($field:ident) => {
        crate::field::patched(&crate::maps::LAYOUT.$field)
    };
}
pub(crate) use at;

/// A global as the loader patched it, not as the compiler saw it.
#[inline(always)]
pub fn patched<T: Copy>(global: &'static T) -> T {
    // SAFETY: a reference is valid; nothing writes globals once the object is loaded.
    unsafe { core::ptr::read_volatile(global) }
}

/// A kernel address. Never followed, only read through helpers.
pub type Addr = u64;

/// The address of a field; 0, which reads as nothing, if this kernel lacks it.
#[inline(always)]
pub fn address(base: Addr, offset: u32) -> Addr {
    if offset == ABSENT { 0 } else { base.wrapping_add(offset as u64) }
}

/// The value of a field and all ones if it could be read, else 0 and 0.
#[inline(always)]
pub fn read<T: Copy>(base: Addr, offset: u32) -> (T, u32) {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination has the size of T; the helper checks the source and always writes the destination. T is
    // an integer or an array of integers: zeroes are valid.
    unsafe {
        let result =
            bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address(base, offset) as *const _);
        (value.assume_init(), !((result >> 63) as u32))
    }
}

/// The value of a field; 0 if it could not be read.
#[inline(always)]
pub fn value<T: Copy>(base: Addr, offset: u32) -> T {
    read(base, offset).0
}

/// A pointer field; 0 if null or unreadable.
#[inline(always)]
pub fn pointer(base: Addr, offset: u32) -> Addr {
    value(base, offset)
}
