//! One channel of the guest: the command's output, with marked notes of the guest's init in between.
//!
//! In: chunks of bytes as they arrive, cut anywhere. Out: the output, byte for byte and as soon as it cannot be part
//! of a note, and the notes (`up RELEASE SECONDS`, `exit STATUS`). A note is a zero byte, the run's random mark, a
//! space, its text and a newline: in the channel itself, since only its order says that all output has come.
//! A channel that ends without `exit` belongs to a guest that died; what was held back is then output.

use std::io::{self, Read, Write};
use std::mem;

#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Output(Vec<u8>),
    Note(String),
}

pub(super) struct Splitter {
    /// A note's beginning: zero byte, mark, space.
    start: Vec<u8>,
    held: Vec<u8>,
}

impl Splitter {
    pub(super) fn new(mark: &str) -> Self {
        Self { start: format!("\0{mark} ").into_bytes(), held: Vec::new() }
    }

    /// What the channel says up to and with `chunk`, save a last part that may be the beginning of a note.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Vec<Piece> {
        self.held.extend_from_slice(chunk);
        let mut pieces = Vec::new();
        loop {
            let note = self.note_begins();
            if note > 0 {
                let rest = self.held.split_off(note);
                pieces.push(Piece::Output(mem::replace(&mut self.held, rest)));
            }
            let Some(end) = self.held.iter().position(|&byte| byte == b'\n') else { return pieces };
            let rest = self.held.split_off(end + 1);
            let line = mem::replace(&mut self.held, rest);
            let text = line.get(self.start.len()..end).unwrap_or_default();
            pieces.push(Piece::Note(String::from_utf8_lossy(text).into_owned()));
        }
    }

    /// Where the first note begins, or what may become one; the length where there is none.
    fn note_begins(&self) -> usize {
        let tails = self.held.iter().enumerate().filter(|&(_, &byte)| byte == 0);
        let mut starts = tails.map(|(at, _)| (at, self.held.get(at..).unwrap_or_default()));
        let begins = |tail: &[u8]| tail.starts_with(&self.start) || self.start.starts_with(tail);
        starts.find(|(_, tail)| begins(tail)).map_or(self.held.len(), |(at, _)| at)
    }
}

/// Copies a channel to `output` until the note `exit`, whose status it returns, or until it ends. Other notes go to
/// `noted`. Where `output` is closed the rest is read all the same: the guest must not hang on a full pipe.
pub(super) fn relay(
    mut channel: impl Read,
    mut output: impl Write,
    mark: &str,
    mut noted: impl FnMut(&str),
) -> io::Result<Option<i32>> {
    let mut splitter = Splitter::new(mark);
    let mut chunk = vec![0; 65536];
    loop {
        let length = channel.read(&mut chunk)?;
        if length == 0 {
            let _ = output.write_all(&splitter.held).and_then(|()| output.flush());
            return Ok(None);
        }
        for piece in splitter.feed(chunk.get(..length).unwrap_or_default()) {
            match piece {
                Piece::Output(bytes) => {
                    let _ = output.write_all(&bytes).and_then(|()| output.flush());
                }
                Piece::Note(text) => match text.strip_prefix("exit ") {
                    Some(status) => return Ok(status.parse().ok()),
                    None => noted(&text),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &[u8] = b"\0m1 up 6.1 2.5\nout\0put\n\0m2 no note\n\0m1 exit 3\n";

    #[test]
    fn output_and_notes_are_told_apart_wherever_the_chunks_are_cut() {
        for size in 1..CHANNEL.len() {
            let mut splitter = Splitter::new("m1");
            let (mut output, mut notes) = (Vec::new(), Vec::new());
            for piece in CHANNEL.chunks(size).flat_map(|chunk| splitter.feed(chunk)) {
                match piece {
                    Piece::Output(bytes) => output.extend(bytes),
                    Piece::Note(text) => notes.push(text),
                }
            }
            assert_eq!(output, b"out\0put\n\0m2 no note\n");
            assert_eq!(notes, ["up 6.1 2.5", "exit 3"]);
        }
    }

    #[test]
    fn a_channel_that_ends_early_has_no_status_and_loses_no_output() {
        let mut output = Vec::new();
        let status = relay(b"half a mark\0m".as_slice(), &mut output, "m1", |_| ());
        assert_eq!(status.ok(), Some(None));
        assert_eq!(output, b"half a mark\0m");
    }
}
