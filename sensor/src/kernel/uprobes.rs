//! uprobes at call sites of the cipher function in programs that speak SSH.
//!
//! What enters: a file and the offsets of its calls and of the branches after them (`Hook`). What leaves: links, kept by file; a uprobe belongs to an inode, so every
//! process that runs the file, now or later and in any container, is covered by one attachment. A file is covered as a whole or not at all: half of its sites would
//! give half of a session. Attaching takes a fraction of a millisecond a site; detaching waits for the kernel (*measured*: 0.1 s a site), so it is done by threads.

use std::{collections::HashMap, path::Path};

use aya::{
    Ebpf,
    programs::{
        Program, UProbe,
        uprobe::{UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};

use super::load::chain;
use crate::event::stream::{FileId, Hook};

/// Links by file.
#[derive(Default)]
pub(super) struct Uprobes {
    links: HashMap<FileId, Vec<UProbeLink>>,
}

/// Every uprobe's program.
pub(super) const PROGRAMS: [&str; 7] =
    ["cipher_jump", "cipher_call", COOKIE, "library_jump", "update_call", "speaker_call", "library_call"];
/// The one that asks where it is: not before Linux 5.15.
const COOKIE: &str = "cipher_done";

fn name(hook: Hook) -> &'static str {
    match hook {
        Hook::CipherJump => "cipher_jump",
        Hook::CipherCall => "cipher_call",
        Hook::CipherDone(_) => COOKIE,
        Hook::LibraryJump => "library_jump",
        Hook::UpdateCall => "update_call",
        Hook::SpeakerCall => "speaker_call",
        Hook::LibraryCall => "library_call",
    }
}

fn is_jump(hook: Hook) -> bool {
    matches!(hook, Hook::CipherJump | Hook::LibraryJump)
}

/// Loads the programs. An error: this kernel cannot run them.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), String> {
    for name in PROGRAMS {
        match program(ebpf, name)?.load().map_err(chain) {
            Err(why) if name == COOKIE => tracing::debug!(why, "two probes at a call instead of one"),
            loaded => loaded?,
        }
    }
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, String> {
    match ebpf.program_mut(name) {
        Some(Program::UProbe(program)) => Ok(program),
        _ => Err("the object has no such program: rebuild sensor".into()),
    }
}

/// Was the program loaded that needs cookies?
pub(super) fn has_cookies(ebpf: &Ebpf) -> bool {
    matches!(ebpf.program(COOKIE), Some(Program::UProbe(program)) if program.fd().is_ok())
}

impl Uprobes {
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        file: FileId,
        path: &Path,
        places: &[(Hook, u64)],
    ) -> Result<(), String> {
        let mut links = Vec::with_capacity(places.len());
        // Jumps first: a call whose jump is not probed yet would be remembered for nothing.
        let (jumps, calls): (Vec<_>, Vec<_>) = places.iter().partition(|(hook, _)| is_jump(*hook));
        for (hook, offset) in jumps.into_iter().chain(calls) {
            let program = program(ebpf, name(hook))?;
            let cookie = match hook {
                Hook::CipherDone(cookie) => Some(cookie),
                _ => None,
            };
            let point = UProbeAttachPoint { location: offset.into(), cookie };
            let link = program.attach(point, path, UProbeScope::AllProcesses).map_err(chain)?;
            links.push(program.take_link(link).map_err(chain)?);
        }
        self.links.insert(file, links);
        Ok(())
    }

    /// In the background: events go on meanwhile.
    pub(super) fn detach(&mut self, file: FileId) {
        if let Some(links) = self.links.remove(&file) {
            std::thread::spawn(move || drop_at_once(links.into_iter()));
        }
    }
}

impl Drop for Uprobes {
    fn drop(&mut self) {
        drop_at_once(self.links.drain().flat_map(|(_, links)| links));
    }
}

/// The kernel lets each link go only after a grace period: side by side they wait together.
fn drop_at_once(links: impl Iterator<Item = UProbeLink>) {
    std::thread::scope(|scope| {
        for link in links {
            scope.spawn(move || drop(link));
        }
    });
}
