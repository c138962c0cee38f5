//! What an executable is, by what its file contains: anyone can name a program sshd, and an sshd can have any name.
//!
//! OpenSSH's parts differ in the messages they can print (read-only data, which no strip removes). Checked against
//! Debian's 9.2 (sshd) and 10.0 (sshd, sshd-session, sshd-auth) and dropbear 2022. Only read-only sections of an ELF
//! file of bounded size are searched; a file that cannot be read is `Other`, and the caller says so.

use std::{convert::Infallible, fs::File, io, path::Path};

use memchr::memmem;
use object::{
    Endianness, FileKind, elf,
    read::elf::{FileHeader, SectionHeader as _},
};

use super::{
    beneath::Place,
    content::{Content, Opened, Piece},
};
use crate::event::stream::Role;

/// sshd is 1 MiB; a statically linked one with debugging information is a few tens. Anything larger is something else.
/// (A sparse file costs its owner nothing, and reading its tables would cost us what they claim.)
pub(super) const FILE_MAX: u64 = 128 << 20;
/// Bytes searched in one file: its sections may overlap, so their sizes can add up to anything.
const SEARCH_MAX: u64 = 16 << 20;
/// No text that is looked for is longer, with the byte after it.
const TEXT_MAX: usize = 32;
/// A program has some thirty.
const SECTIONS_MAX: usize = 4096;

/// Classifies an executable.
pub fn classify(path: &Path) -> io::Result<Role> {
    classify_open(&Place::at(path)?.open()?)
}

/// The same of an open file.
pub fn classify_open(file: &File) -> io::Result<Role> {
    if file.metadata()?.len() > FILE_MAX {
        return Ok(Role::Other);
    }
    Ok(role(&Opened::new(file)))
}

/// What the bytes of an executable say it is.
pub fn role<'a>(file: impl Into<Content<'a>>) -> Role {
    markers(file.into()).role()
}

/// What its constants say.
pub(super) fn markers(file: Content<'_>) -> Markers {
    let seen = match FileKind::parse(file) {
        Ok(FileKind::Elf32) => search::<elf::FileHeader32<Endianness>>(file),
        Ok(FileKind::Elf64) => search::<elf::FileHeader64<Endianness>>(file),
        _ => None,
    };
    seen.unwrap_or_default()
}

/// Searches the constants: sections that are loaded, but neither written to nor executed.
fn search<H: FileHeader<Endian = Endianness>>(file: Content<'_>) -> Option<Markers> {
    let header = H::parse(file).ok()?;
    let endian = header.endian().ok()?;
    if header.shnum(endian, file).ok()? > SECTIONS_MAX {
        return None;
    }
    let mut seen = Markers::default();
    let mut left = SEARCH_MAX;
    for section in header.section_headers(endian, file).ok()? {
        let flags: u64 = section.sh_flags(endian).into();
        let flags = flags & u64::from(elf::SHF_ALLOC | elf::SHF_WRITE | elf::SHF_EXECINSTR);
        if section.sh_type(endian) != elf::SHT_PROGBITS || flags != u64::from(elf::SHF_ALLOC) {
            continue;
        }
        left = left.checked_sub(section.sh_size(endian).into())?;
        let (offset, size) = section.file_range(endian)?;
        if !file.holds(offset, size) {
            return None;
        }
        let Ok(()) = file.pieces(offset..offset.saturating_add(size), TEXT_MAX, |Piece { bytes, .. }| {
            seen.search(bytes);
            Ok::<(), Infallible>(())
        });
    }
    Some(seen)
}

/// Which of the tell-tale texts were seen.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "eight independent observations")]
pub(super) struct Markers {
    openssh: bool,
    dropbear: bool,
    listener: bool,
    user_child: bool,
    original_command: bool,
    /// It exchanges identifications, as client or server: other programs of OpenSSH use its ciphers for key files only.
    pub(super) identification: bool,
    /// A library that speaks SSH itself holds its identification.
    pub(super) library: bool,
    client: bool,
}

impl Markers {
    fn search(&mut self, data: &[u8]) {
        self.openssh |= holds(data, "OpenSSH_", |next| next.is_ascii_digit());
        self.dropbear |= holds(data, "Dropbear", |_| true);
        self.listener |= holds(data, "Server listening on", is_space) || holds(data, "Child connection from", is_space);
        self.user_child |= holds(data, "User child is on pid", is_space);
        self.identification |= holds(data, "SSH-%d.%d-", |next| next == b'%');
        // libssh's `SSH-2.0-libssh_%s`
        self.library |= holds(data, "SSH-2.0-", |next| next.is_ascii_alphabetic());
        self.client |= holds(data, "Pseudo-terminal will not be allocated", is_space);
        self.original_command |= holds(data, "SSH_ORIGINAL_COMMAND", |next| next == 0);
    }

    pub(super) fn role(&self) -> Role {
        match self {
            Self { openssh: true, listener: true, .. } => Role::Server,
            Self { openssh: true, user_child: true, .. } => Role::ServerSession,
            Self { openssh: true, original_command: true, .. } => Role::ServerAuth,
            Self { dropbear: true, listener: true, original_command: true, .. } => Role::Server,
            Self { openssh: true, client: true, .. } => Role::Client,
            _ => Role::Other,
        }
    }
}

/// Is the text there, followed by such a byte? What follows it in a C program distinguishes it from a program that
/// looks for it, such as this one.
fn holds(data: &[u8], text: &str, next: impl Fn(u8) -> bool) -> bool {
    memmem::find_iter(data, text.as_bytes()).any(|at| data.get(at + text.len()).is_some_and(|byte| next(*byte)))
}

fn is_space(byte: u8) -> bool {
    byte == b' '
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ssh_server_is_other() {
        assert_eq!(classify("/proc/self/exe".as_ref()).unwrap(), Role::Other);
        assert_eq!(classify("/etc/passwd".as_ref()).unwrap(), Role::Other);
        assert_eq!(classify("/usr/bin/ssh-keyscan".as_ref()).unwrap(), Role::Other);
        assert!(classify("/no/such/file".as_ref()).is_err());
    }

    #[test]
    fn openssh_is_known_by_its_messages_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        for (program, role) in [("/usr/bin/ssh", Role::Client), ("/usr/sbin/sshd", Role::Server)] {
            let copy = folder.path().join("kamal");
            std::fs::copy(program, &copy).unwrap();
            assert_eq!(classify(&copy).unwrap(), role, "{program}");
        }
    }

    /// An ELF file whose sections all hold the same `data`.
    fn overlapping(count: u16, data: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2u16, 62, 1, 0].map(u16::to_le_bytes).concat());
        file.extend([0u64, 0, 64].map(u64::to_le_bytes).concat());
        file.extend(0u32.to_le_bytes());
        file.extend([64u16, 56, 0, 64, count, 0].map(u16::to_le_bytes).concat());
        let offset = 64 + 64 * u64::from(count);
        for _ in 0..count {
            file.extend([0u32, 1].map(u32::to_le_bytes).concat());
            file.extend([2u64, 0, offset, data.len() as u64].map(u64::to_le_bytes).concat());
            file.extend([0; 24]);
        }
        file.extend(data);
        file
    }

    #[test]
    fn sections_that_overlap_do_not_cost_more_than_the_bound() {
        // Backwards, or this test program would be taken for a server.
        let marked: Vec<u8> = "22 no gninetsil revreS 9.9_HSSnepO".bytes().rev().collect();
        let mut data = marked.clone();
        assert_eq!(role(&overlapping(2, &data)[..]), Role::Server);
        data.resize(8 << 20, 0);
        assert_eq!(role(&overlapping(4000, &data)[..]), Role::Other); // 32 GB
        assert_eq!(role(&overlapping(5000, &marked)[..]), Role::Other);
    }
}
