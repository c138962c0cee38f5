//! An executable that somebody built to be probed: the search for calls of the cipher function.
//!
//! Most inputs become an ELF file for x86-64 or AArch64 that imports the function: symbols, a relocation, a stub, and a
//! text put together from what compilers write around a call, in any order, with bytes of the input in between; then
//! some bytes anywhere are changed. Asserted: what is found lies in the text, each call is one by its bytes and its
//! jump comes after it, and two searches tell the same.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sensor::host::sites::{self, Site};

const HEADER: usize = 64;
const X86: u16 = 62;
const ARM: u16 = 183;
/// Where things lie, in the file and in memory: the same, as in programs that are not relocated.
const SYMBOLS: usize = HEADER;
const NAMES: usize = SYMBOLS + 2 * 24;
const RELOCATIONS: usize = NAMES + 16;
const STUBS: usize = 256;
const TEXT: usize = 512;
const SLOT: usize = 0x3000;
const TEXT_MAX: usize = 2048;

pub fn run(data: &[u8]) {
    match data.split_first() {
        // In a place of its own, or no table in it would lie where the reader wants it.
        Some((0, rest)) => {
            let file = rest.to_vec();
            search(&file);
        }
        Some((_, rest)) => {
            if let Ok(file) = program(&mut Unstructured::new(rest)) {
                search(&file);
            }
        }
        None => {}
    }
}

fn search(file: &[u8]) {
    let found = sites::find(file);
    for site in found.iter().flatten() {
        check(file, site);
    }
    assert_eq!(found, sites::find(file));
}

fn check(file: &[u8], site: &Site) {
    let at = |offset: u64| file.get(usize::try_from(offset).ok()?..);
    let call = at(site.call).unwrap_or_default();
    let jump = at(site.jump).unwrap_or_default();
    // Sections may lie anywhere in a broken file, but not outside of it.
    assert!(!call.is_empty() && !jump.is_empty(), "{site:?} in {} bytes", file.len());
    assert!(site.jump > site.call, "{site:?}");
    let by_bytes = match file.get(18..20) {
        Some([62, 0]) => call.starts_with(&[0xe8]) || call.starts_with(&[0xff, 0x15]) || has_prefix(call),
        _ => call.get(3).is_some_and(|byte| byte & 0xfc == 0x94),
    };
    assert!(by_bytes, "{site:?} is no call: {call:x?}");
}

/// A call may have prefixes that mean nothing to it.
fn has_prefix(call: &[u8]) -> bool {
    let rest = call
        .iter()
        .skip_while(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf2 | 0xf3));
    rest.take(1).any(|byte| matches!(byte, 0xe8 | 0xff))
}

fn program(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let machine = if input.ratio(1, 3)? { ARM } else { X86 };
    let text = text(input, machine)?;
    let (lazy, landing) = (input.arbitrary()?, input.arbitrary()?);
    let mut file = build(machine, text, lazy, landing);
    for _ in 0..input.int_in_range(0..=4u8)? {
        let at = input.int_in_range(0..=file.len() - 1)?;
        put(&mut file, at, &[input.arbitrary()?]);
    }
    Ok(file)
}

fn build(machine: u16, text: Vec<u8>, lazy: bool, landing: bool) -> Vec<u8> {
    let mut file = vec![0; TEXT];
    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    for (at, half) in [(16, 2), (18, machine), (20, 1), (52, HEADER as u16), (54, 56), (58, 64), (60, 6), (62, 2)] {
        put(&mut file, at, &half.to_le_bytes());
    }
    // The second symbol: its name, global function, of no section.
    put(&mut file, SYMBOLS + 24, &1u32.to_le_bytes());
    put(&mut file, SYMBOLS + 28, &[0x12]);
    put(&mut file, NAMES, b"\0EVP_Cipher\0");
    // JUMP_SLOT and GLOB_DAT.
    let kind: u64 = match (machine, lazy) {
        (X86, true) => 7,
        (X86, false) => 6,
        (_, true) => 1026,
        (_, false) => 1025,
    };
    put(&mut file, RELOCATIONS, &(SLOT as u64).to_le_bytes());
    put(&mut file, RELOCATIONS + 8, &(1 << 32 | kind).to_le_bytes());
    put(&mut file, STUBS, &stub(machine, landing));
    let text_bytes = text.len();
    file.extend(text);
    // The reader wants tables where a number of 8 bytes may lie.
    file.resize(file.len().next_multiple_of(8), 0);
    let headers = file.len();
    put(&mut file, 40, &(headers as u64).to_le_bytes());
    let (alloc, exec) = (2u64, 6u64);
    // type, flags, address, size, link, info, entry size
    for [kind, flags, address, size, link, info, each] in [
        [0; 7],
        [11, alloc, SYMBOLS as u64, 48, 2, 1, 24],
        [3, alloc, NAMES as u64, 12, 0, 0, 0],
        [4, alloc, RELOCATIONS as u64, 24, 1, 0, 24],
        [1, exec, STUBS as u64, 32, 0, 0, 0],
        [1, exec, TEXT as u64, text_bytes as u64, 0, 0, 0],
    ] {
        file.extend([0u32, kind as u32].map(u32::to_le_bytes).concat());
        file.extend([flags, address, address, size].map(u64::to_le_bytes).concat());
        file.extend([link as u32, info as u32].map(u32::to_le_bytes).concat());
        file.extend([1, each].map(u64::to_le_bytes).concat());
    }
    file
}

fn stub(machine: u16, landing: bool) -> Vec<u8> {
    let mut code = Vec::new();
    if machine == X86 {
        if landing {
            code.extend([0xf3, 0x0f, 0x1e, 0xfa]); // endbr64
        }
        let next = STUBS + code.len() + 6;
        code.extend([0xff, 0x25]); // jmp *slot(%rip)
        code.extend(((SLOT - next) as i32).to_le_bytes());
    } else {
        if landing {
            code.extend(0xd503_245fu32.to_le_bytes()); // bti c
        }
        // adrp x16, slot's page; ldr x17, [x16]; br x17
        for word in [0x9000_0010 | (SLOT as u32 >> 12 & 3) << 29 | (SLOT as u32 >> 14) << 5, 0xf940_0211, 0xd61f_0220] {
            code.extend(word.to_le_bytes());
        }
    }
    code
}

fn text(input: &mut Unstructured<'_>, machine: u16) -> Result<Vec<u8>> {
    let mut code = Vec::new();
    while code.len() < TEXT_MAX && input.len() > 8 {
        let at = TEXT + code.len();
        if machine == X86 {
            x86(input, at, &mut code)?;
        } else {
            arm(input, at, &mut code)?;
        }
    }
    Ok(code)
}

fn x86(input: &mut Unstructured<'_>, at: usize, code: &mut Vec<u8>) -> Result<()> {
    let near = |bytes: usize| ((STUBS as i32) - (at + bytes) as i32).to_le_bytes();
    let slot = |bytes: usize| ((SLOT as i32) - (at + bytes) as i32).to_le_bytes();
    match input.int_in_range(0..=17u8)? {
        0..=3 => code.extend([&[0xe8][..], &near(5)].concat()), // call stub
        4 => code.extend([&[0xff, 0x15][..], &slot(6)].concat()), // call *slot(%rip)
        5 => code.extend([&[0xe9][..], &near(5)].concat()),     // jmp stub
        6 => code.extend([&[0x48, 0x8d, 0x05][..], &near(7)].concat()), // lea stub(%rip), %rax
        7 => code.extend([&[0x48, 0x8b, 0x05][..], &slot(7)].concat()), // mov slot(%rip), %rax
        8 | 9 => code.extend([0x85, 0xc0]),                     // test %eax, %eax
        10 | 11 => code.extend([0x78, input.arbitrary()?]),     // js
        12 => code.extend([0x0f, 0x88, 1, 0, 0, 0]),            // js, far
        13 => code.extend([&[0xb9][..], &input.choose(&[4u32, 32, 9])?.to_le_bytes()].concat()), // mov $n, %ecx
        14 => code.extend(input.choose(&[[0x31, 0xf6], [0x31, 0xd2], [0x31, 0xc9], [0x89, 0xc3]])?), // xor esi, edx, ecx; mov
        15 => code.extend(input.choose(&[[0x48, 0x89, 0xde], [0x48, 0x89, 0xda], [0x48, 0x89, 0xc6]])?), // mov rbx or rax to rsi, rdx
        16 => code.push(0x90),
        _ => code.extend_from_slice(input.bytes(input.len().min(4))?),
    }
    Ok(())
}

fn arm(input: &mut Unstructured<'_>, at: usize, code: &mut Vec<u8>) -> Result<()> {
    let stub = ((STUBS as i64 - at as i64) / 4) as u32 & 0x03ff_ffff;
    let word: u32 = match input.int_in_range(0..=12u8)? {
        0..=3 => 0x9400_0000 | stub,
        4 => 0x1400_0000 | stub,
        5 => 0x5400_0041,                                       // b.ne
        6 => 0x3400_00a0 | u32::from(input.arbitrary::<u8>()?), // cbz
        7 => 0x7100_001f,                                       // cmp w0, #0
        8 => *input.choose(&[0x5280_0083, 0x5280_0403])?,       // mov w3, #4 or #32
        9 => *input.choose(&[0x2a1f_03e1, 0xaa1f_03e1, 0xaa1f_03e2, 0xaa13_03e1, 0xaa13_03e2])?,
        10 => 0xb000_0010, // adrp
        11 => *input.choose(&[0xf940_0211, 0xd61f_0220, 0xd65f_03c0])?,
        _ => input.arbitrary()?,
    };
    code.extend(word.to_le_bytes());
    Ok(())
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in file.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that the search finds nothing in would test nothing.
    #[test]
    fn programs_made_here_have_sites() {
        // call stub; test %eax, %eax; js
        let x86 = vec![0xe8, 0xfb, 0xfe, 0xff, 0xff, 0x85, 0xc0, 0x78, 0x10];
        // bl stub; cmp w0, #0; b.ne
        let arm = [0x97ff_ffc0, 0x7100_001f, 0x5400_0041u32].map(u32::to_le_bytes).concat();
        for (machine, text) in [(X86, x86), (ARM, arm)] {
            for (lazy, landing) in [(true, false), (false, true)] {
                let file = build(machine, text.clone(), lazy, landing);
                let found = sites::find(&*file);
                assert!(matches!(found.as_deref(), Ok([_])), "{machine}: {found:?}");
                search(&file);
            }
        }
    }
}
