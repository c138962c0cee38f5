//! Logs to read deploys from: files, rotated and gzipped ones, standard input.
//!
//! They are read twice. Each is opened once and rewound, so that a rotation in between changes nothing; what cannot be
//! rewound (a pipe) is copied to an unnamed file first.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    cli::error::Error,
    review::lines::{self, Broken, Report},
};

/// Few reads, and still small beside the rest.
const BUFFER: usize = 256 << 10;
/// RFC 1952, 2.3.1.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) struct Logs {
    files: Vec<(PathBuf, File)>,
    /// Of the first reading.
    pub report: Report,
    /// Files that ended inside compressed data, or could not be read to their end.
    pub cut: Vec<String>,
}

impl Logs {
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, Error> {
        let files = paths.iter().map(|path| {
            let failed = |source| Error::Io { what: format!("cannot read {}", path.display()), source };
            open(path).map(|file| (path.clone(), file)).map_err(failed)
        });
        Ok(Self { files: files.collect::<Result<_, _>>()?, report: Report::default(), cut: Vec::new() })
    }

    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// Reads all of them, from the beginning.
    pub(super) fn read(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Broken>) -> Result<(), Error> {
        self.report = Report::default();
        self.cut.clear();
        for (path, file) in &mut self.files {
            file.rewind().map_err(|source| Error::Io { what: format!("cannot read {}", path.display()), source })?;
            if let Err(error) = read(file, &mut self.report, &mut take) {
                self.cut.push(format!("{} is not read to its end: {error}", path.display()));
            }
        }
        Ok(())
    }
}

fn read(file: &File, report: &mut Report, take: impl FnMut(&[u8]) -> Result<(), Broken>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(BUFFER, file);
    if input.fill_buf()?.starts_with(&GZIP_MAGIC) {
        lines::read(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input)), report, take)
    } else {
        lines::read(input, report, take)
    }
}

/// A file that can be read twice.
fn open(path: &Path) -> io::Result<File> {
    let spool = |mut input: Box<dyn io::Read>| {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut input, &mut file)?;
        Ok(file)
    };
    if path.as_os_str() == "-" {
        return spool(Box::new(io::stdin()));
    }
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if kind.is_file() { Ok(file) } else { spool(Box::new(file)) }
}

/// The daemon's output with what logrotate made of it (`NAME.1`, `NAME.2.gz`, `NAME-20261121`), the oldest first. What
/// was last written before `since` holds nothing of interest.
pub(super) fn with_rotated(path: &Path, since: Option<i64>) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let since = since.and_then(|ns| u64::try_from(ns).ok()).map(|ns| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns));
    let rotated = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let own = entry.file_name();
        let rest = own.as_encoded_bytes().strip_prefix(name)?;
        let metadata = entry.metadata().ok()?;
        let written = metadata.modified().ok()?;
        let is_rotated = matches!(rest, [b'.' | b'-', ..]) && rest.iter().any(u8::is_ascii_digit);
        (is_rotated && metadata.is_file() && since.is_none_or(|since| written >= since))
            .then(|| (written, entry.path()))
    });
    let mut rotated: Vec<(SystemTime, PathBuf)> = rotated.collect();
    rotated.sort();
    rotated.into_iter().map(|(_, path)| path).chain([path.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_logs_precede_the_current_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_hours(24 * day);
        for (name, written) in [
            ("sensor.json.2.gz", 1),
            ("sensor.json-20261121", 2),
            ("sensor.json", 3),
            ("sensor.json.bak", 1),
            ("other.1", 1),
        ] {
            fs::write(path(name), "").unwrap();
            File::options().write(true).open(path(name)).unwrap().set_modified(day(written)).unwrap();
        }
        let found = with_rotated(&path("sensor.json"), None);
        assert_eq!(found, ["sensor.json.2.gz", "sensor.json-20261121", "sensor.json"].map(path));
        let since = i64::try_from(day(2).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        assert_eq!(with_rotated(&path("sensor.json"), Some(since)).len(), 2);
    }
}
