//! x86-64: `call rel32` to a stub, or `call *slot(%rip)`; then `test`/`cmp` and a conditional jump.

use std::collections::HashSet;

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use super::{
    disassembly::instructions,
    elf::{Image, Text},
    single::{self, Call},
    site::{AAD, Care, Convention, JUMP_WITHIN, NotCovered, POLY_KEY, SITES_MAX, Site, SiteRole},
    values::{Values, last_write, writes},
};
use crate::host::content::Piece;

/// Instructions before a call in which its operands are looked for.
const OPERANDS_WITHIN: usize = 12;
/// `e8 rel32`
const CALL_BYTES: usize = 5;

pub(super) fn find(image: &Image<'_>, symbol: &str, care: Care) -> Result<Vec<Site>, NotCovered> {
    let stubs = stubs(image);
    let mut found = Vec::new();
    for (n, text) in image.texts.iter().enumerate() {
        let mut recent: Vec<Instruction> = Vec::with_capacity(OPERANDS_WITHIN + 1);
        let mut met = HashSet::new();
        for instruction in instructions(text, text.address) {
            if let Some(emulated) = calls(&instruction, image, &stubs) {
                met.insert(instruction.ip());
                match site(text, &instruction, &recent, emulated, care) {
                    Ok(_) if found.len() >= SITES_MAX => return Err(NotCovered::NoCall { symbol: symbol.into() }),
                    Ok(site) => {
                        let arguments = Values::of(&recent);
                        found.push(Call { site, ip: instruction.ip(), text: n, arguments });
                    }
                    Err(error) if care == Care::Whole => return Err(error),
                    Err(_) => {}
                }
            } else if care == Care::Whole
                && let Some(refused) = refusal(&instruction, image, &stubs, symbol)
            {
                return Err(refused);
            }
            if recent.len() == OPERANDS_WITHIN {
                recent.remove(0);
            }
            recent.push(instruction);
        }
        by_bytes(text, &stubs, &met).map_err(|at| NotCovered::Ambiguous { at })?;
    }
    if care == Care::Whole {
        single::simplify(image, &mut found);
    }
    Ok(found.into_iter().map(|call| call.site).collect())
}

/// Addresses at which a stub can be entered: its jump, and a landing pad or `bnd` before it.
fn stubs(image: &Image<'_>) -> HashSet<u64> {
    let mut stubs = HashSet::new();
    for text in &image.texts {
        let mut landing = None;
        for instruction in instructions(text, text.address) {
            if instruction.mnemonic() == Mnemonic::Jmp && through_slot(&instruction, image) {
                stubs.insert(instruction.ip());
                stubs.extend(landing.filter(|pad: &Instruction| pad.next_ip() == instruction.ip()).map(|pad| pad.ip()));
            }
            landing = (instruction.mnemonic() == Mnemonic::Endbr64).then_some(instruction);
        }
    }
    stubs
}

pub(super) fn through_slot(instruction: &Instruction, image: &Image<'_>) -> bool {
    instruction.op0_kind() == OpKind::Memory
        && instruction.is_ip_rel_memory_operand()
        && image.slots.contains(&instruction.ip_rel_memory_address())
}

/// Does it call the function, and is it the kind of call that the kernel emulates?
fn calls(instruction: &Instruction, image: &Image<'_>, stubs: &HashSet<u64>) -> Option<bool> {
    match instruction.code() {
        Code::Call_rel32_64 if stubs.contains(&instruction.near_branch_target()) => Some(true),
        Code::Call_rm64 if through_slot(instruction, image) => Some(false),
        _ => None,
    }
}

/// Uses of the function that are no calls: the sites would not be all.
fn refusal(instruction: &Instruction, image: &Image<'_>, stubs: &HashSet<u64>, symbol: &str) -> Option<NotCovered> {
    let at = instruction.ip();
    let to_stub = instruction.op0_kind() == OpKind::NearBranch64 && stubs.contains(&instruction.near_branch_target());
    if to_stub && instruction.mnemonic() != Mnemonic::Call {
        return Some(NotCovered::TailCall { symbol: symbol.into(), at });
    }
    if !instruction.is_ip_rel_memory_operand() || stubs.contains(&at) {
        return None;
    }
    let address = instruction.ip_rel_memory_address();
    let loads_slot = instruction.mnemonic() == Mnemonic::Mov && image.slots.contains(&address);
    let names_stub = instruction.mnemonic() == Mnemonic::Lea && stubs.contains(&address);
    // A stub's jump is a use, and has its own place in `stubs`.
    (loads_slot || names_stub).then(|| NotCovered::AddressTaken { symbol: symbol.into(), at })
}

pub(super) fn site(
    text: &Text<'_>,
    call: &Instruction,
    recent: &[Instruction],
    emulated: bool,
    care: Care,
) -> Result<Site, NotCovered> {
    let at = call.ip();
    let missing = NotCovered::NoJump { at };
    let mut info = InstructionInfoFactory::new();
    let mut result_intact = true;
    for instruction in instructions(text, call.next_ip()).take(JUMP_WITHIN) {
        match instruction.flow_control() {
            flow if ends(flow, care) => {
                let (Some(call), Some(jump)) = (text.file_offset(at), text.file_offset(instruction.ip())) else {
                    break;
                };
                let convention = Convention::Cipher;
                return Ok(Site { call, jump, role: role(recent), convention, result_intact, emulated, single: None });
            }
            FlowControl::Next => {}
            // A function that keeps errno, between the call and the one that takes the interpreter's lock again.
            FlowControl::IndirectCall if care == Care::Calls => {}
            _ => break,
        }
        result_intact &= !writes(&mut info, &instruction, Register::RAX);
    }
    Err(missing)
}

/// What an operand is known to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    Unknown,
    Constant(u64),
    Register(Register),
}

const NULL: Operand = Operand::Constant(0);

/// `EVP_Cipher(ctx: rdi, out: rsi, in: rdx, inl: ecx)`.
fn role(recent: &[Instruction]) -> SiteRole {
    let (out, input, len) =
        (operand(recent, Register::RSI), operand(recent, Register::RDX), operand(recent, Register::RCX));
    match (out, input, len) {
        (NULL, NULL, NULL) => SiteRole::Other("final"),
        (NULL, _, _) => SiteRole::Other(AAD),
        (Operand::Register(out), Operand::Register(input), Operand::Constant(32)) if out == input => {
            SiteRole::Other(POLY_KEY)
        }
        // The same, if the one is a copy of the other.
        (Operand::Register(Register::RDX), _, Operand::Constant(32)) => SiteRole::Other(POLY_KEY),
        // chacha20's header is passed with a length in a variable; a constant 4 is the peek at an incoming length.
        (_, _, Operand::Constant(4)) => SiteRole::Other("length"),
        _ => SiteRole::Body,
    }
}

/// The last thing written to a register in the straight line before a call.
fn operand(recent: &[Instruction], register: Register) -> Operand {
    let mut info = InstructionInfoFactory::new();
    // Nothing is known where somebody may come from elsewhere, or another call has changed it.
    let last = last_write(&mut info, recent, recent.len(), register);
    let Some((at, instruction)) = last.and_then(|at| Some((at, recent.get(at)?))) else { return Operand::Unknown };
    let same = |n| instruction.op_kind(n) == OpKind::Register && instruction.op_register(n).full_register() == register;
    match instruction.mnemonic() {
        Mnemonic::Xor if same(0) && same(1) => Operand::Constant(0),
        Mnemonic::Mov if same(0) => match instruction.op1_kind() {
            OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64 => {
                Operand::Constant(instruction.immediate(1))
            }
            OpKind::Register => {
                let from = instruction.op1_register().full_register();
                // It must still be what it was when the call comes.
                let later = recent.get(at + 1..).unwrap_or_default();
                let kept = !later.iter().any(|instruction| writes(&mut info, instruction, from));
                if kept { Operand::Register(from) } else { Operand::Unknown }
            }
            _ => Operand::Unknown,
        },
        _ => Operand::Unknown,
    }
}

/// Is this the branch at which what the call has done is looked at? The kernel emulates each of them.
fn ends(flow: FlowControl, care: Care) -> bool {
    match flow {
        FlowControl::ConditionalBranch => true,
        FlowControl::Call | FlowControl::UnconditionalBranch => care == Care::Calls,
        _ => false,
    }
}

/// Is there, wherever it begins, what could be a call of a stub, and was not met? Its address.
fn by_bytes(text: &Text<'_>, stubs: &HashSet<u64>, met: &HashSet<u64>) -> Result<(), u64> {
    text.pieces(CALL_BYTES, |Piece { at: start, bytes, own }| {
        for at in memchr::memchr_iter(0xe8, bytes.get(..*own).unwrap_or(bytes)) {
            let Some([_, a, b, c, d]) = bytes.get(at..at + CALL_BYTES) else { break };
            let address = text.address.wrapping_add(start + at as u64);
            let distance = i64::from(i32::from_le_bytes([*a, *b, *c, *d]));
            let target = address.wrapping_add(CALL_BYTES as u64).wrapping_add_signed(distance);
            if stubs.contains(&target) && !met.contains(&address) {
                return Err(address);
            }
        }
        Ok(())
    })
}
