//! What an executable or a library holds, read in pieces: memory does not grow with the file.
//!
//! In: an open file, or bytes. Out: `Content`, of which `object` takes tables by reference (kept while the file is
//! looked at, `TABLES_MAX` bytes in all), and `pieces` of what is long: instructions, constants.
//!
//! Files are read with pread(2), not mapped. A user can cut a file while a worker looks at it: that would be SIGBUS for
//! a mapping, and is a short read here. A user can also change it between two reads: so no reader may trust that it
//! finds the same bytes twice, and every offset is checked where it is used. How it fails: a table that is not in the
//! file, or too large, is an error of `object`; pieces end early.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use object::read::{ReadCache, ReadCacheOps, ReadRef};

/// Bytes of tables that are kept: node's names and symbols are 17 MiB, those of Python's cryptography 4 MiB.
const TABLES_MAX: u64 = 24 << 20;
/// Bytes that are looked at together.
const PIECE: usize = 64 << 10;
/// Names are cut out of blocks of this size, or each of some ten thousand would be a read of its own.
const BLOCK: u64 = 64 << 10;
/// The longest name: C++ has names of some hundred bytes.
const NAME_MAX: u64 = 4096;

#[derive(Clone, Copy)]
pub enum Content<'a> {
    Bytes(&'a [u8]),
    File(&'a Opened<'a>),
}

/// An open file with the tables that were read of it.
pub struct Opened<'f> {
    file: &'f File,
    tables: ReadCache<Tables<'f>>,
}

/// A part of what is searched.
pub(super) struct Piece<'a> {
    /// Offset of its first byte, from the beginning of what is searched.
    pub(super) at: u64,
    pub(super) bytes: &'a [u8],
    /// The next piece begins after so many bytes: what begins there is found there.
    pub(super) own: usize,
}

impl<'f> Opened<'f> {
    pub fn new(file: &'f File) -> Self {
        Self { file, tables: ReadCache::new(Tables { file, at: 0, left: TABLES_MAX }) }
    }
}

impl<'a> From<&'a [u8]> for Content<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Opened<'a>> for Content<'a> {
    fn from(opened: &'a Opened<'a>) -> Self {
        Self::File(opened)
    }
}

impl Content<'_> {
    /// Is this range of offsets in the file?
    pub(super) fn holds(self, at: u64, size: u64) -> bool {
        at.checked_add(size).is_some_and(|end| self.len().is_ok_and(|len| end <= len))
    }

    /// Fills the buffer from an offset on; tells how much of it.
    pub(super) fn read(self, at: u64, buffer: &mut [u8]) -> usize {
        match self {
            Self::Bytes(all) => {
                let rest = usize::try_from(at).ok().and_then(|at| all.get(at..)).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                for (to, from) in buffer.iter_mut().zip(rest) {
                    *to = *from;
                }
                count
            }
            Self::File(opened) => read(opened.file, at, buffer),
        }
    }

    /// Shows every piece of a range, in order; each but the first begins with the last `overlap` bytes of the one
    /// before it.
    pub(super) fn pieces<E>(
        self,
        range: Range<u64>,
        overlap: usize,
        mut visit: impl FnMut(&Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0; PIECE];
        let mut at = range.start;
        while at < range.end {
            let wanted = (range.end - at).min(PIECE as u64);
            let Some(window) = buffer.get_mut(..wanted as usize) else { break };
            let count = self.read(at, window);
            let bytes = window.get(..count).unwrap_or_default();
            let is_last = count < PIECE || at + count as u64 == range.end;
            let own = if is_last { count } else { count.saturating_sub(overlap) };
            visit(&Piece { at: at - range.start, bytes, own })?;
            if is_last {
                break;
            }
            at += own.max(1) as u64;
        }
        Ok(())
    }
}

impl<'a> ReadRef<'a> for Content<'a> {
    fn len(self) -> Result<u64, ()> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(opened) => (&opened.tables).len(),
        }
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        match self {
            Self::Bytes(bytes) => bytes.read_bytes_at(offset, size),
            // Before memory is taken for it: a sparse file costs its owner nothing.
            Self::File(_) if size > TABLES_MAX => Err(()),
            Self::File(opened) => (&opened.tables).read_bytes_at(offset, size),
        }
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let opened = match self {
            Self::Bytes(bytes) => return bytes.read_bytes_at_until(range, delimiter),
            Self::File(opened) => opened,
        };
        let block = range.start - range.start % BLOCK;
        let end = block.saturating_add(BLOCK + NAME_MAX).min(self.len()?);
        let bytes = (&opened.tables).read_bytes_at(block, end.checked_sub(block).ok_or(())?)?;
        let name = bytes.get((range.start - block) as usize..).ok_or(())?;
        let longest = range.end.saturating_sub(range.start).min(NAME_MAX) as usize;
        let name = name.get(..longest).unwrap_or(name);
        name.get(..memchr::memchr(delimiter, name).ok_or(())?).ok_or(())
    }
}

/// Reads tables, as many as may be kept.
struct Tables<'f> {
    file: &'f File,
    at: u64,
    left: u64,
}

impl ReadCacheOps for Tables<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(drop)
    }

    fn seek(&mut self, at: u64) -> Result<u64, ()> {
        self.at = at;
        Ok(at)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or(())?;
        let count = read(self.file, self.at, buffer);
        self.at += count as u64;
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        if self.read(buffer)? == buffer.len() { Ok(()) } else { Err(()) }
    }
}

fn read(file: &File, at: u64, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn pieces_of_a_file_and_of_bytes_hold_every_place_once() {
        let bytes: Vec<u8> = (0..PIECE * 2 + 100).map(|n| (n % 251) as u8).collect();
        let file = file(&bytes);
        let opened = Opened::new(&file);
        for content in [Content::from(&opened), Content::from(&*bytes)] {
            for (range, overlap) in [(0..bytes.len(), 5), (7..PIECE + 8, 128), (1..2, 9), (3..PIECE + 3, 16)] {
                let mut found = Vec::new();
                let shown: Result<(), ()> =
                    content.pieces(range.start as u64..range.end as u64, overlap, |Piece { at, bytes, own }| {
                        assert_eq!(*at, found.len() as u64);
                        // What begins in a piece is in it with `overlap` bytes, but at the end.
                        assert!(own + overlap == bytes.len() || found.len() + bytes.len() == range.len());
                        found.extend_from_slice(&bytes[..*own]);
                        Ok(())
                    });
                assert!(shown.is_ok() && found == bytes[range], "{overlap}");
            }
        }
    }

    #[test]
    fn names_are_the_same_in_a_file_as_in_bytes() {
        let mut bytes = vec![b'x'; BLOCK as usize - 3];
        bytes.extend(b"\0name across two blocks\0");
        bytes.extend([b'y'; NAME_MAX as usize + 1]);
        let file = file(&bytes);
        let opened = Opened::new(&file);
        let (content, len) = (Content::from(&opened), bytes.len() as u64);
        let start = BLOCK - 2;
        assert_eq!(content.read_bytes_at_until(start..len, 0), Ok(&b"name across two blocks"[..]));
        assert_eq!(content.read_bytes_at_until(start..start + 4, 0), Err(()));
        assert_eq!(content.read_bytes_at_until(len - 5..len, 0), Err(()));
        assert_eq!(content.read_bytes_at_until(u64::MAX - 5..u64::MAX, 0), Err(()));
        assert_eq!(content.read_bytes_at_until(0..len, 0), Err(()), "longer than any name");
    }

    #[test]
    fn tables_that_claim_more_than_any_program_has_are_not_kept() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let opened = Opened::new(&file);
        let content = Content::from(&opened);
        assert!(content.read_bytes_at(0, TABLES_MAX / 2).is_ok());
        assert!(content.read_bytes_at(1, TABLES_MAX / 2).is_ok());
        assert_eq!(content.read_bytes_at(2, 1), Err(()));
    }
}
