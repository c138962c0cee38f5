//! The entries of a passwd file (passwd(5)).
//!
//! In: its bytes, which are a user's where the root is. Out: entries, in their order; lines that are none are passed
//! over. The first entry of a uid counts, as for getpwuid(3).

/// Larger passwd files are read this far.
pub const PASSWD_MAX: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub name: &'a str,
    pub uid: u32,
    /// Empty where the line ends before it.
    pub home: &'a str,
}

pub fn entries(text: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':').map(|field| str::from_utf8(field).ok());
        let name = fields.next()??;
        let uid = fields.nth(1)??.parse().ok()?;
        let home = fields.nth(2).unwrap_or(Some(""))?;
        Some(Entry { name, uid, home })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_entries_are_passed_over() {
        let text = b"root:x:0:0::/root:/bin/sh\ntoor:x:0:\n#\n:::\n\xff:x:5\nno:x:-1\nlast:x:7";
        let found: Vec<_> = entries(text).map(|entry| (entry.name, entry.uid, entry.home)).collect();
        assert_eq!(found, [("root", 0, "/root"), ("toor", 0, ""), ("last", 7, "")]);
    }
}
