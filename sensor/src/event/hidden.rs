//! Characters that a viewer obeys or does not show: nothing that a user chose may reach a terminal, a pager or a
//! console of logs with them.
//!
//! In: a character. Out: is it one of those? By Unicode 16: controls (Cc: C0, DEL, C1), separators of lines and
//! paragraphs, what reorders text (Bidi_Control), what has no width or is not drawn (Default_Ignorable_Code_Point:
//! zero-width characters, variation selectors, tags), interlinear annotations, private use of the last planes and
//! noncharacters. The table is sorted; ASCII is decided before it is asked.

/// First and last of each range, from U+007F on.
const HIDDEN: &[(u32, u32)] = &[
    (0x7f, 0x9f),
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x61c, 0x61c),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfdd0, 0xfdef),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0xfffe, 0xffff),
    (0x1_bca0, 0x1_bca3),
    (0x1_d173, 0x1_d17a),
    (0xe_0000, 0x10_ffff),
];

/// Is the character a command to a viewer, or invisible?
pub fn is_hidden(c: char) -> bool {
    let code = u32::from(c);
    if code < 0x7f {
        return code < 0x20;
    }
    // The last two of each plane are noncharacters.
    code & 0xfffe == 0xfffe
        || HIDDEN
            .binary_search_by(|(first, last)| {
                if code < *first {
                    std::cmp::Ordering::Greater
                } else if code > *last {
                    std::cmp::Ordering::Less
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
}

/// Can there be one besides C0 controls? In ordinary text there is no byte from 0x7f on.
pub fn may_hide(text: &[u8]) -> bool {
    // Without branches: it is vectorized.
    text.iter().fold(0, |most: u8, byte| most.max(*byte)) >= 0x7f
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One of each kind, and its neighbours that are text.
    pub(crate) const KINDS: &[(&str, &str)] = &[
        ("DEL", "\u{7f}"),
        ("C1", "\u{80}\u{85}\u{9b}\u{9f}"),
        ("separators", "\u{2028}\u{2029}"),
        ("bidi", "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}"),
        ("zero width", "\u{ad}\u{34f}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{180e}\u{115f}\u{3164}\u{ffa0}"),
        ("tags", "\u{e0001}\u{e0041}\u{e007f}"),
        ("variation selectors", "\u{fe00}\u{fe0f}\u{e0100}\u{e01ef}"),
        ("noncharacters", "\u{fdd0}\u{fffe}\u{ffff}\u{1ffff}\u{10ffff}"),
        ("annotations", "\u{fff9}\u{fffb}"),
    ];
    pub(crate) const TEXT: &str = "a ~ grün \u{a0} é \u{2010} \u{2027} \u{202f} \u{2070} 日本語 \u{fffd} 🦀 \u{1d172}";

    #[test]
    fn each_kind_is_known_and_text_is_text() {
        for (kind, chars) in KINDS {
            assert!(chars.chars().all(is_hidden), "{kind}");
            assert!(may_hide(chars.as_bytes()), "{kind}");
        }
        assert!(TEXT.chars().all(|c| !is_hidden(c)), "{TEXT}");
        assert!(('\0'..' ').all(is_hidden));
        assert!(!may_hide(b"plain text ~"));
        assert!(HIDDEN.is_sorted() && HIDDEN.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
