//! The same for a library that holds the cipher functions itself, as the wheels of Python's cryptography do: OpenSSL is
//! linked into them, and their symbol table still has its names.
//!
//! The functions are called by OpenSSL itself too, for TLS, key files and random numbers. What counts are the calls in
//! the glue of the language: functions that cffi made or that rustc compiled. They call directly, or through a slot of
//! the GOT that a relative relocation fills. A library of ten MiB must be done before the interpreter has imported it:
//! so only functions that hold the bytes of such a call are disassembled, each from its beginning. Without a symbol
//! table nothing is known.

use object::{
    Endianness, Object as _, ObjectSymbol as _, RelocationFlags, RelocationTarget, SymbolKind, elf,
    read::{ReadRef, elf::ElfFile64},
};

use super::{
    disassembly::instructions,
    elf::{Image, Text},
    site::{Care, Convention, NotCovered, SITES_MAX, Site},
    x86,
};

/// Functions whose calls count, by the beginning of their names: cffi's wrappers, Rust's two manglings.
const GLUE: &[&str] = &["_cffi_f_", "_R", "_ZN"];
/// A symbol table has some ten thousand.
const SYMBOLS_MAX: usize = 1 << 20;
/// A function that is longer is not glue.
const FUNCTION_MAX: u64 = 64 << 10;
const RECENT: usize = 12;

/// A function of the glue: its address and size.
struct Function {
    address: u64,
    size: u64,
}

pub(super) fn find<'a>(file: impl ReadRef<'a>, symbols: &[&str]) -> Result<Vec<Site>, NotCovered> {
    let absent = || NotCovered::NoImport { symbol: symbols.first().copied().unwrap_or_default().into() };
    let elf = ElfFile64::<Endianness, _>::parse(file).map_err(|_| absent())?;
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
pub(super) fn exports<'a>(file: impl ReadRef<'a>, function: &str) -> bool {
    let Ok(elf) = ElfFile64::<Endianness, _>::parse(file) else { return false };
    elf.dynamic_symbols()
        .take(SYMBOLS_MAX)
        .any(|symbol| symbol.is_definition() && symbol.name().is_ok_and(|name| name == function))
}

/// Slots that a relative relocation fills with the address of a target.
fn slots<'a>(elf: &ElfFile64<'a, Endianness, impl ReadRef<'a>>, targets: &[u64]) -> Vec<u64> {
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
fn candidates<'a>(text: &'a Text<'a>, targets: &'a [u64], slots: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
    memchr::memchr2_iter(0xe8, 0xff, text.data).filter_map(move |at| {
        let bytes = text.data.get(at..)?;
        let (skip, wanted) = match bytes {
            [0xe8, ..] => (1, targets),
            [0xff, 0x15, ..] => (2, slots),
            _ => return None,
        };
        let distance = i64::from(i32::from_le_bytes(bytes.get(skip..)?.first_chunk().copied()?));
        let address = text.address.wrapping_add(at as u64);
        let target = address.wrapping_add(skip as u64 + 4).wrapping_add_signed(distance);
        wanted.contains(&target).then_some(address)
    })
}

/// The call at this address, if disassembling its function from the beginning comes to it.
fn in_function(image: &Image<'_>, text: &Text<'_>, function: &Function, at: u64, targets: &[u64]) -> Option<Site> {
    let mut recent = Vec::with_capacity(RECENT + 1);
    for instruction in instructions(text, function.address.checked_sub(text.address)? as usize) {
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
