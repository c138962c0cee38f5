//! What configuration files hold: their hashes, read as the user who deploys. The hashes are plain and stay in memory: the daemon keys them.

use std::path::{Path, PathBuf};

use super::{Answer, Place, Unknown, folders::Folders};
use crate::host::config_files::look;

pub(super) fn answer(place: Place, working: Option<&Path>, files: &[PathBuf]) -> Result<Answer, Unknown> {
    let folders = Folders::of(place, working);
    Ok(Answer::Configuration(look::look(&folders.root, folders.working.as_deref(), files)))
}
