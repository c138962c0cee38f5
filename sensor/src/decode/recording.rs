//! Recordings: the event stream in a file.
//!
//! A line of magic, then frames: length (u32, little endian) and an event in postcard. Written after redaction, so a
//! recording never holds a secret that a record would not show. A file that was cut (crash, full disk) is read up to
//! its last whole frame and the rest reported.

use std::io::{self, Read, Write};

use crate::event::stream::Event;

const MAGIC: &[u8; 16] = b"sensor stream 1\n";
/// No event is larger: argv is at most 32 KiB.
const FRAME_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not a recording of this version of sensor (it does not begin with \"sensor stream 1\")")]
    Magic,
    #[error("recording is cut inside frame {frame}")]
    Cut { frame: u64 },
    #[error("frame {frame} is damaged: {why}")]
    Damaged { frame: u64, why: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes a recording.
pub struct Writer<W: Write> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out, buffer: Vec::new() })
    }

    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        self.buffer.clear();
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = postcard::to_extend(event, buffer).map_err(io::Error::other)?;
        self.out.write_all(&(self.buffer.len() as u32).to_le_bytes())?;
        self.out.write_all(&self.buffer)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub fn get_ref(&self) -> &W {
        &self.out
    }

    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }
}

/// Reads a recording, event by event.
pub struct Reader<R: Read> {
    input: R,
    buffer: Vec<u8>,
    frame: u64,
}

impl<R: Read> Reader<R> {
    pub fn new(mut input: R) -> Result<Self, Error> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).map_err(|_| Error::Magic)?;
        if &magic != MAGIC {
            return Err(Error::Magic);
        }
        Ok(Self { input, buffer: Vec::new(), frame: 0 })
    }

    fn next_frame(&mut self) -> Result<Option<Event>, Error> {
        let mut len = [0; 4];
        // Nothing at all is the end; less than a length is a cut.
        let mut have = 0;
        while let Some(rest) = len.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest)? {
                0 if have == 0 => return Ok(None),
                0 => return Err(Error::Cut { frame: self.frame }),
                n => have += n,
            }
        }
        let len = u32::from_le_bytes(len) as usize;
        if len > FRAME_MAX {
            return Err(Error::Damaged { frame: self.frame, why: format!("{len} bytes, the limit is {FRAME_MAX}") });
        }
        self.buffer.resize(len, 0);
        self.input.read_exact(&mut self.buffer).map_err(|_| Error::Cut { frame: self.frame })?;
        let event = postcard::from_bytes(&self.buffer)
            .map_err(|error| Error::Damaged { frame: self.frame, why: error.to_string() })?;
        self.frame += 1;
        Ok(Some(event))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_frame().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::stream::EventKind;

    #[test]
    fn a_recording_comes_back_and_a_cut_is_said() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let events =
            [Event { time: 1, what: EventKind::Tick }, Event { time: 2, what: EventKind::Clock { offset: -3 } }];
        for event in &events {
            writer.write(event).unwrap();
        }
        let bytes = writer.out;
        let back: Vec<_> = Reader::new(&bytes[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(back, events);
        let cut: Vec<_> = Reader::new(&bytes[..bytes.len() - 1]).unwrap().collect();
        assert!(matches!(cut.as_slice(), [Ok(_), Err(Error::Cut { frame: 1 })]));
        assert!(matches!(Reader::new(&b"{}"[..]), Err(Error::Magic)));
    }
}
