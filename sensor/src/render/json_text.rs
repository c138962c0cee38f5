//! Strings of JSON without a character that a viewer obeys or hides.
//!
//! In: what serde_json is about to write of a string. Out: the same, with DEL, C1 controls, bidirectional and invisible
//! characters as `\uXXXX` (two of them, a surrogate pair, beyond U+FFFF): every parser gives the same string back (RFC
//! 8259, 7), and a terminal that shows the log (`tail`, `less -r`, `jq -r` aside) gets no command. serde_json escapes
//! what the RFC demands: C0, quote, backslash.

use std::io::{self, Write};

use serde_json::ser::Formatter;

use crate::event::hidden::{is_hidden, may_hide};

/// Compact, as serde_json's own.
pub(super) struct Visible;

/// The same of JSON that is written already: outside of its strings there is nothing from U+007F on.
pub fn visible(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c < '\u{7f}' || !is_hidden(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = std::fmt::Write::write_fmt(&mut out, format_args!("\\u{unit:04x}"));
        }
    }
    out
}

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if !may_hide(fragment.as_bytes()) {
            return out.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            let (before, after) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = after.get(c.len_utf8()..).unwrap_or_default();
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize as _;

    use super::*;
    use crate::event::{
        hidden::tests::{KINDS, TEXT},
        text::json_len,
    };

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        text.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Visible)).unwrap();
        String::from_utf8(out).unwrap()
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
