//! Command lines, as argv and as shell text.
//!
//! Asserted: an argv that was not said to be changed is not, and redacting what was redacted comes to an end. (Text
//! made for it can need more passes than one call makes: what a mark replaces may have hidden the start of something
//! else.)

use sensor::decode::redact::{redact_args, redact_line};

/// No text of the length that is tried needs as many.
const CALLS: usize = 64;

const EXECUTABLES: [&[u8]; 6] = [
    b"/usr/bin/python3.11",
    b"/usr/bin/mysql",
    b"/home/a/snmpget",
    b"/usr/bin/dash",
    b"/usr/bin/busybox",
    b"/home/a/x",
];

pub fn run(data: &[u8]) {
    // The program is one by its file, or by its name for itself.
    let executable = EXECUTABLES.get(usize::from(data.len() as u8 & 7)).copied();
    let mut args: Vec<Vec<u8>> = data.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let before = args.clone();
    let redacted = redact_args(&mut args, executable);
    assert_eq!(redacted, args != before, "{}", text(data));
    let calls = (0..CALLS).take_while(|_| redact_args(&mut args, executable)).count();
    assert!(calls < CALLS, "no end: {}", text(data));
    let mut line = redact_line(data);
    assert_ne!(line.as_deref(), Some(data), "{}", text(data));
    let mut calls = 0;
    while let Some(clean) = line {
        calls += 1;
        assert!(calls < CALLS, "no end: {}", text(data));
        line = redact_line(&clean);
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
