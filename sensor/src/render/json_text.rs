//! Strings of JSON without a character that a viewer obeys or hides.
//!
//! In: JSON as serde_json writes it. Out: the same, with DEL, C1 controls, bidirectional and invisible
//! characters as `\uXXXX` (two of them, a surrogate pair, beyond U+FFFF): every parser gives the same string back (RFC
//! 8259, 7), and a terminal that shows the log (`tail`, `less -r`, `jq -r` aside) gets no command. serde_json escapes
//! what the RFC demands: C0, quote, backslash.

use std::fmt::Write as _;

use crate::event::hidden::{is_hidden, may_hide};

/// Makes what was written from this byte on visible. Most lines have nothing to hide, which one look over them shows:
/// a look at each string takes a tenth of the time of a record.
pub(super) fn make_visible(out: &mut Vec<u8>, from: usize) {
    let written = out.get(from..).unwrap_or_default();
    if may_hide(written)
        && let Ok(text) = std::str::from_utf8(written)
    {
        let text = visible(text);
        out.truncate(from);
        out.extend_from_slice(text.as_bytes());
    }
}

/// JSON with its hidden characters escaped: outside of its strings there is nothing from U+007F on.
pub fn visible(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c < '\u{7f}' || !is_hidden(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        hidden::tests::{KINDS, TEXT},
        text::json_len,
    };

    fn json(text: &str) -> String {
        let mut out = b"before \x7f ".to_vec();
        let from = out.len();
        serde_json::to_writer(&mut out, text).unwrap();
        make_visible(&mut out, from);
        String::from_utf8(out.split_off(from)).unwrap()
    }

    #[test]
    fn nothing_hidden_is_written_raw_and_nothing_is_lost() {
        for (kind, chars) in KINDS {
            let text = format!("a{chars}\"\\ü{chars}");
            let written = json(&text);
            assert!(!written.chars().any(is_hidden), "{kind}: {written}");
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text, "{kind}");
            assert_eq!(json_len(&text), written.len() - 2, "{kind}");
            assert_eq!(visible(&serde_json::to_string(&text).unwrap()), written, "{kind}");
        }
        assert_eq!(json("\u{9b}\u{e0041}"), r#""\u009b\udb40\udc41""#);
    }

    #[test]
    fn text_stays_text() {
        for text in [TEXT, "", "plain", "\u{1}\n\t\"\\\u{8}\u{c}\r"] {
            assert_eq!(serde_json::from_str::<String>(&json(text)).unwrap(), text);
            assert_eq!(json_len(text), json(text).len() - 2, "{text:?}");
        }
        assert_eq!(json(TEXT), format!("\"{TEXT}\""));
    }
}
