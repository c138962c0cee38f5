//! Where a program calls an imported function, and where each call's result is first tested: the places for uprobes.
//!
//! What enters: an ELF file and the name of the function. What leaves: file offsets of the calls and of the conditional
//! jumps after them, or why they cannot be known. It rests on what no strip can remove: dynamic relocations name the
//! imported functions (`JUMP_SLOT`, `GLOB_DAT`), each fills a slot of the GOT, a stub (`.plt`, `.plt.sec`, `.plt.got`)
//! jumps through the slot, and the text calls the stub, or calls through the slot itself (`-fno-plt`).
//!
//! A probe off an instruction's boundary would break the program. So sections are disassembled from their beginning, as
//! objdump does, and only what was met there is told; a call that a search of the bytes finds and the disassembly does
//! not is a reason to tell nothing. The file may be hostile: every size is bounded, nothing panics.

mod arm;
mod elf;
mod local;
pub mod places;
mod single;
#[cfg(test)]
mod single_tests;
#[cfg(test)]
mod tests;
mod values;
mod x86;

use sensor_common::kept::Arguments;

use super::content::Content;

/// A call of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Offset of the call instruction in the file.
    pub call: u64,
    /// Offset of the first conditional jump after it; in a library of the first branch that the kernel emulates.
    pub jump: u64,
    pub role: SiteRole,
    pub convention: Convention,
    /// The register with the result is not written to before the jump.
    pub result_intact: bool,
    /// A direct call: the kernel emulates it. A call through memory is single-stepped, which takes five times as long.
    pub emulated: bool,
    /// One probe that does for both.
    pub single: Option<Single>,
}

/// A place after a call where its arguments are still known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single {
    /// Offset in the file, of a branch, which the kernel emulates.
    pub at: u64,
    pub arguments: Arguments,
}

/// Where a function has its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// `EVP_Cipher(ctx, out, in, inl)`
    Cipher,
    /// `EVP_CipherUpdate(ctx, out, outl, in, inl)` and its two halves.
    Update,
}

/// What must be known of a file before it is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// Every call and its test: half of the calls of a program that speaks SSH would be half of a session.
    Whole,
    /// The calls that can be found: a library has others, which nobody uses for SSH (pointers to its functions for
    /// foreign callers). What comes after a call need not test it.
    Calls,
}

/// What passes at a site, by the operands that are constants in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteRole {
    /// May carry a packet or the length before it.
    Body,
    /// Proven to carry none.
    Other(&'static str),
}

/// Why a program cannot be probed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCovered {
    #[error("it does not import {symbol}")]
    NoImport { symbol: String },
    #[error("it is not an ELF file that can be read: {why}")]
    Broken { why: &'static str },
    #[error("it is built for another machine ({machine})")]
    Machine { machine: u16 },
    #[error("it imports {symbol}, but nothing in its text calls it directly")]
    NoCall { symbol: String },
    #[error("it jumps to {symbol} instead of calling it (at {at:#x}): the result is tested elsewhere")]
    TailCall { symbol: String, at: u64 },
    #[error("it takes the address of {symbol} (at {at:#x}): calls through pointers cannot be found")]
    AddressTaken { symbol: String, at: u64 },
    #[error("the result of the call at {at:#x} is not tested by a conditional jump nearby")]
    NoJump { at: u64 },
    #[error("the call at {at:#x} was found by its bytes and not by disassembly: its text is not what it seems")]
    Ambiguous { at: u64 },
    #[error("it uses {library}, whose EVP_CIPHER_CTX is not known")]
    Library { library: String },
}

/// Larger texts than any program that speaks SSH has are not searched.
const TEXT_MAX: u64 = 32 << 20;
/// Sections looked at.
const SECTIONS_MAX: usize = 4096;
/// Instructions between a call and the jump; OpenSSH's have one or two.
const JUMP_WITHIN: usize = 6;
/// Sites told: OpenSSH has seven.
const SITES_MAX: usize = 64;

/// The role of a call without output: additional data, or a length that is announced.
pub const AAD: &str = "aad";
/// chacha20-poly1305: the key for the tag, and the length before a packet.
const POLY_KEY: &str = "poly key";
const HEADER: &str = "header";

/// The function through which OpenSSH and libssh2 pass every packet.
const CIPHER: &str = "EVP_Cipher";
/// What Python's cryptography, Ruby's openssl and libssh call.
const UPDATES: [&str; 3] = ["EVP_CipherUpdate", "EVP_EncryptUpdate", "EVP_DecryptUpdate"];

/// The calls of `EVP_Cipher` in a program of OpenSSH. `file`: an ELF64 file for x86-64 or AArch64.
pub fn find<'a>(file: impl Into<Content<'a>>) -> Result<Vec<Site>, NotCovered> {
    let mut sites = calls(file.into(), CIPHER, Care::Whole)?;
    sites.sort_by_key(|site| site.call);
    Ok(sites)
}

/// The calls of cipher functions in a library, whether it imports them or holds them.
pub fn find_in_library<'a>(file: impl Into<Content<'a>>) -> Result<Vec<Site>, NotCovered> {
    let file = file.into();
    let mut sites = Vec::new();
    let mut refused = NotCovered::NoImport { symbol: UPDATES[0].into() };
    for symbol in UPDATES.into_iter().chain([CIPHER]) {
        match calls(file, symbol, Care::Calls) {
            Ok(found) => sites.extend(found),
            Err(NotCovered::NoImport { .. }) => {}
            Err(error) => refused = error,
        }
    }
    if sites.is_empty() && matches!(refused, NotCovered::NoImport { .. }) {
        sites = local::find(file, &UPDATES)?;
    }
    if sites.is_empty() {
        return Err(refused);
    }
    sites.sort_by_key(|site| site.call);
    Ok(sites)
}

/// Is this a program that exports the cipher functions?
pub fn lends<'a>(file: impl Into<Content<'a>>) -> bool {
    local::exports(file.into(), UPDATES[0])
}

fn calls(file: Content<'_>, symbol: &str, care: Care) -> Result<Vec<Site>, NotCovered> {
    let image = elf::Image::read(file, symbol, care)?;
    let mut sites = match image.machine {
        object::elf::EM_X86_64 => x86::find(&image, symbol, care)?,
        object::elf::EM_AARCH64 => arm::find(&image, symbol)?,
        machine => return Err(NotCovered::Machine { machine }),
    };
    if sites.is_empty() || sites.len() > SITES_MAX {
        return Err(NotCovered::NoCall { symbol: symbol.into() });
    }
    let convention = if symbol == CIPHER { Convention::Cipher } else { Convention::Update };
    for site in &mut sites {
        site.convention = convention;
    }
    Ok(sites)
}
