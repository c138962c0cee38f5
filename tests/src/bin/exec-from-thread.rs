//! Executes a program from a thread that is not the leader: `exec-from-thread PROGRAM ARGUMENT...`.
//!
//! The kernel gives the thread its leader's id and ends all others: the process continues under the same id with
//! another program.

use std::{env, os::unix::process::CommandExt as _, process::Command, thread};

fn main() {
    let words: Vec<_> = env::args_os().skip(1).collect();
    let Some((program, arguments)) = words.split_first() else { return };
    let mut command = Command::new(program);
    command.args(arguments);
    // Comes back only with an error.
    if let Ok(error) = thread::spawn(move || command.exec()).join() {
        eprintln!("cannot execute {}: {error}", program.to_string_lossy());
    }
    std::process::exit(126);
}
