//! What the host says that its users wrote: executables that serve a connection, and SSH_CONNECTION of a process found.
//!
//! Most inputs become an ELF file: a header of the right class and section headers whose types, offsets and sizes are
//! the input's.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sensor::host::{program, snapshot};

const HEADER: usize = 64;
const SECTION: usize = 64;

pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => drop(program::role(rest)),
        Some((1, rest)) => drop(std::str::from_utf8(rest).map(snapshot::parse_ssh_connection)),
        Some((_, rest)) => {
            if let Ok(file) = elf(&mut Unstructured::new(rest)) {
                program::role(&file[..]);
            }
        }
        None => {}
    }
}

fn elf(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let count = input.int_in_range(0..=6u16)?;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2, 62, 1, 0] {
        file.extend(u16::to_le_bytes(half));
    }
    for word in [0, 0, HEADER as u64] {
        file.extend(u64::to_le_bytes(word)); // entry, program headers, section headers
    }
    file.extend(u32::to_le_bytes(0));
    let names = input.int_in_range(0..=count)?;
    let declared = if input.ratio(1, 8)? { input.arbitrary()? } else { count };
    for half in [HEADER as u16, 56, 0, SECTION as u16, declared, names] {
        file.extend(half.to_le_bytes());
    }
    for _ in 0..count {
        let kind: u32 = if input.ratio(1, 4)? { input.arbitrary()? } else { 1 };
        let flags: u64 = *input.choose(&[2, 2, 0x32, 6, 3, 0x802])?;
        file.extend(u32::to_le_bytes(input.arbitrary()?));
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        file.extend(u64::to_le_bytes(0));
        file.extend(place(input)?); // offset
        file.extend(place(input)?); // size
        file.extend([0; 24]);
    }
    file.extend_from_slice(
        input
            .choose(&["", "OpenSSH_9.9 Server listening on ", "OpenSSH_ User child is on pid ", "Dropbear"])?
            .as_bytes(),
    );
    file.extend_from_slice(input.bytes(input.len())?);
    Ok(file)
}

fn place(input: &mut Unstructured<'_>) -> Result<[u8; 8]> {
    let place: u64 = if input.ratio(1, 8)? { input.arbitrary()? } else { input.int_in_range(0..=1024)? };
    Ok(place.to_le_bytes())
}
