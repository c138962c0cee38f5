//! Layer 4: where rendered records go.
//!
//! What enters: whole lines. A file gets them in single writes, so a crash leaves no half line; after a write that failed half way (full disk) the file is
//! cut back to its last whole line. Lines that cannot be written are counted, never waited for: the caller turns the count into a record when
//! writing works again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
#[error("cannot open {path} for writing: {source}")]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

enum Target {
    File(File),
    Stdout(io::Stdout),
}

pub struct Sink {
    target: Target,
    lost: u64,
    /// The reader of standard output is gone.
    closed: bool,
}

impl Sink {
    /// `-` is standard output.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let target = if path.as_os_str() == "-" {
            Target::Stdout(io::stdout())
        } else {
            let file = open(path).map_err(|source| OpenError { path: path.into(), source })?;
            Target::File(file)
        };
        Ok(Self { target, lost: 0, closed: false })
    }

    /// Opens the output anew: it was rotated away, or is another one now. On an error the old one stays.
    pub fn reopen(&mut self, path: &Path) -> Result<(), OpenError> {
        self.target = Self::open(path)?.target;
        Ok(())
    }

    /// Writes `count` whole lines.
    pub fn emit(&mut self, lines: &[u8], count: u64) {
        if lines.is_empty() {
            return;
        }
        let result = match &mut self.target {
            Target::File(file) => append(file, lines),
            Target::Stdout(out) => out.write_all(lines).and_then(|()| out.flush()),
        };
        if let Err(error) = result {
            self.lost += count;
            self.closed |= error.kind() == io::ErrorKind::BrokenPipe;
            if !self.closed {
                tracing::error!(%error, lines = count, "cannot write records; they are counted and reported");
            }
        }
    }

    /// Lines lost since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Is there nobody left to write to?
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    // Another writer, or a crash of the machine, may have left a line without its end.
    if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata()?;
    file.write_all(lines).inspect_err(|_| {
        if before.is_file() {
            // Best effort: the disk is full or failing anyway.
            let _ = file.set_len(before.len());
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_file_is_private_appended_to_and_reopened() {
        let path = std::env::temp_dir().join(format!("sensor-sink-{}", std::process::id()));
        fs::write(&path, "half a li").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut sink = Sink::open(&path).unwrap();
        sink.emit(b"one\n", 1);
        let rotated = path.with_extension("1");
        fs::rename(&path, &rotated).unwrap();
        sink.emit(b"two\n", 1);
        sink.reopen(&path).unwrap();
        sink.emit(b"three\n", 1);
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "half a li\none\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        fs::remove_file(&rotated).unwrap();
    }

    #[test]
    fn a_full_disk_is_counted_and_leaves_no_half_line() {
        let mut sink = Sink::open("/dev/full".as_ref()).unwrap();
        sink.emit(b"one\ntwo\n", 2);
        assert_eq!(sink.take_lost(), 2);
        assert_eq!(sink.take_lost(), 0);
    }
}
