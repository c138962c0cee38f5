//! AArch64: `bl` to a stub (`adrp x16; ldr x17, [x16, #slot]; add x16, ...; br x17`), then a comparison and a
//! conditional branch.
//!
//! Instructions are words of 32 bits, so there is no boundary to miss, and only seven of them matter; they are decoded
//! here (Arm Architecture Reference Manual, C4.1). The kernel simulates `bl` and every conditional branch.

use std::{collections::HashSet, convert::Infallible, ops::Range};

use super::{
    elf::{Image, Text},
    site::{AAD, Convention, JUMP_WITHIN, NotCovered, POLY_KEY, Site, SiteRole},
};
use crate::host::content::Piece;

const WORD: u64 = 4;
const PAGE_MASK: u64 = !0xfff;

/// An instruction that matters, with addresses resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// `bl`
    Call(u64),
    /// `b`
    Jump(u64),
    /// `b.cond`, `cbz`, `cbnz`, `tbz`, `tbnz`
    Conditional,
    /// `adrp register, page`
    Page(u32, u64),
    /// `ldr register, [base, #offset]` of 64 bits
    Load(u32, u32, u64),
    /// `br`, `blr`, `ret`
    Indirect,
    Other(u32),
}

/// The number of bits from `shift` on, signed.
fn signed(word: u32, shift: u32, bits: u32) -> i64 {
    let unused = 32 - bits;
    i64::from((word >> shift << unused) as i32 >> unused)
}

pub(super) fn decode(word: u32, address: u64) -> Word {
    let branch = |bits: i64| address.wrapping_add_signed(bits * WORD as i64);
    if word & 0xfc00_0000 == 0x9400_0000 {
        Word::Call(branch(signed(word, 0, 26)))
    } else if word & 0xfc00_0000 == 0x1400_0000 {
        Word::Jump(branch(signed(word, 0, 26)))
    } else if word & 0xff00_0010 == 0x5400_0000 || word & 0x7c00_0000 == 0x3400_0000 {
        Word::Conditional
    } else if word & 0x9f00_0000 == 0x9000_0000 {
        let pages = signed(word, 5, 19) << 2 | i64::from(word >> 29 & 3);
        Word::Page(word & 31, (address & PAGE_MASK).wrapping_add_signed(pages << 12))
    } else if word & 0xffc0_0000 == 0xf940_0000 {
        Word::Load(word & 31, word >> 5 & 31, u64::from(word >> 10 & 0xfff) * 8)
    } else if word & 0xfe00_0000 == 0xd600_0000 {
        Word::Indirect
    } else {
        Word::Other(word)
    }
}

/// Words that are looked at before and after one.
const NEAR: usize = 12;

/// Shows all words of a text piece by piece, and which of them are to be looked at: around these are all that are near.
fn words<E>(text: &Text<'_>, mut visit: impl FnMut(&[(u64, Word)], Range<usize>) -> Result<(), E>) -> Result<(), E> {
    text.pieces(2 * NEAR * WORD as usize, |Piece { at: start, bytes, own }| {
        let words = (0u64..).zip(bytes.as_chunks::<4>().0).map(|(n, bytes)| {
            let at = text.address.wrapping_add(start + n * WORD);
            (at, decode(u32::from_le_bytes(*bytes), at))
        });
        let words: Vec<(u64, Word)> = words.collect();
        let first = if *start == 0 { 0 } else { NEAR };
        let last = if *own == bytes.len() { words.len() } else { words.len().saturating_sub(NEAR) };
        visit(&words, first..last)
    })
}

pub(super) fn find(image: &Image<'_>, symbol: &str) -> Result<Vec<Site>, NotCovered> {
    let (stubs, taken) = uses(image);
    if let Some(at) = taken {
        return Err(NotCovered::AddressTaken { symbol: symbol.into(), at });
    }
    let mut sites = Vec::new();
    for text in &image.texts {
        words(text, |all, here| {
            for (n, (at, word)) in all.iter().enumerate().take(here.end).skip(here.start) {
                match word {
                    Word::Jump(target) if stubs.contains(target) => {
                        return Err(NotCovered::TailCall { symbol: symbol.into(), at: *at });
                    }
                    Word::Call(target) if stubs.contains(target) => {
                        let before = all.get(n.saturating_sub(NEAR)..n).unwrap_or_default();
                        let after = all.get(n + 1..).unwrap_or_default();
                        sites.push(site(text, *at, before, after)?);
                    }
                    _ => {}
                }
            }
            Ok(())
        })?;
    }
    Ok(sites)
}

/// Stubs that jump through a slot of the function, and a place that loads a slot for another use.
fn uses(image: &Image<'_>) -> (HashSet<u64>, Option<u64>) {
    let (mut stubs, mut taken) = (HashSet::new(), None);
    for text in &image.texts {
        let Ok(()) = words(text, |all, here| {
            for (n, (at, word)) in all.iter().enumerate().take(here.end).skip(here.start) {
                let Word::Page(base, page) = word else { continue };
                // The load follows its page within a few instructions, in a stub at once.
                let near = all.get(n + 1..).unwrap_or_default().iter().take(4);
                let load = near.clone().find_map(|(_, word)| match word {
                    Word::Load(_, from, offset) if from == base => Some(page.wrapping_add(*offset)),
                    _ => None,
                });
                if !load.is_some_and(|slot| image.slots.contains(&slot)) {
                    continue;
                }
                if near.clone().any(|(_, word)| *word == Word::Indirect) {
                    stubs.insert(*at);
                    // `bti c` before a stub.
                    let pad = n.checked_sub(1).and_then(|before| all.get(before));
                    stubs.extend(pad.filter(|(_, word)| *word == Word::Other(0xd503_245f)).map(|(at, _)| *at));
                } else {
                    taken = Some(*at);
                }
            }
            Ok::<(), Infallible>(())
        });
    }
    (stubs, taken)
}

fn site(text: &Text<'_>, at: u64, before: &[(u64, Word)], after: &[(u64, Word)]) -> Result<Site, NotCovered> {
    let mut result_intact = true;
    for (jump, word) in after.iter().take(JUMP_WITHIN) {
        match word {
            Word::Conditional => {
                let (Some(call), Some(jump)) = (text.file_offset(at), text.file_offset(*jump)) else { break };
                return Ok(Site {
                    call,
                    jump,
                    role: role(before),
                    convention: Convention::Cipher,
                    result_intact,
                    emulated: true,
                    single: None,
                });
            }
            Word::Call(_) | Word::Jump(_) | Word::Indirect => break,
            // A destination of 0 is x0 or w0; comparisons write to the zero register (31).
            Word::Page(to, _) | Word::Load(to, ..) => result_intact &= *to != 0,
            Word::Other(word) => result_intact &= word & 31 != 0,
        }
    }
    Err(NotCovered::NoJump { at })
}

/// `EVP_Cipher(ctx: x0, out: x1, in: x2, inl: w3)`, as far as constants tell.
fn role(before: &[(u64, Word)]) -> SiteRole {
    let (out, input, len) = (operand(before, 1), operand(before, 2), operand(before, 3));
    match (out, input, len) {
        (Operand::Constant(0), Operand::Constant(0), Operand::Constant(0)) => SiteRole::Other("final"),
        (Operand::Constant(0), ..) => SiteRole::Other(AAD),
        (Operand::Copy(out), Operand::Copy(input), Operand::Constant(32)) if out == input => SiteRole::Other(POLY_KEY),
        (_, _, Operand::Constant(4)) => SiteRole::Other("length"),
        _ => SiteRole::Body,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    Unknown,
    Constant(u32),
    Copy(u32),
}

fn operand(before: &[(u64, Word)], register: u32) -> Operand {
    for (_, word) in before.iter().rev() {
        match word {
            Word::Other(word) if word & 31 == register => {
                return if word & 0x7fe0_0000 == 0x5280_0000 {
                    Operand::Constant(word >> 5 & 0xffff) // movz
                } else if word & 0x7fe0_ffe0 == 0x2a00_03e0 {
                    match word >> 16 & 31 {
                        31 => Operand::Constant(0), // mov register, xzr
                        from => Operand::Copy(from),
                    }
                } else {
                    Operand::Unknown
                };
            }
            Word::Load(to, ..) | Word::Page(to, _) if *to == register => return Operand::Unknown,
            Word::Call(_) | Word::Jump(_) | Word::Conditional | Word::Indirect => return Operand::Unknown,
            _ => {}
        }
    }
    Operand::Unknown
}
