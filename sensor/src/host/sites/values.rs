//! x86-64: what the arguments of a call are, by the instructions before it, in terms of registers that the call
//! keeps.
//!
//! What enters: the instructions in a straight line before a call. What leaves: `Values`, each of them known or not. Of
//! what is in memory only the context is taken, if nothing is written to memory after it was read; a step that is not
//! among the few that compilers make here means that a value is not known.

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use sensor_common::kept::{Arguments, CalleeSavedReg, Operand};

/// `EVP_Cipher(ctx: rdi, out: rsi, in: rdx, inl: ecx)`
pub(super) struct Values {
    pub(super) context: Option<Value>,
    out: Option<Value>,
    input: Option<Value>,
    len: Option<Value>,
    /// Address of the first instruction in a straight line before the call.
    pub(super) first: u64,
}

/// The sum of registers that calls keep, or what is in memory there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    base: Source,
    index: Option<Source>,
    displacement: i64,
    load: bool,
}

/// A register that calls keep, or its lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    register: Register,
    narrow: bool,
}

impl Values {
    pub(super) fn of(recent: &[Instruction]) -> Self {
        let value = |register| value(recent, register);
        Self {
            context: value(Register::RDI),
            out: value(Register::RSI),
            input: value(Register::RDX),
            len: value(Register::RCX),
            first: first(recent),
        }
    }

    /// Does this call write what lies right before the output of another one? Then the registers that say so.
    pub(super) fn precedes(&self, other: &Self) -> Option<[Register; 2]> {
        let (out, len, behind) = (self.out?, self.len?, other.out?);
        let direct = [out, len, behind].iter().all(Value::is_direct) && out.index.is_none() && len.index.is_none();
        let follows = (behind.base, behind.displacement) == (out.base, out.displacement)
            && behind.index.is_some_and(|index| index.register == len.base.register);
        (direct && follows).then_some([out.base.register, len.base.register])
    }
}

fn first(recent: &[Instruction]) -> u64 {
    let straight = recent.iter().rev().take_while(|instruction| instruction.flow_control() == FlowControl::Next);
    straight.last().map_or(u64::MAX, Instruction::ip)
}

fn kept(register: Register) -> Option<CalleeSavedReg> {
    Some(match register {
        Register::RBX => CalleeSavedReg::Rbx,
        Register::RBP => CalleeSavedReg::Rbp,
        Register::RSP => CalleeSavedReg::Rsp,
        Register::R12 => CalleeSavedReg::R12,
        Register::R13 => CalleeSavedReg::R13,
        Register::R14 => CalleeSavedReg::R14,
        Register::R15 => CalleeSavedReg::R15,
        _ => return None,
    })
}

/// Does it change the register?
pub(super) fn writes(info: &mut InstructionInfoFactory, instruction: &Instruction, register: Register) -> bool {
    info.info(instruction).used_registers().iter().any(|used| {
        used.register().full_register() == register && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
    })
}

pub(super) fn writes_memory(info: &mut InstructionInfoFactory, instruction: &Instruction) -> bool {
    let accesses = |access| !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
    info.info(instruction).used_memory().iter().any(|used| accesses(used.access()))
}

/// The last instruction before `end` that writes a register, in a straight line.
pub(super) fn last_write(
    info: &mut InstructionInfoFactory,
    recent: &[Instruction],
    end: usize,
    register: Register,
) -> Option<usize> {
    for (at, instruction) in recent.iter().enumerate().take(end).rev() {
        if instruction.flow_control() != FlowControl::Next {
            return None;
        }
        if writes(info, instruction, register) {
            return Some(at);
        }
    }
    None
}

/// What a register has at the end of `recent`, in terms of registers that still have the same there.
fn value(recent: &[Instruction], register: Register) -> Option<Value> {
    let mut info = InstructionInfoFactory::new();
    let at = last_write(&mut info, recent, recent.len(), register)?;
    let instruction = recent.get(at)?;
    let mut source = |register| source(&mut info, recent, at, register);
    let has_memory = || {
        instruction.op1_kind() == OpKind::Memory
            && instruction.segment_prefix() == Register::None
            && instruction.memory_base().is_gpr64()
    };
    let displacement = instruction.memory_displacement64().cast_signed();
    match instruction.mnemonic() {
        Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
            let base = source(instruction.op1_register())?;
            Some(Value { base, index: None, displacement: 0, load: false })
        }
        Mnemonic::Mov if has_memory() && instruction.memory_index() == Register::None => {
            let base = source(instruction.memory_base())?;
            let later = recent.get(at..)?;
            let changed = later.iter().any(|instruction| writes_memory(&mut info, instruction));
            (!changed && instruction.op0_register().is_gpr64()).then_some(Value {
                base,
                index: None,
                displacement,
                load: true,
            })
        }
        Mnemonic::Lea if has_memory() && instruction.op0_register().is_gpr64() => {
            let base = source(instruction.memory_base())?;
            if instruction.memory_index() == Register::None {
                return Some(Value { base, index: None, displacement, load: false });
            }
            if instruction.memory_index_scale() != 1 {
                return None;
            }
            let index = source(instruction.memory_index())?;
            // Which of them is the base is the compiler's choice.
            let (base, index) = if base.narrow { (index, base) } else { (base, index) };
            Some(Value { base, index: Some(index), displacement, load: false })
        }
        _ => None,
    }
}

/// A register that calls keep and that has, from `at` to the end, what this one has at `at`.
fn source(info: &mut InstructionInfoFactory, recent: &[Instruction], at: usize, register: Register) -> Option<Source> {
    let full = register.full_register();
    let narrow = match register.size() {
        8 => false,
        4 => true,
        _ => return None,
    };
    let mut stays = |register, from: usize| {
        !recent.get(from + 1..).unwrap_or_default().iter().any(|instruction| writes(info, instruction, register))
    };
    if kept(full).is_some() {
        return stays(full, at).then_some(Source { register: full, narrow });
    }
    // One step further back: `mov r8d, r12d` before `lea rsi, [r13 + r8]`.
    let from = last_write(&mut InstructionInfoFactory::new(), recent, at, full)?;
    let copy = recent.get(from)?;
    if copy.mnemonic() != Mnemonic::Mov || copy.op1_kind() != OpKind::Register {
        return None;
    }
    let origin = copy.op1_register().full_register();
    let narrow = match copy.op1_register().size() {
        8 => narrow,
        4 => true,
        _ => return None,
    };
    (kept(origin).is_some() && stays(origin, from)).then_some(Source { register: origin, narrow })
}

impl Value {
    /// As the probe reads it.
    pub(super) fn operand(self) -> Option<Operand> {
        if self.base.narrow {
            return None;
        }
        Some(Operand {
            base: Some(kept(self.base.register)?),
            index: match self.index {
                Some(index) => Some(kept(index.register)?),
                None => None,
            },
            narrow: self.index.is_some_and(|index| index.narrow),
            displacement: i8::try_from(self.displacement).ok()?,
            load: self.load,
        })
    }

    pub(super) fn registers(self) -> impl Iterator<Item = Register> {
        [Some(self.base), self.index].into_iter().flatten().map(|source| source.register)
    }

    /// The value itself, and not what is in memory.
    fn is_direct(&self) -> bool {
        !self.load
    }
}

/// Out, in and length of a call, from registers alone.
pub(super) struct Buffers {
    out: Value,
    input: Value,
    len: Value,
}

impl Buffers {
    pub(super) fn of(values: &Values) -> Option<Self> {
        let direct = |value: Option<Value>| value.filter(Value::is_direct);
        let found = Self { out: direct(values.out)?, input: direct(values.input)?, len: direct(values.len)? };
        // In place: nothing would be left of what was encrypted.
        (found.out != found.input).then_some(found)
    }

    pub(super) fn arguments(&self, context: Operand) -> Option<Arguments> {
        // Of a length the lower half counts anyway.
        let len = Value { base: Source { narrow: false, ..self.len.base }, ..self.len };
        Some(Arguments { context, out: self.out.operand()?, input: self.input.operand()?, len: len.operand()? })
    }

    pub(super) fn registers(&self) -> Vec<Register> {
        self.out.registers().chain(self.input.registers()).chain(self.len.registers()).collect()
    }
}
