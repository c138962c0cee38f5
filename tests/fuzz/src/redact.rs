//! Command lines, as argv and as shell text.
//!
//! Asserted: an argv that was not said to be changed is not, and what was redacted once is not redacted again.

use sensor::decode::redact::{redact_args, redact_line};

pub fn run(data: &[u8]) {
    let mut args: Vec<Vec<u8>> = data.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let before = args.clone();
    let redacted = redact_args(&mut args);
    assert_eq!(redacted, args != before, "{}", text(data));
    let once = args.clone();
    assert!(!redact_args(&mut args), "not idempotent: {} became {}", text(&once.join(&0)), text(&args.join(&0)));
    if let Some(line) = redact_line(data) {
        assert_ne!(line, data, "{}", text(data));
        assert_eq!(redact_line(&line), None, "not idempotent: {}", text(&line));
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
