//! uprobes at call sites of the cipher function in programs that speak SSH.
//!
//! What enters: a file and the offsets of its calls and of the branches after them (`Hook`). What leaves: links, kept by file; a uprobe belongs to an inode, so every
//! process that runs the file, now or later and in any container, is covered by one attachment. A file is covered as a whole or not at all: half of its sites would
//! give half of a session. Attaching takes a fraction of a millisecond a site; detaching waits for the kernel (*measured*: 0.1 s a site), so it is done by threads.
//!
//! While a link goes, the kernel lets nobody attach: one lock serves both. *Measured*: 50 files let go together kept the next ones waiting for 13 s, and their first connections were missed.
//! So what nobody has any more goes link by link, with pauses.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aya::{
    Ebpf,
    programs::{
        Program, UProbe,
        uprobe::{UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};

use super::load::chain;
use crate::event::stream::{FileId, Hook};

/// Between two links that go. Where many wait it is shorter: each keeps a descriptor and a deleted file.
const PAUSE: Duration = Duration::from_secs(1);
/// Files that wait, for which the pause is halved.
const MANY: u32 = 16;

/// The probes of a file.
struct Attached<L> {
    places: Vec<(Hook, u64)>,
    links: Vec<L>,
}

/// Probes of files that nobody has any more.
struct Retired<L> {
    /// The oldest first.
    files: VecDeque<(FileId, Attached<L>)>,
    /// A thread takes them away.
    going: bool,
}

/// Probes by file.
#[derive(Default)]
pub(super) struct Uprobes {
    attached: HashMap<FileId, Attached<UProbeLink>>,
    retired: Arc<Mutex<Retired<UProbeLink>>>,
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
        let back = lock(&self.retired).take(file);
        match back {
            // It was found again before its probes were gone.
            Some(back) if back.places == places && back.links.len() == places.len() => {
                self.attached.insert(file, back);
                return Ok(());
            }
            Some(changed) => drop_at_once(changed.links.into_iter()),
            None => {}
        }
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
        self.attached.insert(file, Attached { places: places.to_vec(), links });
        Ok(())
    }

    /// Now, in the background: what is at the places has changed.
    pub(super) fn detach(&mut self, file: FileId) {
        if let Some(attached) = self.attached.remove(&file) {
            std::thread::spawn(move || drop_at_once(attached.links.into_iter()));
        }
    }

    /// In time, in the background: nobody has the file any more.
    pub(super) fn retire(&mut self, file: FileId) {
        let Some(attached) = self.attached.remove(&file) else { return };
        if lock(&self.retired).add(file, attached) {
            let retired = Arc::clone(&self.retired);
            std::thread::spawn(move || {
                loop {
                    let next = lock(&retired).next_link();
                    let Some((link, pause)) = next else { break };
                    drop(link);
                    std::thread::sleep(pause);
                }
            });
        }
    }
}

impl<L> Default for Retired<L> {
    fn default() -> Self {
        Self { files: VecDeque::new(), going: false }
    }
}

impl<L> Retired<L> {
    /// True: nobody takes them away yet.
    fn add(&mut self, file: FileId, attached: Attached<L>) -> bool {
        self.files.push_back((file, attached));
        !std::mem::replace(&mut self.going, true)
    }

    /// What is left of a file's.
    fn take(&mut self, file: FileId) -> Option<Attached<L>> {
        let at = self.files.iter().position(|(known, _)| *known == file)?;
        self.files.remove(at).map(|(_, attached)| attached)
    }

    /// The next link that may go, and how long to wait after it. A file stays until its last one is taken.
    fn next_link(&mut self) -> Option<(L, Duration)> {
        let pause = PAUSE * MANY / (MANY + u32::try_from(self.files.len()).unwrap_or(u32::MAX - MANY));
        while let Some((_, attached)) = self.files.front_mut() {
            if let Some(link) = attached.links.pop() {
                return Some((link, pause));
            }
            self.files.pop_front();
        }
        self.going = false;
        None
    }
}

impl Drop for Uprobes {
    fn drop(&mut self) {
        let retired = std::mem::take(&mut lock(&self.retired).files);
        let all = self.attached.drain().chain(retired);
        drop_at_once(all.flat_map(|(_, attached)| attached.links));
    }
}

fn lock<L>(retired: &Mutex<Retired<L>>) -> MutexGuard<'_, Retired<L>> {
    // Nothing panics while it has the lock; and if, a queue is a queue.
    retired.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel lets each link go only after a grace period: side by side they wait together.
fn drop_at_once(links: impl Iterator<Item = UProbeLink>) {
    std::thread::scope(|scope| {
        for link in links {
            scope.spawn(move || drop(link));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retired_goes_one_by_one_or_comes_back() {
        let file = |inode| FileId { dev: 1, inode };
        let probes = |links: &[u8]| Attached { places: Vec::new(), links: links.to_vec() };
        let mut retired = Retired::default();
        assert!(retired.add(file(1), probes(&[1, 2])), "somebody has to begin");
        assert!(!retired.add(file(2), probes(&[3])) && !retired.add(file(3), probes(&[4])), "somebody has");
        assert_eq!(
            retired.next_link().map(|(link, _)| link),
            Some(2),
            "calls before jumps: the last attached goes first"
        );
        assert_eq!(retired.take(file(1)).map(|left| left.links), Some(vec![1]));
        assert!(retired.take(file(1)).is_none());
        let rest: Vec<u8> = std::iter::from_fn(|| retired.next_link()).map(|(link, _)| link).collect();
        assert_eq!(rest, [3, 4]);
        assert!(retired.add(file(4), probes(&[5])), "whoever took the last one has ended");
        let alone = retired.next_link().map(|(_, pause)| pause).unwrap_or_default();
        for inode in 5..500 {
            retired.add(file(inode), probes(&[6]));
        }
        let many = retired.next_link().map(|(_, pause)| pause).unwrap_or_default();
        assert!(alone <= PAUSE && alone > PAUSE / 2 && many < PAUSE / 20 && !many.is_zero(), "{alone:?} {many:?}");
    }
}
