//! Reading what probed programs have in memory, and what was put together of it in a map.
//!
//! One helper for both, `bpf_probe_read`: it tells a program's addresses from the kernel's by their value, so that a
//! packet is parsed by the same code wherever it lies and the verifier of 5.10 need not walk it twice. So an address
//! that comes from a program is checked first (`is_user`): a hostile one could name the kernel's. Reads never fault;
//! what cannot be read is zeroes.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read;

use crate::field::Addr;

/// Can this be an address of a program? The upper half is the kernel's on every machine; no packet is so long that it
/// would reach it.
#[inline(always)]
pub fn is_user(at: u64) -> bool {
    at != 0 && (at as i64) >= 0
}

/// A number at an address, and whether it could be read.
#[inline(always)]
pub fn read<T: Copy>(at: u64) -> (T, bool) {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination has the size of T, an integer or an array of bytes; the helper fills it, with zeroes if
    // it fails.
    unsafe {
        let result = bpf_probe_read(value.as_mut_ptr().cast(), size_of::<T>() as u32, at as *const _);
        (value.assume_init(), result == 0)
    }
}

/// The address of something in the kernel as a number: a pointer that the verifier knows cannot be passed as one.
#[inline(always)]
pub fn address<T>(of: *const T) -> Addr {
    let mut number = 0u64;
    // SAFETY: both are on the stack and have 8 bytes.
    unsafe {
        aya_ebpf::helpers::generated::bpf_probe_read_kernel((&raw mut number).cast(), 8, (&raw const of).cast());
    }
    number
}
