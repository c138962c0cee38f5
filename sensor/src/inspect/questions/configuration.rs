//! What configuration files hold: their hashes, read as the user who deploys. The hashes are plain and stay in memory:
//! the daemon keys them.

use std::path::{Path, PathBuf};

use super::folders::Folders;
use crate::{
    host::config_files::look,
    inspect::{answer::Answer, place::Place},
};

pub(super) fn answer(place: Place, working: Option<&Path>, files: &[PathBuf]) -> Answer {
    let folders = Folders::of(place, working);
    Answer::Configuration(look::look(&folders.root, folders.working.as_deref(), files))
}
