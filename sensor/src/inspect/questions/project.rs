//! What a deploy's own files and environment say: its project's configuration, and the variables of a hook that its
//! definition calls safe.
//!
//! Read as the user who deploys: what that user may not read is `unreadable`. A path is resolved beneath the process's
//! root; relative ones from its working directory, if its path from the kernel leads to the directory that the process
//! is in, else beneath that directory. A file that was written to meanwhile is said to have changed. Of an environment
//! only the asked names are kept, and the buffer that held the rest is overwritten.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::folders::Folders;
use crate::{
    deploy::{self, Tools},
    event::deploy::{FileState, ToolFile},
    inspect::{answer::Answer, place::Place, question::Invoked, unknown::Unknown},
};

/// An environment is read this far: the kernel's own limit for all of argv and environment is larger, but no usual one
/// is.
const ENVIRONMENT_MAX: usize = 1 << 20;
/// Bytes kept of one variable.
const VALUE_MAX: usize = 1024;

pub(super) fn answer(place: Place, invoked: &Invoked) -> Result<Answer, Unknown> {
    let tools = if invoked.tools.is_empty() { Tools::shipped() } else { known(&invoked.tools)? };
    let argv: Vec<&str> = invoked.argv.iter().map(String::as_str).collect();
    let Some(mut invocation) = tools.recognise(&argv, invoked.executable.as_deref(), &[]) else {
        return Ok(Answer::Project(None));
    };
    if let Some(folder) = invoked.working_directory.as_deref().and_then(Path::to_str) {
        invocation.in_folder(folder);
    }
    let folders = Folders::of(place, invoked.working_directory.as_deref());
    let wanted = deploy::wanted(&invocation);
    let found = wanted.iter().map(|file| folders.file(&file.path, file.read, deploy::FILE_MAX)).collect::<Vec<_>>();
    let project = deploy::read_project(&invocation, wanted.into_iter().zip(found).collect());
    Ok(Answer::Project(Some(Box::new(project))))
}

fn known(own: &[ToolFile]) -> Result<Tools, Unknown> {
    // They are sound: the daemon read them before.
    Tools::new(own).map_err(|_| Unknown::Crashed)
}

impl Folders {
    fn file(&self, path: &str, read: bool, max: usize) -> Result<Option<Vec<u8>>, FileState> {
        let path = Path::new(path);
        let place = self.find(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileState::Missing,
            _ => FileState::Unreadable,
        })?;
        let before = place.metadata().map_err(|_| FileState::Unreadable)?;
        if !before.is_file() {
            return Err(FileState::Unreadable);
        }
        if !read {
            return Ok(None);
        }
        if before.len() > max as u64 {
            return Err(FileState::TooLarge);
        }
        let mut file = place.open().map_err(|_| FileState::Unreadable)?;
        let mut bytes = Vec::new();
        (&mut file).take(max as u64 + 1).read_to_end(&mut bytes).map_err(|_| FileState::Unreadable)?;
        if bytes.len() > max {
            return Err(FileState::TooLarge);
        }
        let after = file.metadata().map_err(|_| FileState::Unreadable)?;
        let stamp = |m: &std::fs::Metadata| (m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        if stamp(&before) != stamp(&after) {
            return Err(FileState::Changed);
        }
        Ok(Some(bytes))
    }
}

/// The variables of these names.
pub(super) fn variables(place: &Place, names: &[String]) -> Result<Answer, Unknown> {
    let environ = place.environ.as_ref().ok_or(Unknown::Gone)?;
    Ok(Answer::Variables(chosen(environ, names, &mut vec![0; ENVIRONMENT_MAX])?))
}

/// Into a buffer that does not grow: what it held before it moved would stay in memory.
fn chosen(mut environ: &File, names: &[String], buffer: &mut [u8]) -> Result<Vec<(String, String)>, Unknown> {
    let mut length = 0;
    let read = loop {
        match environ.read(buffer.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break Ok(()),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    let text = buffer.get_mut(..length).unwrap_or_default();
    let line = |name: &String| -> Option<(String, String)> {
        let value = text.split(|byte| *byte == 0).find_map(|line| {
            line.strip_prefix(name.as_bytes())?.strip_prefix(b"=").filter(|value| value.len() <= VALUE_MAX)
        })?;
        Some((name.clone(), std::str::from_utf8(value).ok()?.to_owned()))
    };
    let found = names.iter().filter_map(line).collect();
    text.fill(0);
    // Or the compiler leaves it out: the memory is freed next.
    std::hint::black_box(text);
    read?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::beneath::{Beneath, Budget};

    #[test]
    fn of_an_environment_only_the_asked_names_are_kept_and_the_rest_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("environ");
        std::fs::write(&path, b"KAMAL_VERSIONX=no\0KAMAL_VERSION=5f9\0DATABASE_URL=s3cr3t\0").unwrap();
        let mut buffer = vec![0; 256];
        let names = ["KAMAL_VERSION".to_owned(), "KAMAL_HOSTS".to_owned()];
        let found = chosen(&File::open(&path).unwrap(), &names, &mut buffer).unwrap();
        assert_eq!(found, [("KAMAL_VERSION".to_owned(), "5f9".to_owned())]);
        assert_eq!(buffer, vec![0; 256]);
    }

    #[test]
    fn files_are_found_in_the_working_directory_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("small", b"x: y");
        write("large", &[b'x'; 5000]);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::os::unix::fs::symlink("/proc/self/root/etc/passwd", folder.path().join("magic")).unwrap();
        let beneath = |path: &Path| Beneath::at(path, Budget::QUESTION).unwrap();
        let of = |working: Option<&Path>| Folders {
            root: beneath("/".as_ref()),
            working: working.map(Path::to_owned),
            directory: Some(beneath(folder.path())),
        };
        for folders in [of(Some(folder.path())), of(None)] {
            let look = |name: &str| folders.file(name, true, 4096);
            assert_eq!(look("small"), Ok(Some(b"x: y".to_vec())));
            assert_eq!(folders.file("large", false, 4096), Ok(None));
            assert_eq!(look("large"), Err(FileState::TooLarge));
            assert_eq!(look("missing"), Err(FileState::Missing));
            assert_eq!(look("fifo"), Err(FileState::Unreadable));
            // Where the directory is the root, there is no /proc in it.
            assert!(matches!(look("magic"), Err(FileState::Unreadable | FileState::Missing)));
        }
    }
}
