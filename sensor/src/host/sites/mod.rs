//! Where a program calls an imported function, and where each call's result is first tested: the places for uprobes.
//!
//! What enters: an ELF file and the name of the function. What leaves: file offsets of the calls and of the conditional
//! jumps after them, or why they cannot be known. It rests on what no strip can remove: dynamic relocations name the
//! imported functions (`JUMP_SLOT`, `GLOB_DAT`), each fills a slot of the GOT, a stub (`.plt`, `.plt.sec`, `.plt.got`)
//! jumps through the slot, and the text calls the stub, or calls through the slot itself (`-fno-plt`).
//!
//! A probe off an instruction's boundary would break the program. So sections are disassembled from their beginning, as
//! objdump does, and only what was met there is a site; a call that a search of the bytes finds and the disassembly
//! does not is a reason to report none. The file may be hostile: every size is bounded, nothing panics.

mod arm;
mod disassembly;
mod elf;
mod local;
pub mod places;
mod single;
#[cfg(test)]
mod single_tests;
mod site;
#[cfg(test)]
mod tests;
mod values;
mod x86;

pub use self::site::{AAD, Convention, NotCovered, Single, Site, SiteRole};
use self::site::{Care, SITES_MAX};
use super::content::Content;

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
