//! What an executable is, by what its file contains: anyone can name a program sshd, and an sshd can have any name.
//!
//! OpenSSH's parts differ in the messages they can print (read-only data, which no strip removes). Checked against Debian's 9.2 (sshd) and 10.0
//! (sshd, sshd-session, sshd-auth) and dropbear 2022. Only read-only sections of an ELF file of bounded size are searched; a file that cannot be
//! read is `Other`, and the caller says so.

use std::{fs::File, io, path::Path};

use memchr::memmem;
use object::{
    Object as _, ObjectSection as _,
    read::{ReadCache, SectionKind},
};

use crate::event::stream::Role;

/// sshd is 1 MiB; a statically linked one is a few. Anything larger is something else.
const SECTION_MAX: u64 = 16 << 20;

/// Classifies an executable.
pub fn classify(path: &Path) -> io::Result<Role> {
    let file = ReadCache::new(File::open(path)?);
    let Ok(elf) = object::File::parse(&file) else { return Ok(Role::Other) };
    let mut seen = Markers::default();
    for section in elf.sections() {
        if matches!(section.kind(), SectionKind::ReadOnlyData | SectionKind::ReadOnlyString)
            && section.size() <= SECTION_MAX
            && let Ok(data) = section.data()
        {
            seen.search(data);
        }
    }
    Ok(seen.role())
}

/// Which of the tell-tale texts were seen.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "five independent observations")]
struct Markers {
    openssh: bool,
    dropbear: bool,
    listener: bool,
    user_child: bool,
    original_command: bool,
}

impl Markers {
    fn search(&mut self, data: &[u8]) {
        self.openssh |= holds(data, "OpenSSH_", |next| next.is_ascii_digit());
        self.dropbear |= holds(data, "Dropbear", |_| true);
        self.listener |= holds(data, "Server listening on", is_space) || holds(data, "Child connection from", is_space);
        self.user_child |= holds(data, "User child is on pid", is_space);
        self.original_command |= holds(data, "SSH_ORIGINAL_COMMAND", |next| next == 0);
    }

    fn role(&self) -> Role {
        match self {
            Self { openssh: true, listener: true, .. } => Role::Server,
            Self { openssh: true, user_child: true, .. } => Role::ServerSession,
            Self { openssh: true, original_command: true, .. } => Role::ServerAuth,
            Self { dropbear: true, listener: true, original_command: true, .. } => Role::Server,
            _ => Role::Other,
        }
    }
}

/// Is the text there, followed by such a byte? What follows it in a C program tells it from a program that looks for it, such as this one.
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
        assert!(classify("/no/such/file".as_ref()).is_err());
    }
}
