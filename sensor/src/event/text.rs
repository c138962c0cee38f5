//! Bytes that should be text, and their way into JSON without loss.
//!
//! Arguments and paths are byte strings. Valid UTF-8 goes into a record as it is. Otherwise each byte that is no part
//! of a valid character becomes `\xHH` and each backslash is doubled, and the record names the field in
//! `sensor.escaped`, so the bytes can be had back exactly.

use std::{borrow::Cow, fmt::Write as _};

use super::hidden::is_hidden;

/// Text for a record, and whether it had to be escaped.
pub fn escape(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (Cow::Borrowed(text), false);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        out.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    (Cow::Owned(out), true)
}

/// Bytes that a character takes in JSON, as `render` writes it: what is hidden takes six, or twelve.
fn json_len_of(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        _ if is_hidden(c) => 6 * c.len_utf16(),
        _ => c.len_utf8(),
    }
}

/// Bytes that text takes in JSON.
pub fn json_len(text: &str) -> usize {
    text.chars().map(json_len_of).sum()
}

/// Cuts text to so many bytes of JSON. True: it was longer.
pub fn fit_json(text: &mut String, max: usize) -> bool {
    // Nothing takes more than six for one.
    if text.len() <= max / 6 {
        return false;
    }
    let mut len = 0;
    let over = text.char_indices().find(|(_, c)| {
        len += json_len_of(*c);
        len > max
    });
    match over.map(|(at, _)| at) {
        Some(at) => text.truncate(at),
        None => return false,
    }
    true
}

/// Cuts a list of texts in all to so many bytes of JSON, quotes and commas included. True: it was longer.
pub fn fit_json_list(list: &mut Vec<String>, max: usize) -> bool {
    const AROUND: usize = 3;
    let mut left = max;
    for at in 0..list.len() {
        let Some(text) = list.get_mut(at) else { break };
        let room = left.saturating_sub(AROUND);
        if left < AROUND || fit_json(text, room) {
            let keep = if left < AROUND { at } else { at + 1 };
            list.truncate(keep);
            return true;
        }
        left = room - json_len(text);
    }
    false
}

/// Text for a terminal: one line, nothing that a probed program could use to forge output.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_hidden(c) {
                let _ = write!(out, "{}", c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The symbolic name of an error of the kernel (`ECONNREFUSED`); None if Linux has none of this number.
pub fn errno_name(errno: i32) -> Option<String> {
    let known = nix::errno::Errno::from_raw(errno);
    (known != nix::errno::Errno::UnknownErrno).then(|| format!("{known:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::hidden::tests::{KINDS, TEXT};

    #[test]
    fn text_and_lists_are_cut_by_what_they_take_in_json() {
        for (text, max, cut) in
            [("abc", 3, "abc"), ("abc", 2, "ab"), ("a\u{1}b", 7, "a\u{1}"), ("\u{e0041}", 11, ""), ("", 0, "")]
        {
            let mut own = text.to_owned();
            assert_eq!((fit_json(&mut own, max), own.as_str()), (cut != text, cut));
        }
        let list = |max| {
            let mut list = vec!["ab".to_owned(), String::new(), "\n\n".into()];
            (fit_json_list(&mut list, max), list)
        };
        assert!(!list(5 + 3 + 7).0);
        assert_eq!(list(14), (true, vec!["ab".into(), String::new(), "\n".into()]));
        assert_eq!(list(9), (true, vec!["ab".into(), String::new()]));
        assert_eq!(list(4), (true, vec!["a".into()]));
        assert_eq!(list(0), (true, vec![]));
    }

    #[test]
    fn valid_utf8_is_not_touched() {
        assert_eq!(escape("grün \\ x".as_bytes()), (Cow::Borrowed("grün \\ x"), false));
    }

    #[test]
    fn escaped_bytes_can_be_had_back() {
        let bytes = b"a\\x41\xff\xc3(\xe2\x82";
        let (text, escaped) = escape(bytes);
        assert!(escaped);
        assert_eq!(text, "a\\\\x41\\xff\\xc3(\\xe2\\x82");
        assert_eq!(unescape(&text), bytes);
    }

    #[test]
    fn a_terminal_never_sees_control_characters() {
        assert_eq!(printable(b"\x1b[2Jls\r\n\xff"), "\\u{1b}[2Jls\\r\\n\\xff");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        for (kind, chars) in KINDS {
            assert!(printable(chars.as_bytes()).is_ascii(), "{kind}");
        }
        assert_eq!(printable(TEXT.as_bytes()), TEXT);
    }

    /// What a consumer does with a field named in `sensor.escaped`.
    fn unescape(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            rest = match (first, tail) {
                (b'\\', [b'\\', tail @ ..]) => {
                    out.push(b'\\');
                    tail
                }
                (b'\\', [b'x', high, low, tail @ ..]) => {
                    out.extend(hex::decode([*high, *low]).unwrap());
                    tail
                }
                _ => {
                    out.push(*first);
                    tail
                }
            };
        }
        out
    }
}
