//! The last look at a file before it is probed, by a worker that has no rights on files and never parsed one of a user:
//! what another worker said of it is not believed.
//!
//! Not on a file system that a user's program serves (FUSE). Kernel fact: where a uprobe is put while a process has the
//! file mapped, the kernel reads the instruction with `dup_mmap_sem` held for writing, for which every fork of the host
//! waits; a server that does not answer would stop the host (*measured* on 6.18: 18 s of silence, and a fork took 18
//! s). Nor where statfs(2) fails: FUSE passes it on to its server.

use rustix::fs::fstatfs;

use crate::{
    host::sites::places,
    inspect::{answer::Answer, place::Place, unknown::Unknown},
};

/// statfs(2)
const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;

/// May these offsets of the file be probed?
pub(super) fn answer(place: &Place, offsets: &[u64]) -> Result<Answer, Unknown> {
    let file = place.content.as_ref().ok_or(Unknown::Gone)?;
    let wrong = match fstatfs(file).map(|system| system.f_type.cast_unsigned()) {
        Err(error) => Some(format!("its file system does not say what it is: {error}")),
        Ok(FUSE_SUPER_MAGIC) => Some("it is on a file system that a program serves (FUSE)".to_owned()),
        Ok(_) => places::check(file, offsets).err().map(|wrong| wrong.to_string()),
    };
    Ok(Answer::Places { wrong })
}
