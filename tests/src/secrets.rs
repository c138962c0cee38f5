//! Secrets that a test plants, and the search for them: as they are, in base64 (at each of its three alignments) and in
//! hexadecimal; in files and in a process's memory.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
};

use crate::lab::random;

/// An unguessable beginning, and what it looks like in other clothes.
pub struct Mark {
    text: String,
}

impl Mark {
    pub fn new(kind: &str) -> Self {
        Self { text: format!("{kind}{}", &random()[..8]) }
    }

    pub fn secret(&self) -> String {
        self.text.clone() + &random()
    }

    fn shapes(&self) -> Vec<Vec<u8>> {
        let bytes = self.text.as_bytes();
        let mut shapes = vec![bytes.to_vec(), in_hex(bytes)];
        for skip in 0..3 {
            // Whole groups of three bytes only: the same wherever the text lies.
            let whole = &bytes[skip..skip + (bytes.len() - skip) / 3 * 3];
            shapes.push(base64(whole));
        }
        shapes
    }

    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.shapes().iter().any(|shape| memchr::memmem::find(bytes, shape).is_some())
    }
}

fn in_hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap() as u8;
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let word = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|shift| ALPHABET[(word >> shift & 63) as usize])
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// What of a process's memory has a name that fits.
pub fn memory(pid: u32, fits: impl Fn(&str) -> bool) -> Vec<u8> {
    let maps = BufReader::new(File::open(format!("/proc/{pid}/maps")).unwrap());
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let (range, mode) = (words.next().unwrap(), words.next().unwrap());
        if !mode.starts_with('r') || !fits(words.next_back().unwrap_or_default()) {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        // What cannot be read ([vvar]) holds nothing of ours.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            all.extend(bytes);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::running;

    #[test]
    fn the_search_knows_its_shapes() {
        let mark = Mark { text: "Zkabcdef01".into() };
        let in_base64 = running::succeed(Command::new("sh").args(["-c", "printf 'xZkabcdef01more' | base64"])).text();
        assert!(mark.is_in(in_base64.as_bytes()), "{in_base64}");
        assert!(mark.is_in(b"..5a6b6162636465663031.."));
        assert!(!mark.is_in(b"Zkabcdef02"));
    }
}
