//! x86-64: where one probe after a call does for the call itself, because what the arguments were is still in registers that a call keeps.
//!
//! What enters: the calls of the cipher function in a program, with their arguments as far as they are known (`values`). What leaves: `Single` for those that can do with one
//! probe, and the role `HEADER` for a call that passes only the four bytes before a packet. All of it is shown from the instructions or not told: a wrong place is none that could
//! break a program (it is a branch, as every other), and a wrong argument reads memory that is no packet, whose direction cannot be proven.
//!
//! Compilers make two forms of it. `cipher_crypt` of OpenSSH has all arguments in such registers around its own call. `chachapoly_crypt`, which it calls for
//! chacha20-poly1305, gives one up before its second call (GCC 12 and 14); but whoever has called it still has them, so the place is after that one.

use std::collections::HashSet;

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};
use sensor_common::kept::Operand;

use super::{
    HEADER, JUMP_WITHIN, POLY_KEY, Single, Site, SiteRole,
    elf::{Image, Text},
    values::{Buffers, Value, Values, writes},
    x86::instructions,
};

/// A call of the cipher function: its address, in which text, and its arguments where they are known.
pub(super) struct Call {
    pub(super) site: Site,
    pub(super) ip: u64,
    pub(super) text: usize,
    pub(super) arguments: Values,
}

/// Beginning and end of the function that holds an address.
fn function(image: &Image<'_>, text: usize, ip: u64) -> Option<(u64, u64)> {
    let text = image.texts.get(text)?;
    let next = image.functions.partition_point(|start| *start <= ip);
    let start = *image.functions.get(next.checked_sub(1)?)?;
    let end = image.functions.get(next).copied().unwrap_or(u64::MAX);
    (start >= text.address).then(|| (start, end.min(text.address.saturating_add(text.data.len() as u64))))
}

/// The only call of a function, among direct calls (from, to).
fn only_caller(called: &[(u64, u64)], function: u64) -> Option<u64> {
    let mut callers = called.iter().filter(|(_, target)| *target == function).map(|(ip, _)| *ip);
    callers.next().filter(|_| callers.next().is_none())
}

/// Instructions of a function that is looked at: `cipher_crypt` has 200.
const FUNCTION_MAX: usize = 4096;

/// Do these registers have, whenever a function comes to `place`, what they were given before its first branch or call? What its end restores does not count.
fn are_stable(text: &Text<'_>, (start, end): (u64, u64), registers: &[Register], place: u64) -> bool {
    let from = start.wrapping_sub(text.address) as usize;
    let body: Vec<Instruction> =
        instructions(text, from).take_while(|instruction| instruction.ip() < end).take(FUNCTION_MAX + 1).collect();
    let Some(first) = body.iter().position(|instruction| instruction.flow_control() != FlowControl::Next) else {
        return false;
    };
    if body.len() > FUNCTION_MAX {
        return false;
    }
    let mut info = InstructionInfoFactory::new();
    // Whatever changes one of them must not lead to the place.
    let mut next: Vec<u64> = body
        .iter()
        .skip(first)
        .filter(|instruction| instruction.mnemonic() != Mnemonic::Pop)
        .filter(|instruction| registers.iter().any(|register| writes(&mut info, instruction, *register)))
        .map(Instruction::next_ip)
        .collect();
    let mut reached = HashSet::new();
    while let Some(ip) = next.pop() {
        if ip == place {
            return false;
        }
        let Ok(at) = body.binary_search_by_key(&ip, Instruction::ip) else { continue };
        let Some(instruction) = body.get(at).filter(|_| reached.insert(ip)) else { continue };
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch => next.push(instruction.near_branch_target()),
            FlowControl::ConditionalBranch => next.extend([instruction.near_branch_target(), instruction.next_ip()]),
            FlowControl::Return | FlowControl::Exception => {}
            // A table of jumps leads to no one knows where.
            FlowControl::IndirectBranch => return false,
            _ => next.push(instruction.next_ip()),
        }
    }
    true
}

/// The branch after a call, if none of these registers nor the result is changed before it.
fn branch_after(text: &Text<'_>, call: u64, registers: &[Register]) -> Option<Instruction> {
    let mut info = InstructionInfoFactory::new();
    let from = call.wrapping_sub(text.address) as usize;
    for instruction in instructions(text, from).skip(1).take(JUMP_WITHIN) {
        match instruction.flow_control() {
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => return Some(instruction),
            FlowControl::Next => {}
            _ => return None,
        }
        if registers.iter().chain([&Register::RAX]).any(|register| writes(&mut info, &instruction, *register)) {
            return None;
        }
    }
    None
}

/// Finds what can do with one probe. `called`: every direct call in the program (from, to).
pub(super) fn simplify(image: &Image<'_>, called: &[(u64, u64)], calls: &mut [Call]) {
    spare_headers(image, calls);
    let own: Vec<Option<Single>> = calls.iter().map(|call| at_its_own_branch(image, calls, call)).collect();
    let callers: Vec<_> = calls.iter().map(|call| at_its_caller(image, called, calls, call)).collect();
    let named = named(image, &callers.iter().flatten().map(|(function, _)| *function).collect());
    for ((call, own), caller) in calls.iter_mut().zip(own).zip(callers) {
        let caller = caller.filter(|(function, _)| !named.contains(function)).map(|(_, single)| single);
        call.site.single = own.or(caller);
    }
}

fn is_body(call: &Call) -> bool {
    call.site.role == SiteRole::Body
}

fn is_poly_key(call: &Call) -> bool {
    call.site.role == SiteRole::Other(POLY_KEY)
}

/// Calls between two addresses of a text.
fn within(calls: &[Call], text: usize, (start, end): (u64, u64)) -> impl Iterator<Item = &Call> + Clone {
    calls.iter().filter(move |call| call.text == text && (start..end).contains(&call.ip))
}

/// What such a call passes is the length before a packet: another one of its function writes right behind it.
fn spare_headers(image: &Image<'_>, calls: &mut [Call]) {
    let is_header = |header: &Call| {
        let (Some(function), Some(text)) =
            (function(image, header.text, header.ip), image.texts.get(header.text).filter(|_| is_body(header)))
        else {
            return false;
        };
        within(calls, header.text, function).filter(|body| is_body(body)).any(|body| {
            let registers = header.arguments.precedes(&body.arguments);
            registers.is_some_and(|registers| are_stable(text, function, &registers, body.ip))
        })
    };
    let headers: Vec<bool> = calls.iter().map(is_header).collect();
    for (call, is_header) in calls.iter_mut().zip(headers) {
        if is_header {
            call.site.role = SiteRole::Other(HEADER);
        }
    }
}

fn at_its_own_branch(image: &Image<'_>, calls: &[Call], call: &Call) -> Option<Single> {
    if !is_body(call) {
        return None;
    }
    let buffers = Buffers::of(&call.arguments)?;
    let function = function(image, call.text, call.ip)?;
    let context = if within(calls, call.text, function).any(is_poly_key) {
        Operand::default()
    } else {
        call.arguments.context?.operand()?
    };
    let text = image.texts.get(call.text)?;
    let of_context = call.arguments.context.into_iter().flat_map(Value::registers);
    let registers: Vec<Register> = buffers.registers().into_iter().chain(of_context).collect();
    let branch = branch_after(text, call.ip, &registers)?;
    Some(Single { at: text.file_offset(branch.ip())?, arguments: buffers.arguments(context)? })
}

/// For the body call of a function that encrypts with chacha20-poly1305 and is called once: by a function that has the same arguments for a cipher call of its own. With it
/// the function, which must not be named elsewhere.
fn at_its_caller(image: &Image<'_>, called: &[(u64, u64)], calls: &[Call], call: &Call) -> Option<(u64, Single)> {
    let text = image.texts.get(call.text).filter(|_| is_body(call))?;
    let inner = function(image, call.text, call.ip)?;
    let mut siblings = within(calls, call.text, inner);
    if siblings.clone().filter(|call| is_body(call)).count() != 1 || !siblings.any(is_poly_key) {
        return None;
    }
    let caller = only_caller(called, inner.0)?;
    let outer = function(image, call.text, caller)?;
    let peer = within(calls, call.text, outer).find(|peer| is_body(peer))?;
    let buffers = Buffers::of(&peer.arguments)?;
    let registers = buffers.registers();
    let branch = branch_after(text, caller, &registers)?;
    // The peer's own call tells which register has what.
    if outer == inner || ![peer.ip, branch.ip()].iter().all(|place| are_stable(text, outer, &registers, *place)) {
        return None;
    }
    let arguments = buffers.arguments(Operand::default())?;
    Some((inner.0, Single { at: text.file_offset(branch.ip())?, arguments }))
}

/// Those functions whose address is taken, or jumped to: they may be called from elsewhere.
fn named(image: &Image<'_>, functions: &HashSet<u64>) -> HashSet<u64> {
    if functions.is_empty() {
        return HashSet::new();
    }
    let target = |instruction: Instruction| {
        if instruction.is_ip_rel_memory_operand() {
            return Some(instruction.ip_rel_memory_address());
        }
        let jumps = instruction.op0_kind() == OpKind::NearBranch64 && instruction.code() != Code::Call_rel32_64;
        jumps.then(|| instruction.near_branch_target())
    };
    let all = image.texts.iter().flat_map(|text| instructions(text, 0));
    all.filter_map(target).filter(|target| functions.contains(target)).collect()
}
