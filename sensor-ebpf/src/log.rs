//! What the probes decide, for a developer who watches: messages through aya-log, in a build with the feature `log` (of
//! the loader: `ebpf-log`). Without it these functions are empty.
//!
//! Messages are at places that seldom pass (an event is lost, a connection is bound), and each of them at most
//! `PER_SECOND` times a second: a flood of losses must not become a flood of messages. Each is a global function, so
//! that what aya-log needs of the stack and of the verifier is not multiplied with the callers.

/// Declares the messages.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $index:literal $name:ident($($argument:ident: $ty:ty),*) => $text:literal $($value:expr),*;
    )+) => {
        $(
            $(#[$doc])*
            #[cfg(feature = "log")]
            #[unsafe(export_name = concat!("log_", stringify!($name)))]
            #[inline(never)]
            pub extern "C" fn $name($($argument: $ty),*) -> u32 {
                if with_log::admits($index) {
                    aya_log_ebpf::debug!(&(), $text, $($value),*);
                }
                0
            }

            $(#[$doc])*
            #[cfg(not(feature = "log"))]
            #[inline(always)]
            pub fn $name($(_: $ty),*) {}
        )+
    };
}

messages! {
    /// `row`: of `program`, here and below.
    0 lost_full(row: u32) => "an event is lost, the ring has no room: {}" with_log::name(row);
    1 lost_unreadable(row: u32) => "an event is lost, what identifies it cannot be read: {}" with_log::name(row);
    2 untracked(row: u32) => "a map has no room: {}" with_log::name(row);
    3 ssh_begins(connection: u64) => "connection {} begins with SSH-" connection;
    4 bound_by_descriptor(tgid: u32, connection: u64) =>
        "process {} speaks over connection {}: of the sockets among its first descriptors" tgid, connection;
    5 bound_without_socket(tgid: u32, connection: u64) =>
        "process {} has no socket among its first descriptors: connection {} is its own" tgid, connection;
    6 bound_by_ciphertext(tgid: u32, connection: u64) =>
        "process {} speaks over connection {}: it decrypts the first bytes of that" tgid, connection;
    /// `how`: as `ssh::context::bind_context` has it.
    7 context_bound(address: u64, connection: u64, how: u32) =>
        "cipher context {:x} is of connection {}, how: {:x}" address, connection, how;
    8 direction_unproven(context: u64, len: u32) =>
        "a packet of {} bytes is dropped, its direction is not proven: cipher context {:x}" len, context;
    9 owner_unknown(message: u32) => "message {} is dropped: whose connection it is of is not known" message;
}

#[cfg(feature = "log")]
mod with_log {
    use core::arch::asm;

    use aya_ebpf::{helpers::generated::bpf_ktime_get_boot_ns, macros::map, maps::Array};
    use sensor_common::program;

    const MESSAGES: u32 = 10;
    /// About so many: two CPUs may both take the last one.
    const PER_SECOND: u64 = 10;
    /// Nanoseconds to about seconds.
    const SECOND_SHIFT: u32 = 30;
    const COUNT_BITS: u32 = 8;

    /// By message: the last second in which it was sent and, in the lowest bits, how often.
    #[map]
    static LOG_WINDOWS: Array<u64> = Array::with_max_entries(MESSAGES, 0);

    #[inline(always)]
    pub(super) fn admits(message: u32) -> bool {
        let Some(window) = LOG_WINDOWS.get_ptr_mut(message) else { return false };
        // SAFETY: no arguments; a live value of the map, whose only word is read and written whole.
        unsafe {
            let second = bpf_ktime_get_boot_ns() >> SECOND_SHIFT;
            let before = window.read_volatile();
            let count = if before >> COUNT_BITS == second { before & ((1 << COUNT_BITS) - 1) } else { 0 };
            if count >= PER_SECOND {
                return false;
            }
            window.write_volatile(second << COUNT_BITS | (count + 1));
        }
        true
    }

    const NAME_BYTES: usize = 16;
    const ROWS: usize = 16;

    /// `program::NAMES`, each as long as the next: the verifier wants a length that it knows.
    static NAMES: [[u8; NAME_BYTES]; ROWS] = {
        let mut padded = [[b' '; NAME_BYTES]; ROWS];
        let mut row = 0;
        while row < program::NAMES.len() {
            let name = program::NAMES[row].as_bytes();
            let mut at = 0;
            while at < name.len() {
                padded[row][at] = name[at];
                at += 1;
            }
            row += 1;
        }
        padded
    };

    #[inline(always)]
    pub(super) fn name(row: u32) -> &'static str {
        let mut at = row as usize;
        // SAFETY: `at` is below ROWS afterwards, in a form that the verifier follows and LLVM does not remove; names of
        // programs are ASCII.
        unsafe {
            asm!("{at} &= {mask}", at = inout(reg) at, mask = const ROWS - 1);
            core::str::from_utf8_unchecked(&*(&raw const NAMES).cast::<[u8; NAME_BYTES]>().add(at))
        }
    }
}
