//! uprobes at call sites of the cipher function in programs that speak SSH.
//!
//! What enters: a file and the offsets of its calls and of the branches after them (`Hook`). What leaves: links by
//! file, with the holder (`holder`) or, without one, here; a uprobe belongs to an inode, so every process that runs the
//! file, now or later and in any container, is covered by one attachment. A file is covered as a whole or not at all:
//! half of its sites would give half of a session. Attaching takes a fraction of a millisecond a file; with single
//! uprobes (before Linux 6.6) it waits for the kernel's lock while other probes are on their way out. So it is for a
//! thread of its own.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    Ebpf,
    programs::{Program, UProbe},
};

use super::{
    Holder,
    budget::{Budget, Share, Shares},
    error::chain,
    links::Uprobe,
    multi::Multi,
};
use crate::event::stream::{FileId, Hook};

/// What to probe.
#[derive(Clone, Copy, Debug)]
pub struct Attach<'a> {
    pub file: FileId,
    /// The file itself; O_PATH is enough. It must be what `file` says.
    pub target: BorrowedFd<'a>,
    /// What is where in the file.
    pub places: &'a [(Hook, u64)],
    /// Whose budget it takes from: the file's user.
    pub owner: u32,
    /// Only the system can have written it: it may take what is kept for the system.
    pub reserved: bool,
}

/// Why a file is not probed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Budget(#[from] Budget),
    #[error("the program `{0}` is not loaded: this kernel cannot run it")]
    Program(&'static str),
    #[error("the kernel does not attach a probe at {offset:#x}: {why}")]
    Kernel { offset: u64, why: io::Error },
    #[error("the process that holds the probes does not take them: {0}")]
    Holder(io::Error),
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

/// The loaded programs.
pub(super) enum Programs {
    /// One link for all places of a file.
    Multi(Multi),
    /// aya's, with a link for each place.
    Single,
}

/// Loads the programs. An error: this kernel cannot run them.
pub(super) fn load(ebpf: &mut Ebpf, object: &[u8]) -> Result<Programs, String> {
    match Multi::load(ebpf, object, &PROGRAMS) {
        Ok(programs) => return Ok(Programs::Multi(programs)),
        Err(why) => tracing::debug!(why, "a uprobe for each place"),
    }
    for name in PROGRAMS {
        let program: &mut UProbe = match ebpf.program_mut(name) {
            Some(Program::UProbe(program)) => program,
            _ => return Err("the object has no such program: rebuild sensor".into()),
        };
        match program.load().map_err(chain) {
            Err(why) if name == COOKIE => tracing::debug!(why, "two probes at a call instead of one"),
            loaded => loaded?,
        }
    }
    Ok(Programs::Single)
}

/// The descriptor of a loaded program.
fn program<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, AttachError> {
    match ebpf.program(name) {
        Some(Program::UProbe(program)) => Ok(program.fd().map_err(|_| AttachError::Program(name))?.as_fd()),
        _ => Err(AttachError::Program(name)),
    }
}

/// Where the links are.
enum Keeper {
    Holder(Holder),
    Own(HashMap<FileId, Vec<OwnedFd>>),
}

/// Probes by file.
pub(super) struct Uprobes {
    attached: HashMap<FileId, Vec<(Hook, u64)>>,
    /// Files whose probes may still be there, with those that are.
    retired: HashMap<FileId, Vec<(Hook, u64)>>,
    shares: Shares,
    keeper: Keeper,
    programs: Programs,
}

impl Uprobes {
    pub(super) fn new(programs: Programs, holder: Option<Holder>) -> Self {
        let keeper = holder.map_or_else(|| Keeper::Own(HashMap::new()), Keeper::Holder);
        Self { attached: HashMap::new(), retired: HashMap::new(), shares: Shares::default(), keeper, programs }
    }

    /// Was the program loaded that needs cookies?
    pub(super) fn has_cookies(&self, ebpf: &Ebpf) -> bool {
        matches!(self.programs, Programs::Multi(_)) || program(ebpf, COOKIE).is_ok()
    }

    pub(super) fn attach(&mut self, ebpf: &Ebpf, attach: Attach) -> Result<(), AttachError> {
        let Attach { file, places, owner, reserved, .. } = attach;
        if self.attached.get(&file).is_some_and(|known| known == places) {
            return Ok(());
        }
        let share = Share { owner, reserved };
        if self.shares.admits(file, share).is_err() {
            self.forget_gone();
            self.shares.admits(file, share)?;
        }
        // It was found again before its probes were gone.
        if let Some(known) = self.retired.remove(&file) {
            if known == places && self.keeper.take_back(file)? {
                self.attached.insert(file, known);
                self.shares.add(file, share);
                return Ok(());
            }
            self.keeper.release(file)?;
        }
        if self.attached.remove(&file).is_some() {
            self.keeper.release(file)?;
        }
        let links = match &self.programs {
            Programs::Multi(multi) => attach_together(multi, attach),
            Programs::Single => attach_each(ebpf, attach),
        };
        self.shares.add(file, share);
        let (links, failure) = match links {
            Ok(links) => (links, None),
            Err((links, failure)) => (links, Some(failure)),
        };
        let kept = self.keeper.keep(file, links);
        match kept.err().or(failure) {
            None => {
                self.attached.insert(file, places.to_vec());
                Ok(())
            }
            Some(failure) => {
                // What was attached goes, but no caller waits for that.
                self.release(file);
                Err(failure)
            }
        }
    }

    /// Soon, in the background: what is at the places has changed.
    pub(super) fn release(&mut self, file: FileId) {
        self.attached.remove(&file);
        self.retired.remove(&file);
        if let Err(error) = self.keeper.release(file) {
            tracing::warn!(%error, "probes cannot be released");
        }
        self.forget(file);
    }

    /// In time, in the background: no process has the file any more.
    pub(super) fn retire(&mut self, file: FileId) {
        let Some(places) = self.attached.remove(&file) else { return };
        match self.keeper.retire(file) {
            Ok(()) => {
                self.retired.insert(file, places);
            }
            Err(error) => tracing::warn!(%error, "probes cannot be retired"),
        }
        self.forget(file);
    }

    /// The files whose probes are gone because their holder is. From here on the links stay in this process.
    pub(super) fn take_lost(&mut self) -> Vec<FileId> {
        let Keeper::Holder(holder) = &self.keeper else { return Vec::new() };
        if !holder.is_lost() {
            return Vec::new();
        }
        self.keeper = Keeper::Own(HashMap::new());
        self.retired.clear();
        self.shares = Shares::default();
        self.attached.drain().map(|(file, _)| file).collect()
    }

    /// Frees the budget of files whose probes are gone.
    fn forget_gone(&mut self) {
        let waiting: Vec<FileId> = self.shares.files().filter(|file| !self.attached.contains_key(file)).collect();
        for file in waiting {
            self.forget(file);
        }
    }

    fn forget(&mut self, file: FileId) {
        if !self.attached.contains_key(&file) && !self.keeper.has(file) {
            self.retired.remove(&file);
            self.shares.remove(file);
        }
    }
}

/// A file's places in the order in which they are attached: jumps first, since a call whose jump is not probed yet
/// would be remembered for nothing.
fn in_order(places: &[(Hook, u64)]) -> impl Iterator<Item = (Hook, u64)> + '_ {
    let of = |jumps| places.iter().copied().filter(move |(hook, _)| is_jump(*hook) == jumps);
    of(true).chain(of(false))
}

fn cookie(hook: Hook) -> Option<u64> {
    match hook {
        Hook::CipherDone(cookie) => Some(cookie),
        _ => None,
    }
}

/// One link for each program. With an error come those that were attached before it.
fn attach_together(multi: &Multi, attach: Attach) -> Result<Vec<OwnedFd>, (Vec<OwnedFd>, AttachError)> {
    let mut programs: Vec<(&'static str, Vec<(u64, u64)>)> = Vec::new();
    for (hook, offset) in in_order(attach.places) {
        let (program, place) = (name(hook), (offset, cookie(hook).unwrap_or_default()));
        match programs.iter_mut().find(|(known, _)| *known == program) {
            Some((_, places)) => places.push(place),
            None => programs.push((program, vec![place])),
        }
    }
    let mut links = Vec::with_capacity(programs.len());
    for (program, places) in programs {
        match multi.attach(program, attach.target, &places) {
            Ok(link) => links.push(link),
            Err(why) => {
                let offset = places.first().map_or(0, |(offset, _)| *offset);
                return Err((links, AttachError::Kernel { offset, why }));
            }
        }
    }
    Ok(links)
}

/// One link for each place. With an error come those that were attached before it.
fn attach_each(ebpf: &Ebpf, attach: Attach) -> Result<Vec<OwnedFd>, (Vec<OwnedFd>, AttachError)> {
    let mut links = Vec::with_capacity(attach.places.len());
    for (hook, offset) in in_order(attach.places) {
        let kernel = |why| AttachError::Kernel { offset, why };
        let link = program(ebpf, name(hook)).and_then(|program| {
            let uprobe = Uprobe::new().map_err(kernel)?;
            uprobe.attach(program, attach.target, offset, cookie(hook)).map_err(kernel)
        });
        match link {
            Ok(link) => links.push(link),
            Err(failure) => return Err((links, failure)),
        }
    }
    Ok(links)
}

impl Keeper {
    fn keep(&mut self, file: FileId, links: Vec<OwnedFd>) -> Result<(), AttachError> {
        match self {
            Self::Holder(holder) => holder.keep(file, &links).map_err(AttachError::Holder),
            Self::Own(kept) => {
                kept.entry(file).or_default().extend(links);
                Ok(())
            }
        }
    }

    fn retire(&mut self, file: FileId) -> Result<(), AttachError> {
        match self {
            Self::Holder(holder) => holder.retire(file).map_err(AttachError::Holder),
            Self::Own(_) => self.release(file),
        }
    }

    fn release(&mut self, file: FileId) -> Result<(), AttachError> {
        match self {
            Self::Holder(holder) => holder.release(file).map_err(AttachError::Holder),
            Self::Own(kept) => {
                let links = kept.remove(&file);
                // Without a thread they go here.
                let _ = std::thread::Builder::new().spawn(move || drop(links));
                Ok(())
            }
        }
    }

    fn take_back(&mut self, file: FileId) -> Result<bool, AttachError> {
        match self {
            Self::Holder(holder) => holder.take_back(file).map_err(AttachError::Holder),
            Self::Own(kept) => Ok(kept.contains_key(&file)),
        }
    }

    /// Is anything of the file left? What cannot be asked counts.
    fn has(&self, file: FileId) -> bool {
        match self {
            Self::Holder(holder) => holder.has(file).unwrap_or(true),
            Self::Own(kept) => kept.contains_key(&file),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Self::Own(kept) = self else { return };
        // The kernel lets each link go only after a grace period: side by side they wait together.
        std::thread::scope(|scope| {
            for link in kept.drain().flat_map(|(_, links)| links) {
                let _ = std::thread::Builder::new().spawn_scoped(scope, move || drop(link));
            }
        });
    }
}
