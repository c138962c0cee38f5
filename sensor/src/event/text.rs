//! Bytes that should be text, and their way into JSON without loss.
//!
//! Arguments and paths are byte strings. Valid UTF-8 goes into a record as it is. Otherwise each byte that is no part of a valid character
//! becomes `\xHH` and each backslash is doubled, and the record names the field in `sensor.escaped`, so the bytes can be had back exactly.

use std::{borrow::Cow, fmt::Write as _};

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

/// Text for a terminal: one line, no control characters that a probed program could use to forge output.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Bidirectional overrides reorder what follows them on the terminal.
            if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
            {
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

#[cfg(test)]
mod tests {
    use super::*;

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
