//! The arguments of a call of `EVP_Cipher` that has returned, from where the program's text shows that they still are
//! (`sensor_common::kept`, in the probe's cookie). A cookie needs Linux 5.15; before it the loader takes two probes
//! instead.

#[cfg(not(bpf_target_arch = "x86_64"))]
use aya_ebpf::programs::ProbeContext;

/// A call's arguments. `cipher`: 0 where the place has none; then the length before the packet proves its direction.
pub struct Call {
    pub cipher: u64,
    pub out: u64,
    pub input: u64,
    pub len: u32,
}

/// None: the call failed, and there is nothing to read.
#[cfg(bpf_target_arch = "x86_64")]
pub use x86::call;

/// Elsewhere the loader finds no such place.
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub fn call(_: &ProbeContext) -> Option<Call> {
    None
}

#[cfg(bpf_target_arch = "x86_64")]
mod x86 {
    use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_get_attach_cookie, programs::ProbeContext};
    use sensor_common::kept::{Arguments, CalleeSavedReg, Operand};

    use crate::ssh::{
        kept::Call,
        memory::{is_user, read},
    };

    #[inline(always)]
    pub fn call(context: &ProbeContext) -> Option<Call> {
        let registers = Registers::of(context);
        // OpenSSL's result, and that of OpenSSH's own functions: below 0 it has failed.
        if (registers.rax as i32) < 0 {
            return None;
        }
        // SAFETY: the context of this program.
        let arguments = Arguments::unpack(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
        Some(Call {
            cipher: registers.value(arguments.context),
            out: registers.value(arguments.out),
            input: registers.value(arguments.input),
            len: registers.value(arguments.len) as u32,
        })
    }

    struct Registers {
        rax: u64,
        rbx: u64,
        rbp: u64,
        rsp: u64,
        r12: u64,
        r13: u64,
        r14: u64,
        r15: u64,
    }

    impl Registers {
        /// All of them at once, each by a read of its own: one read through a chosen pointer is what LLVM would make of
        /// it, and the verifier refuses.
        #[inline(always)]
        fn of(context: &ProbeContext) -> Self {
            let from = context.regs;
            // SAFETY: the context of a uprobe's program is its pt_regs.
            unsafe {
                Self {
                    rax: (&raw const (*from).rax).read_volatile(),
                    rbx: (&raw const (*from).rbx).read_volatile(),
                    rbp: (&raw const (*from).rbp).read_volatile(),
                    rsp: (&raw const (*from).rsp).read_volatile(),
                    r12: (&raw const (*from).r12).read_volatile(),
                    r13: (&raw const (*from).r13).read_volatile(),
                    r14: (&raw const (*from).r14).read_volatile(),
                    r15: (&raw const (*from).r15).read_volatile(),
                }
            }
        }

        #[inline(always)]
        fn register(&self, register: Option<CalleeSavedReg>) -> u64 {
            match register {
                None => 0,
                Some(CalleeSavedReg::Rbx) => self.rbx,
                Some(CalleeSavedReg::Rbp) => self.rbp,
                Some(CalleeSavedReg::Rsp) => self.rsp,
                Some(CalleeSavedReg::R12) => self.r12,
                Some(CalleeSavedReg::R13) => self.r13,
                Some(CalleeSavedReg::R14) => self.r14,
                Some(CalleeSavedReg::R15) => self.r15,
            }
        }

        #[inline(always)]
        fn value(&self, operand: Operand) -> u64 {
            let index = self.register(operand.index);
            let index = if operand.narrow { index as u32 as u64 } else { index };
            let value =
                self.register(operand.base).wrapping_add(index).wrapping_add_signed(operand.displacement as i64);
            if !operand.load {
                return value;
            }
            if is_user(value) { read(value).0 } else { 0 }
        }
    }
}
