//! The same for a library that holds the cipher functions itself, as the wheels of Python's cryptography do: OpenSSL is
//! linked into them, and their symbol table still has its names.
//!
//! The functions are called by OpenSSL itself too, for TLS, key files and random numbers. What counts are the calls in
//! the glue of the language: functions that cffi made or that rustc compiled. They call directly, or through a slot of
//! the GOT that a relative relocation fills. A library of ten MiB must be done before the interpreter has imported it:
//! so only functions that hold the bytes of such a call are disassembled, each from its beginning. Without a symbol
//! table nothing is known.

use std::convert::Infallible;

use object::{Object as _, ObjectSymbol as _, RelocationFlags, RelocationTarget, SymbolKind, elf};

use super::{
    disassembly::instructions,
    elf::{Elf, Image, Text},
    site::{Care, Convention, NotCovered, SITES_MAX, Site},
    x86,
};
use crate::host::content::{Content, Piece};

/// Functions whose calls count, by the beginning of their names: cffi's wrappers, Rust's two manglings.
const GLUE: &[&str] = &["_cffi_f_", "_R", "_ZN"];
/// A symbol table has some ten thousand.
const SYMBOLS_MAX: usize = 1 << 20;
/// A function that is longer is not glue.
const FUNCTION_MAX: u64 = 64 << 10;
const RECENT: usize = 12;
/// `ff 15 rel32`
const CALL_BYTES_MAX: usize = 6;
/// cryptography's text has some hundred, most of them OpenSSL's own.
const CANDIDATES_MAX: usize = 1 << 16;

/// A function of the glue: its address and size.
struct Function {
    address: u64,
    size: u64,
}

pub(super) fn find(file: Content<'_>, symbols: &[&str]) -> Result<Vec<Site>, NotCovered> {
    let absent = || NotCovered::NoImport { symbol: symbols.first().copied().unwrap_or_default().into() };
    let elf = Elf::parse(file).map_err(|_| absent())?;
    let (mut targets, mut glue) = (Vec::new(), Vec::new());
    for symbol in elf.symbols().take(SYMBOLS_MAX).filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let Ok(name) = symbol.name() else { continue };
        if symbols.contains(&name) {
            targets.push(symbol.address());
        } else if symbol.size() <= FUNCTION_MAX && GLUE.iter().any(|start| name.starts_with(start)) {
            glue.push(Function { address: symbol.address(), size: symbol.size() });
        }
    }
    if targets.is_empty() {
        return Err(absent());
    }
    let slots = slots(&elf, &targets);
    let image = Image::of(&elf, slots)?;
    if image.machine != elf::EM_X86_64 {
        return Err(NotCovered::Machine { machine: image.machine });
    }
    glue.sort_by_key(|function| function.address);
    let mut sites: Vec<Site> = Vec::new();
    for text in &image.texts {
        for at in candidates(text, &targets, &image.slots) {
            if sites.len() > SITES_MAX {
                break;
            }
            let before = glue.partition_point(|function| function.address <= at);
            let Some(function) = before.checked_sub(1).and_then(|n| glue.get(n)) else { continue };
            if at - function.address < function.size {
                sites.extend(in_function(&image, text, function, at, &targets));
            }
        }
    }
    if sites.is_empty() || sites.len() > SITES_MAX {
        return Err(NotCovered::NoCall { symbol: symbols.first().copied().unwrap_or_default().into() });
    }
    Ok(sites)
}

/// Does it define this function for others?
pub(super) fn exports(file: Content<'_>, function: &str) -> bool {
    let Ok(elf) = Elf::parse(file) else { return false };
    elf.dynamic_symbols()
        .take(SYMBOLS_MAX)
        .any(|symbol| symbol.is_definition() && symbol.name().is_ok_and(|name| name == function))
}

/// Slots that a relative relocation fills with the address of a target.
fn slots(elf: &Elf<'_>, targets: &[u64]) -> Vec<u64> {
    let Some(relocations) = elf.dynamic_relocations() else { return Vec::new() };
    relocations
        .filter(|(_, relocation)| {
            matches!(relocation.flags(), RelocationFlags::Elf { r_type } if r_type == elf::R_X86_64_RELATIVE)
                && relocation.target() == RelocationTarget::Absolute
                && targets.contains(&relocation.addend().cast_unsigned())
        })
        .map(|(at, _)| at)
        .collect()
}

/// Addresses whose bytes could be a call of a target: `e8 rel32`, or `ff 15 rel32` through a slot.
fn candidates(text: &Text<'_>, targets: &[u64], slots: &[u64]) -> Vec<u64> {
    let mut found = Vec::new();
    let Ok(()) = text.pieces(CALL_BYTES_MAX, |Piece { at: start, bytes, own }| {
        let starts = bytes.get(..*own).unwrap_or(bytes);
        for at in memchr::memchr2_iter(0xe8, 0xff, starts) {
            let (skip, wanted) = match bytes.get(at..) {
                Some([0xe8, ..]) => (1, targets),
                Some([0xff, 0x15, ..]) => (2, slots),
                _ => continue,
            };
            let Some(distance) = bytes.get(at + skip..).and_then(|bytes| bytes.first_chunk().copied()) else { break };
            let address = text.address.wrapping_add(start + at as u64);
            let next = address.wrapping_add(skip as u64 + 4);
            let target = next.wrapping_add_signed(i32::from_le_bytes(distance).into());
            if wanted.contains(&target) && found.len() < CANDIDATES_MAX {
                found.push(address);
            }
        }
        Ok::<(), Infallible>(())
    });
    found
}

/// The call at this address, if disassembling its function from the beginning comes to it.
fn in_function(image: &Image<'_>, text: &Text<'_>, function: &Function, at: u64, targets: &[u64]) -> Option<Site> {
    let mut recent = Vec::with_capacity(RECENT + 1);
    for instruction in instructions(text, function.address) {
        // A direct call may have a prefix that changes nothing.
        if instruction.next_ip() > at {
            let direct = instruction.is_call_near() && targets.contains(&instruction.near_branch_target());
            let indirect = instruction.is_call_near_indirect() && x86::through_slot(&instruction, image);
            if !direct && !indirect {
                return None;
            }
            let site = x86::site(text, &instruction, &recent, direct, Care::Calls).ok()?;
            return Some(Site { convention: Convention::Update, ..site });
        }
        if recent.len() == RECENT {
            recent.remove(0);
        }
        recent.push(instruction);
    }
    None
}
