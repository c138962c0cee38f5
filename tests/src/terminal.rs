//! A session with a terminal: what is typed line by line, each answered before the next, as a person does.

use std::{
    io::{Read as _, Write as _},
    process::{ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use crate::{Running, wait};

pub struct Terminal {
    client: Running,
    input: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
    lines: u32,
}

impl Terminal {
    /// `command` is `ssh -tt ...`.
    pub fn open(command: &mut Command) -> Self {
        let mut client = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let input = client.child().stdin.take().unwrap();
        let mut output = client.child().stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                shown.lock().unwrap().extend_from_slice(&buffer[..len]);
            }
        });
        Self { client, input, screen, lines: 0 }
    }

    /// Types a command and waits until the shell has done it. Returns what the screen shows by then.
    pub fn run(&mut self, command: &str) -> String {
        self.lines += 1;
        let number = self.lines;
        // The shell computes the mark, so the echo of what is typed does not show it.
        writeln!(self.input, "{command}; echo done-$(({number} * 1000))").unwrap();
        let mark = format!("done-{number}000");
        wait::until(&format!("the end of `{command}`"), || Some(self.screen()).filter(|screen| screen.contains(&mark)))
    }

    /// Types a last line and waits for the end of the session.
    pub fn leave(mut self, last: &str) -> ExitStatus {
        writeln!(self.input, "{last}").unwrap();
        self.client.wait()
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }
}
