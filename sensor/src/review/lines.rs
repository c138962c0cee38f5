//! A log to its lines, in bounded memory.
//!
//! What enters: bytes of a file that may still be written to. What leaves: each whole line, lent. A last line without
//! its end is being written, or was cut by a crash: if it cannot be read it is nobody's fault and not counted. Any
//! other line that is no JSON object is counted. A line longer than a record can be is skipped up to its end, never
//! kept.

use std::io::{self, BufRead};

/// A record is at most 256 KiB (the contract); what is much longer is none.
const LINE_MAX: usize = 1 << 20;

/// What a log held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines with something in them, the broken ones too.
    pub lines: u64,
    pub broken: u64,
}

/// A line that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Hands each line that looks like a JSON object to `take`, which reads it if it is of interest. An error of the input
/// (a compressed file that was cut) comes after what could be read: `report` holds.
pub fn read(
    mut input: impl BufRead,
    report: &mut Report,
    mut take: impl FnMut(&[u8]) -> Result<(), Broken>,
) -> io::Result<()> {
    let mut kept: Vec<u8> = Vec::new();
    let mut overlong = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            // The last line has no end (yet).
            if !kept.is_empty() && !overlong && whole(&kept) && take(&kept).is_ok() {
                report.lines += 1;
            }
            return Ok(());
        }
        let (part, ended) = match memchr::memchr(b'\n', buffer) {
            Some(at) => (buffer.get(..at).unwrap_or_default(), true),
            None => (buffer, false),
        };
        let used = part.len() + usize::from(ended);
        if ended && kept.is_empty() && !overlong {
            line(part, report, &mut take);
        } else {
            if kept.len() + part.len() > LINE_MAX {
                overlong = true;
                kept.clear();
            } else if !overlong {
                kept.extend_from_slice(part);
            }
            if ended {
                if overlong {
                    report.lines += 1;
                    report.broken += 1;
                } else {
                    line(&kept, report, &mut take);
                }
                kept.clear();
                overlong = false;
            }
        }
        input.consume(used);
    }
}

fn line(line: &[u8], report: &mut Report, take: &mut impl FnMut(&[u8]) -> Result<(), Broken>) {
    let line = line.trim_ascii();
    if line.is_empty() {
        return;
    }
    report.lines += 1;
    if !whole(line) || take(line).is_err() {
        report.broken += 1;
    }
}

/// Does it look like one JSON object? Most lines of a log are of no interest and get no closer look.
fn whole(line: &[u8]) -> bool {
    line.first() == Some(&b'{') && line.last() == Some(&b'}')
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn read_all(text: &[u8], buffer: usize) -> (Vec<String>, Report) {
        let mut lines = Vec::new();
        let mut report = Report::default();
        let take = |line: &[u8]| {
            let line = String::from_utf8_lossy(line).into_owned();
            let broken = line.contains("bad");
            lines.push(line);
            if broken { Err(Broken) } else { Ok(()) }
        };
        read(BufReader::with_capacity(buffer, text), &mut report, take).unwrap();
        (lines, report)
    }

    #[test]
    fn whole_lines_are_lent_broken_ones_counted_and_a_torn_end_is_not() {
        let text = b"{\"a\":1}\n\nnot json\n{\"bad\"}\n\0\0\0\n{\"b\":2}\r\n{\"torn\":";
        for buffer in [1, 3, 7, 4096] {
            let (lines, report) = read_all(text, buffer);
            assert_eq!(lines, ["{\"a\":1}", "{\"bad\"}", "{\"b\":2}"], "buffer of {buffer}");
            assert_eq!(report, Report { lines: 5, broken: 3 }, "buffer of {buffer}");
        }
    }

    #[test]
    fn a_last_line_that_is_whole_but_for_its_newline_counts() {
        let (lines, report) = read_all(b"{\"a\":1}\n{\"b\":2}", 5);
        assert_eq!((lines.len(), report), (2, Report { lines: 2, broken: 0 }));
        assert_eq!(read_all(b"{\"bad\"}", 5).1, Report::default());
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut text = vec![b'{'; 3 * LINE_MAX];
        text.extend_from_slice(b"}\n{\"a\":1}\n");
        let (lines, report) = read_all(&text, 4096);
        assert_eq!((lines.len(), report), (1, Report { lines: 2, broken: 1 }));
        let endless = vec![b'{'; 3 * LINE_MAX];
        assert_eq!(read_all(&endless, 4096), (Vec::new(), Report::default()));
    }
}
