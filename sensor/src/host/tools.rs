//! Definitions of deploy tools that the user added: every `.toml` file of one folder, in the order of their names.
//!
//! The folder is root's, as the configuration that names it is: its contents are checked by `deploy`, not distrusted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::event::deploy::ToolFile;

/// Kamal's definition, the longest, has 14 KiB.
const FILE_MAX: u64 = 64 << 10;
/// All of them go into one event of the stream.
const TOTAL_MAX: usize = 512 << 10;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the tool definitions in {path} (deploy.tools of the configuration): {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} has {size} bytes: a tool definition has no more than {FILE_MAX}")]
    TooLarge { path: PathBuf, size: u64 },
    #[error("the tool definitions in {path} have over {TOTAL_MAX} bytes: leave there what is used on this host")]
    TooMany { path: PathBuf },
}

/// The definitions in this folder.
pub fn read(folder: &Path) -> Result<Vec<ToolFile>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let entries = fs::read_dir(folder).map_err(failed(folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let size = fs::metadata(&path).map_err(failed(&path))?.len();
        if size > FILE_MAX {
            return Err(Error::TooLarge { path, size });
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        Ok(ToolFile { path: path.display().to_string(), text })
    };
    let files: Vec<ToolFile> = paths.into_iter().map(read).collect::<Result<_, _>>()?;
    if files.iter().map(|file| file.text.len()).sum::<usize>() > TOTAL_MAX {
        return Err(Error::TooMany { path: folder.to_owned() });
    }
    Ok(files)
}
