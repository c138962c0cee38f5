//! A place that lines are written to, with an exact account of which got there.
//!
//! In: whole lines. Out: how many of them are there now. A regular file gets them in single writes, so a crash leaves
//! no half line; after a write that failed half way (full disk) the file is cut back to its last whole line, and if
//! that fails too, before the next one. A pipe or terminal gets pieces of PIPE_BUF bytes, each when poll(2) says that
//! there is room: such a write does not block (pipe(7)), so what got there is known also when its reader stopped.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
    os::fd::AsFd as _,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::event::text::errno_name;

/// PIPE_BUF of Linux.
const PIECE: usize = 4096;
/// Between two looks whether to continue.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

pub(super) struct Output {
    file: File,
    /// Its length, if it is a regular file.
    size: Option<u64>,
    /// A half line is at the end: so many bytes are to be taken away.
    torn: u64,
}

/// What became of lines.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub lines: u64,
    /// Why the others are not there; none: somebody asked to stop.
    pub error: Option<io::Error>,
}

impl Output {
    pub(super) fn new(file: File) -> Self {
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file);
        Self { file, size: metadata.map(|metadata| metadata.len()), torn: 0 }
    }

    pub(super) fn stdout() -> io::Result<Self> {
        Ok(Self::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }

    /// Bytes that are in it, if it is a regular file.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Writes whole lines. `go_on` is asked between pieces, with the lines that are there.
    pub(super) fn write(&mut self, lines: &[u8], go_on: impl FnMut(u64) -> bool) -> Written {
        if self.size.is_some() { self.append(lines) } else { self.pass(lines, go_on) }
    }

    fn append(&mut self, lines: &[u8]) -> Written {
        if self.torn > 0
            && let Err(error) = self.cut(self.torn)
        {
            return Written { lines: 0, error: Some(error) };
        }
        let mut done = 0;
        let mut error = None;
        while let Some(rest) = lines.get(done..).filter(|rest| error.is_none() && !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => error = Some(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(failed) if failed.kind() == io::ErrorKind::Interrupted => {}
                Err(failed) => error = Some(failed),
            }
        }
        let there = lines.get(..done).unwrap_or_default();
        let whole = memchr::memrchr(b'\n', there).map_or(0, |at| at + 1);
        self.size = self.size.map(|size| size + whole as u64);
        if whole < done {
            self.torn = (done - whole) as u64;
            // Fails on a disk that fails: then before the next write.
            let _ = self.cut(self.torn);
        }
        Written { lines: count(there), error }
    }

    /// Takes bytes away from the end. Without O_APPEND the offset has to follow.
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        self.file.set_len(len.saturating_sub(bytes))?;
        self.file.seek(SeekFrom::End(0))?;
        self.torn = 0;
        Ok(())
    }

    fn pass(&mut self, lines: &[u8], mut go_on: impl FnMut(u64) -> bool) -> Written {
        let mut done = Written::default();
        let mut rest = lines;
        while !rest.is_empty() {
            let mut ready = [PollFd::new(&self.file, PollFlags::OUT)];
            match poll(&mut ready, Some(&LOOK)) {
                Err(rustix::io::Errno::INTR) | Ok(0) if go_on(done.lines) => continue,
                Err(rustix::io::Errno::INTR) | Ok(0) => return done,
                Err(error) => return Written { error: Some(error.into()), ..done },
                // Also an error of the other end: the write says which.
                Ok(_) => {}
            }
            let piece = rest.get(..PIECE).unwrap_or(rest);
            match self.file.write(piece) {
                Ok(n) => {
                    done.lines += count(rest.get(..n).unwrap_or_default());
                    rest = rest.get(n..).unwrap_or_default();
                    if !rest.is_empty() && !go_on(done.lines) {
                        return done;
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Written { error: Some(error), ..done },
            }
        }
        done
    }
}

fn count(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// The name of an error, for a reader of records.
pub(super) fn error_name(error: &io::Error) -> String {
    let code = error.raw_os_error();
    code.and_then(errno_name).unwrap_or_else(|| code.map_or_else(|| error.to_string(), |code| format!("errno {code}")))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _};

    use super::*;

    #[test]
    fn a_full_disk_is_an_error_with_its_name() {
        let mut output = Output::new(File::options().write(true).open("/dev/full").unwrap());
        let written = output.write(b"one\ntwo\n", |_| true);
        assert_eq!((written.lines, error_name(&written.error.unwrap())), (0, "ENOSPC".into()));
    }

    #[test]
    fn what_a_stopped_reader_did_not_take_is_known() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output = Output::new(File::from(std::os::fd::OwnedFd::from(writer)));
        let line = [[b'x'; 99].as_slice(), b"\n"].concat();
        let mut asked = 0;
        let written = output.write(&line.repeat(10_000), |_| {
            asked += 1;
            asked < 40
        });
        assert!(written.error.is_none());
        drop(output);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert!(got.len() >= 65_536 - PIECE, "{} bytes", got.len());
        assert_eq!(count(&got), written.lines);
    }

    #[test]
    fn half_a_line_is_cut_away_before_the_next() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "one\nhal").unwrap();
        let mut output = Output::new(File::options().append(true).read(true).open(file.path()).unwrap());
        output.torn = 3;
        assert_eq!(output.write(b"two\n", |_| true).lines, 1);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "one\ntwo\n");
    }
}
