//! Programs and libraries that may speak SSH: which there are, and what they are.
//!
//! In two steps, since most files are known: candidates, by their identity; then those that are new, examined, each
//! with its open file for the probes. An executable, and what a process has mapped, comes from the broker for reading,
//! whatever its mode is: a user who may not read a file that the kernel runs for them does not keep it from being seen.

use std::{fs::File, path::PathBuf};

use crate::{
    host::{
        beneath::Beneath,
        examine::{self, Examined},
        libraries::{self, Library, Mapped},
        snapshot::{Stamp, file_id_of},
        ssh_binaries::PLACES,
    },
    inspect::{
        answer::{Answer, Answered, Candidate},
        place::Place,
        question::{Range, Where},
        unknown::Unknown,
    },
    kernel::give_back,
};

pub(super) fn candidates(place: &Place, places: &Where) -> Answer {
    let root = &place.root;
    let mut found = Vec::new();
    if !matches!(places, Where::Interpreter(_)) {
        found.extend(PLACES.iter().filter_map(|name| candidate(root, name.into(), false)));
    }
    let libraries = match places {
        Where::Usual => libraries::in_places(root),
        Where::OpenSsh => Vec::new(),
        Where::Interpreter(call) => libraries::of_interpreter(root, call, place.environ.as_ref()),
    };
    found.extend(libraries.into_iter().filter_map(of_library));
    Answer::Candidates(found)
}

fn candidate(root: &Beneath, name: PathBuf, is_library: bool) -> Option<Candidate> {
    let metadata = root.find(&name).ok()?.metadata().ok()?;
    let (file, stamp) = (file_id_of(&metadata), Stamp::from(&metadata));
    metadata.is_file().then_some(Candidate { file, stamp, name, is_library })
}

fn of_library(Library { place, name }: Library) -> Option<Candidate> {
    let metadata = place.metadata().ok()?;
    Some(Candidate { file: file_id_of(&metadata), stamp: Stamp::from(&metadata), name, is_library: true })
}

pub(super) fn ranges(place: &Place) -> Result<Answer, Unknown> {
    let maps = place.maps.as_ref().ok_or(Unknown::Gone)?;
    let range = |Mapped { file, name, range: (start, end) }| Range { file, name, start, end };
    Ok(Answer::Ranges(libraries::mapped(maps).into_iter().map(range).collect()))
}

/// Those of these paths that can be examined.
pub(super) fn examine(place: &Place, files: &[(PathBuf, bool)]) -> Answered {
    let root = &place.root;
    let open = files.iter().filter_map(|(name, is_library)| Some((root.open(name).ok()?, name, *is_library)));
    all(open)
}

pub(super) fn examine_mapped(place: Place, names: &[PathBuf]) -> Answered {
    let open = place.mapped.into_iter().zip(names).filter_map(|(open, name)| Some((open?, name, true)));
    all(open)
}

pub(super) fn examine_executable(place: Place, name: &PathBuf) -> Result<Answered, Unknown> {
    Ok(all(std::iter::once((place.content.ok_or(Unknown::Gone)?, name, false))))
}

fn all<'a>(files: impl Iterator<Item = (File, &'a PathBuf, bool)>) -> Answered {
    let mut found: Vec<Examined> = Vec::new();
    let mut descriptors = Vec::new();
    for (open, name, is_library) in files {
        let examine = if is_library { examine::examine_library } else { examine::examine };
        let Ok(examined) = examine(&open, name) else { continue };
        if examined.speaks.is_some() {
            descriptors.push(open.into());
        }
        found.push(examined);
    }
    // What large files took: the worker stays for other questions.
    give_back();
    Answered { answer: Ok(Answer::Examined(found)), descriptors }
}
