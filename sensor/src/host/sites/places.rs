//! The last look before a probe: is there at each place what a probe may stand on?
//!
//! What enters: an open file and offsets that a process named which is not believed (it parsed a user's file). What
//! leaves: nothing, or why not. A probe on data, or in the middle of an instruction, would break the program: so each
//! place has to be in an executable segment, and has to hold a call or a branch, by its first bytes. That it is an
//! instruction's beginning was for `sites` to see; what a user's own worker says of a file of that user can harm that
//! user alone.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use object::{
    Endianness, elf,
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// Program headers that are looked at; a program has some ten.
const SEGMENTS_MAX: usize = 128;
/// Of the header and the program headers.
const HEADERS_MAX: usize = 64 << 10;
/// A file that is probed has some tens.
const PLACES_MAX: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    #[error("it cannot be read again: {0}")]
    Io(#[from] io::Error),
    #[error("it is not an ELF file that can be read")]
    Elf,
    #[error("{0} places are too many")]
    Many(usize),
    #[error("the place {0:#x} is not in its text")]
    Text(u64),
    #[error("the place {0:#x} holds no instruction for a probe")]
    Instruction(u64),
}

pub fn check(file: &File, places: &[u64]) -> Result<(), Wrong> {
    if places.len() > PLACES_MAX {
        return Err(Wrong::Many(places.len()));
    }
    let mut headers = vec![0; HEADERS_MAX];
    let count = read(file, &mut headers, 0)?;
    headers.truncate(count);
    let header = elf::FileHeader64::<Endianness>::parse(&*headers).map_err(|_| Wrong::Elf)?;
    let endian = header.endian().map_err(|_| Wrong::Elf)?;
    let segments = header.program_headers(endian, &*headers).map_err(|_| Wrong::Elf)?;
    let text: Vec<(u64, u64)> = segments
        .iter()
        .take(SEGMENTS_MAX)
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD && segment.p_flags(endian) & elf::PF_X != 0)
        .map(|segment| (segment.p_offset(endian), segment.p_offset(endian).saturating_add(segment.p_filesz(endian))))
        .collect();
    let is_x86 = header.e_machine(endian) == elf::EM_X86_64;
    for at in places {
        if !text.iter().any(|(start, end)| at >= start && at < end) {
            return Err(Wrong::Text(*at));
        }
        let mut bytes = [0; 4];
        let count = read(file, &mut bytes, *at)?;
        if count < bytes.len() || !if is_x86 { is_branch_x86(bytes) } else { is_branch_arm(bytes) } {
            return Err(Wrong::Instruction(*at));
        }
    }
    Ok(())
}

fn read(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A near call, a call through memory, a jump, a conditional jump; prefixes (REX, bnd) before them.
fn is_branch_x86([a, b, c, _]: [u8; 4]) -> bool {
    let plain = |first: u8, second: u8| match first {
        0xe8 | 0xe9 | 0xeb | 0x70..=0x7f | 0xc3 => true,
        0x0f => (0x80..=0x8f).contains(&second),
        0xff => matches!(second >> 3 & 7, 2 | 4),
        _ => false,
    };
    plain(a, b) || (matches!(a, 0x40..=0x4f | 0xf2 | 0x67) && plain(b, c))
}

/// `b`, `bl`, `b.cond`, `cbz`, `cbnz`, `tbz`, `tbnz`, `blr`.
fn is_branch_arm(bytes: [u8; 4]) -> bool {
    let word = u32::from_le_bytes(bytes);
    word >> 26 & 0x1f == 0b00101
        || word >> 25 & 0x3f == 0b01_1010
        || word >> 25 & 0x3f == 0b01_1011
        || word >> 24 == 0b0101_0100
        || word & 0xffff_fc1f == 0xd63f_0000
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::host::examine;

    #[test]
    fn what_was_found_in_ssh_stands_and_what_is_beside_it_does_not() {
        let path = Path::new("/usr/bin/ssh");
        let Ok(file) = File::open(path) else { return };
        let sites = examine::examine(&file, path).unwrap().speaks.unwrap().sites.unwrap();
        assert!(!sites.places.is_empty());
        check(&file, &sites.offsets()).unwrap();
        let at = sites.offsets()[0];
        let moved = |at| check(&file, &[at]);
        assert!(matches!(moved(u64::MAX), Err(Wrong::Text(_))));
        assert!(matches!(moved(0x10), Err(Wrong::Text(_) | Wrong::Instruction(_))));
        assert!((at - 16..at).any(|at| matches!(moved(at), Err(Wrong::Instruction(_)))));
        assert!(matches!(check(&file, &[at; 600]), Err(Wrong::Many(600))));
        let passwd = File::open("/etc/passwd").unwrap();
        assert!(matches!(check(&passwd, &[at]), Err(Wrong::Elf)));
    }
}
