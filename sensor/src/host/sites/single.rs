//! x86-64: where one probe after a call does for the call itself, because what the arguments were is still in registers
//! that a call keeps.
//!
//! What enters: the calls of the cipher function in a program, with their arguments as far as they are known
//! (`values`). What leaves: `Single` for those that can do with one probe, and the role `HEADER` for a call that passes
//! only the four bytes before a packet. What the instructions do not show is not taken for true, but for one thing:
//! that a caller passes on what it has (below) is not looked at; if it did not, the packet's length would not lie
//! before it, and it would be dropped and counted. No place can break a program: it is a branch, as every other.
//!
//! Compilers make two forms of it. `cipher_crypt` of OpenSSH has all arguments in such registers around its own call.
//! `chachapoly_crypt`, which it calls for chacha20-poly1305, gives one up before its second call (GCC 12 and 14); but
//! its caller still has them, so the place is after the call in the caller.

use std::collections::{HashMap, HashSet};

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpKind, Register};
use sensor_common::kept::Operand;

use super::{
    disassembly::instructions,
    elf::{Image, Text},
    site::{HEADER, JUMP_WITHIN, POLY_KEY, Single, Site, SiteRole},
    values::{Buffers, Value, Values, writes, writes_memory},
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
    (start >= text.address).then(|| (start, end.min(text.end())))
}

/// Instructions of a function that is looked at: `cipher_crypt` has 200.
const FUNCTION_MAX: usize = 1024;

fn body(text: &Text<'_>, (start, end): (u64, u64)) -> Vec<Instruction> {
    instructions(text, start).take_while(|instruction| instruction.ip() < end).take(FUNCTION_MAX + 1).collect()
}

/// Does the function jump behind the first of these instructions, up to the one at the end? Then not all that passes
/// there has come the straight way.
fn is_joined(text: &Text<'_>, function: (u64, u64), straight: std::ops::Range<u64>) -> bool {
    let body = body(text, function);
    body.len() > FUNCTION_MAX
        || body.iter().any(|instruction| {
            let jumps =
                matches!(instruction.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
            let target = instruction.near_branch_target();
            jumps && straight.start < target && target <= straight.end
        })
}

/// Do these registers have, whenever a function comes to `place`, what they were given before its first branch or call?
fn are_stable(text: &Text<'_>, function: (u64, u64), registers: &[Register], place: u64) -> bool {
    let body = body(text, function);
    let leaves = |target: u64| !(function.0..function.1).contains(&target);
    let Some(first) = body.iter().position(|instruction| instruction.flow_control() != FlowControl::Next) else {
        return false;
    };
    if body.len() > FUNCTION_MAX {
        return false;
    }
    let mut info = InstructionInfoFactory::new();
    // What is not likely may be elsewhere, and come back.
    let split = |instruction: &Instruction| {
        instruction.flow_control() == FlowControl::ConditionalBranch && leaves(instruction.near_branch_target())
    };
    if body.iter().any(split) {
        return false;
    }
    // Whatever changes one of them must not lead to the place. (What a function's end restores leads to its return.)
    let mut next: Vec<u64> = body
        .iter()
        .skip(first)
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
            // A table of jumps leads to no one knows where. (A jump out of the function is its end.)
            FlowControl::IndirectBranch => return false,
            _ => next.push(instruction.next_ip()),
        }
    }
    true
}

/// The branch after a call, if none of these registers nor the result is changed before it.
fn branch_after(text: &Text<'_>, call: u64, registers: &[Register]) -> Option<Instruction> {
    let mut info = InstructionInfoFactory::new();
    for instruction in instructions(text, call).skip(1).take(JUMP_WITHIN) {
        match instruction.flow_control() {
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => return Some(instruction),
            FlowControl::Next => {}
            _ => return None,
        }
        let changed =
            registers.iter().chain([&Register::RAX]).any(|register| writes(&mut info, &instruction, *register));
        if changed || writes_memory(&mut info, &instruction) {
            return None;
        }
    }
    None
}

/// Finds what can do with one probe.
pub(super) fn simplify(image: &Image<'_>, calls: &mut [Call]) {
    spare_headers(image, calls);
    let own: Vec<Option<Single>> = calls.iter().map(|call| at_its_own_branch(image, calls, call)).collect();
    let inner: Vec<Option<u64>> = calls.iter().map(|call| encrypting(image, calls, call)).collect();
    let callers = only_callers(image, &inner.iter().flatten().copied().collect());
    let caller = |inner: &Option<u64>| at_its_caller(image, calls, (*inner)?, &callers);
    let callers: Vec<Option<Single>> = inner.iter().map(caller).collect();
    for ((call, own), caller) in calls.iter_mut().zip(own).zip(callers) {
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
    let context = match call.arguments.context.and_then(Value::operand) {
        Some(context) => context,
        // chacha20-poly1305 does without.
        None => within(calls, call.text, function).any(is_poly_key).then(Operand::default)?,
    };
    let text = image.texts.get(call.text)?;
    let of_context = call.arguments.context.into_iter().flat_map(Value::registers);
    let registers: Vec<Register> = buffers.registers().into_iter().chain(of_context).collect();
    let branch = branch_after(text, call.ip, &registers)?;
    if is_joined(text, function, call.arguments.first..branch.ip()) {
        return None;
    }
    Some(Single { at: text.file_offset(branch.ip())?, arguments: buffers.arguments(context)? })
}

/// Where the function of a body call begins, if it encrypts with chacha20-poly1305 and has no other.
fn encrypting(image: &Image<'_>, calls: &[Call], call: &Call) -> Option<u64> {
    let inner = function(image, call.text, call.ip).filter(|_| is_body(call))?;
    let mut siblings = within(calls, call.text, inner);
    let alone = siblings.clone().filter(|call| is_body(call)).count() == 1;
    (alone && siblings.any(is_poly_key)).then_some(inner.0)
}

/// For such a function that is called once: by one that has the same arguments for a cipher call of its own.
fn at_its_caller(
    image: &Image<'_>,
    calls: &[Call],
    inner: u64,
    callers: &HashMap<u64, (usize, u64)>,
) -> Option<Single> {
    let (text_number, caller) = *callers.get(&inner)?;
    let text = image.texts.get(text_number)?;
    let outer = function(image, text_number, caller)?;
    let peer = within(calls, text_number, outer).find(|peer| is_body(peer))?;
    let buffers = Buffers::of(&peer.arguments)?;
    let registers = buffers.registers();
    let branch = branch_after(text, caller, &registers)?;
    // The peer's own call shows which register has what.
    let stable = |place: &u64| are_stable(text, outer, &registers, *place);
    if outer.0 == inner
        || ![peer.ip, branch.ip()].iter().all(stable)
        || is_joined(text, outer, peer.arguments.first..peer.ip)
        || is_joined(text, outer, caller..branch.ip())
    {
        return None;
    }
    Some(Single { at: text.file_offset(branch.ip())?, arguments: buffers.arguments(Operand::default())? })
}

/// Of these functions those that one direct call leads to, with its text and address, and nothing else: a function
/// whose address is taken, or that is jumped to, may be called from elsewhere.
fn only_callers(image: &Image<'_>, functions: &HashSet<u64>) -> HashMap<u64, (usize, u64)> {
    let (mut callers, mut others) = (HashMap::new(), HashSet::new());
    if functions.is_empty() {
        return callers;
    }
    for (n, text) in image.texts.iter().enumerate() {
        for instruction in instructions(text, text.address) {
            let target = if instruction.is_ip_rel_memory_operand() {
                instruction.ip_rel_memory_address()
            } else if instruction.op0_kind() == OpKind::NearBranch64 {
                instruction.near_branch_target()
            } else {
                continue;
            };
            if !functions.contains(&target) {
                continue;
            }
            let is_call = instruction.code() == Code::Call_rel32_64;
            if !is_call || callers.insert(target, (n, instruction.ip())).is_some() {
                others.insert(target);
            }
        }
    }
    callers.retain(|function, _| !others.contains(function));
    callers
}
