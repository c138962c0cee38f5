//! What of an ELF file matters here: the slots that an imported function fills, and the sections with instructions.

use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionFlags, elf,
    read::elf::ElfFile64,
};

use super::site::{Care, NotCovered};
use crate::host::content::{Content, Piece};

/// Larger texts than any program that speaks SSH has are not searched.
const TEXT_MAX: u64 = 32 << 20;
/// Sections looked at.
const SECTIONS_MAX: usize = 4096;

pub(super) type Elf<'a> = ElfFile64<'a, Endianness, Content<'a>>;

pub(super) struct Image<'a> {
    pub(super) machine: u16,
    /// Addresses of the GOT slots that hold the function's address.
    pub(super) slots: Vec<u64>,
    pub(super) texts: Vec<Text<'a>>,
    /// Where functions begin, in order, as the table for unwinding has them: it is in every program that gcc or clang
    /// has built, stripped or not. None: without it.
    pub(super) functions: Vec<u64>,
}

/// A section with instructions.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) address: u64,
    /// Of its first byte, in the file.
    offset: u64,
    size: u64,
    content: Content<'a>,
}

/// libcrypto by its soname: those whose `evp_cipher_ctx_st::encrypt` is where the probe reads it.
const LIBRARIES: &[&[u8]] = &[b"libcrypto.so.3", b"libcrypto.so.1.1"];

impl<'a> Image<'a> {
    pub(super) fn read(file: Content<'a>, symbol: &str, care: Care) -> Result<Self, NotCovered> {
        let absent = || NotCovered::NoImport { symbol: symbol.into() };
        // What is no 64-bit ELF file imports nothing that could be probed.
        let image = Elf::parse(file).map_err(|_| absent())?;
        if image.elf_section_table().len() > SECTIONS_MAX {
            return Err(NotCovered::Broken { why: "too many sections" });
        }
        let imported = image
            .dynamic_symbols()
            .find(|known| known.is_undefined() && known.name_bytes() == Ok(symbol.as_bytes()))
            .map(|known| known.index())
            .ok_or_else(absent)?;
        if care == Care::Whole {
            check_library(&image)?;
        }
        let relocations = image.dynamic_relocations().ok_or(NotCovered::Broken { why: "no dynamic relocations" })?;
        let slots = relocations
            .filter(|(_, relocation)| relocation.target() == RelocationTarget::Symbol(imported))
            .map(|(at, _)| at)
            .collect();
        Self::of(&image, slots)
    }

    /// With these slots.
    pub(super) fn of(image: &Elf<'a>, slots: Vec<u64>) -> Result<Self, NotCovered> {
        let (mut texts, content) = (Vec::new(), image.data());
        let mut left = TEXT_MAX;
        for section in image.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            if sh_flags & u64::from(elf::SHF_EXECINSTR) == 0 {
                continue;
            }
            left = left
                .checked_sub(section.size())
                .ok_or(NotCovered::Broken { why: "more text than any SSH program has" })?;
            let Some((offset, size)) = section.file_range() else { continue };
            if !content.holds(offset, size) {
                return Err(NotCovered::Broken { why: "a section is not in the file" });
            }
            texts.push(Text { address: section.address(), offset, size, content });
        }
        let machine = image.elf_header().e_machine.get(image.endian());
        Ok(Self { machine, slots, texts, functions: functions(image) })
    }
}

impl Text<'_> {
    /// Of an address in this text, in the file. Never by the address alone: sections of a hostile file can claim the
    /// same.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        let at = address.wrapping_sub(self.address);
        (at < self.size).then(|| self.offset.saturating_add(at))
    }

    /// The address behind it.
    pub(super) fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }

    /// Fills the buffer from an address on, as far as the text has bytes.
    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let at = address.wrapping_sub(self.address);
        let left = self.size.saturating_sub(at).min(buffer.len() as u64) as usize;
        buffer.get_mut(..left).map_or(0, |buffer| self.content.read(self.offset.saturating_add(at), buffer))
    }

    /// Is this the address behind its last byte?
    pub(super) fn ends_at(&self, address: u64) -> bool {
        address.wrapping_sub(self.address) >= self.size
    }

    /// All of it, piece by piece.
    pub(super) fn pieces<E>(&self, overlap: usize, visit: impl FnMut(&Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        self.content.pieces(self.offset..self.offset.saturating_add(self.size), overlap, visit)
    }
}

/// A program that speaks SSH has some thousand.
const FUNCTIONS_MAX: usize = 1 << 18;

fn functions(image: &Elf<'_>) -> Vec<u64> {
    let Some(header) = image.section_by_name(".eh_frame_hdr") else { return Vec::new() };
    let Ok(data) = header.data() else { return Vec::new() };
    let bases = gimli::BaseAddresses::default().set_eh_frame_hdr(header.address());
    let Ok(parsed) = gimli::EhFrameHdr::new(data, gimli::LittleEndian).parse(&bases, 8) else { return Vec::new() };
    let Some(table) = parsed.table() else { return Vec::new() };
    let entries = table.iter(&bases).map_while(Result::ok).take(FUNCTIONS_MAX);
    let mut starts: Vec<u64> = entries
        .filter_map(|(start, _)| match start {
            gimli::Pointer::Direct(start) => Some(start),
            gimli::Pointer::Indirect(_) => None,
        })
        .collect();
    starts.sort_unstable();
    starts
}

fn check_library(image: &Elf<'_>) -> Result<(), NotCovered> {
    // Libraries by name, of the functions that are imported by name and version; without versions DT_NEEDED is what
    // there is.
    let imports = image.imports().map_err(|_| NotCovered::Broken { why: "its imports cannot be read" })?;
    let mut crypto = imports.iter().map(object::Import::library).filter(|library| library.starts_with(b"libcrypto"));
    match crypto.find(|library| !LIBRARIES.contains(library)) {
        Some(library) => Err(NotCovered::Library { library: String::from_utf8_lossy(library).into_owned() }),
        None => Ok(()),
    }
}
