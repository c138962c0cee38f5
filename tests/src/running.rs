//! A process that a test started: killed when dropped.

use std::{
    fmt,
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Characters of output that a failed test shows.
const SHOWN: usize = 2000;

pub struct Running {
    what: String,
    child: Child,
}

/// How a command ended and what it said.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let shown = text.char_indices().nth(SHOWN).map_or(text.as_str(), |(at, _)| &text[..at]);
        write!(f, "{}, stderr {:?}, stdout of {} bytes {shown:?}", self.status, self.stderr, self.stdout.len())
    }
}

impl Ended {
    /// Its exit code; a signal is a failure of the test.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let what = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        Self { what, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.what));
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, with what it says: its output and errors are pipes.
    pub fn output(self) -> Ended {
        to_the_end(self)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.what);
        wait::until(&what, || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end. Killed when it takes too long.
pub fn finish(command: &mut Command) -> Ended {
    Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())).output()
}

fn to_the_end(mut running: Running) -> Ended {
    let (mut stdout, mut stderr) = (running.child.stdout.take().unwrap(), running.child.stderr.take().unwrap());
    std::thread::scope(|scope| {
        let out = scope.spawn(move || read(&mut stdout));
        let err = scope.spawn(move || read(&mut stderr));
        let status = wait::within(wait::PATIENCE, || running.ended());
        if status.is_none() {
            let _ = running.child.kill();
        }
        let (stdout, stderr) = (out.join().unwrap(), String::from_utf8_lossy(&err.join().unwrap()).into_owned());
        let status = status.unwrap_or_else(|| panic!("{}: no end; it said {stderr}", running.what));
        Ended { status, stdout, stderr }
    })
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Ended {
    let ended = finish(command);
    assert!(ended.status.success(), "{command:?} failed: {ended:?}");
    ended
}

fn read(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    bytes
}
