//! Executes a program as often and as fast as this machine can: `storm COUNT THREADS LONG PROGRAM ARGUMENT...`.
//!
//! Each of COUNT runs gets its number as another argument, each of the first LONG runs 30 KiB after that. The standard
//! library uses posix_spawn (vfork), so the cost is the kernel's fork, exec and exit. Exit code 1 if a run failed.

use std::{
    env,
    ffi::OsString,
    process::{Command, ExitCode},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

const LONG_BYTES: usize = 30 << 10;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let number = |word: Option<&OsString>| word.and_then(|word| word.to_str()?.parse::<usize>().ok());
    let (Some(count), Some(threads), Some(long)) = (number(words.first()), number(words.get(1)), number(words.get(2)))
    else {
        eprintln!("storm COUNT THREADS LONG PROGRAM ARGUMENT...");
        return ExitCode::from(2);
    };
    let (Some(program), arguments) = (words.get(3), words.get(4..).unwrap_or_default()) else {
        return ExitCode::from(2);
    };
    let filling = "x".repeat(LONG_BYTES);
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let mut command = Command::new(program);
            command.args(arguments).arg(number.to_string()).env_clear();
            if number < long {
                command.arg(&filling);
            }
            if !command.status().is_ok_and(|status| status.success()) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
    ExitCode::from(u8::from(failed.into_inner() > 0))
}
