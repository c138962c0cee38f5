//! Answers to the questions of the tests. Built for tests only.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::Path,
    thread,
    time::Duration,
};

use crate::inspect::{
    answer::{Answer, Answered},
    place::Place,
    trial::Trial,
    unknown::Unknown,
};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    net::{AddressFamily, SocketType, socket},
};

impl Trial {
    /// What a worker sends that was taken over.
    pub(super) fn raw(&self) -> Option<(Vec<u8>, Option<OwnedFd>)> {
        match self {
            Self::Garbage => Some((vec![0xff; 64], None)),
            Self::ReadDescriptor(path) => {
                let answer: Result<Answer, Unknown> = Ok(Answer::Trial(Vec::new()));
                Some((postcard::to_stdvec(&answer).unwrap(), Some(File::open(path).unwrap().into())))
            }
            _ => None,
        }
    }

    pub(super) fn answer(self, place: &Place) -> Answered {
        let mut descriptors = Vec::new();
        let answer = match self {
            Self::Read(path) => place.root.read(Path::new(&path), 1 << 20).map_err(Unknown::from),
            Self::ReadBlindly(path) => std::fs::read(path).map_err(Unknown::from),
            Self::Sleep { milliseconds } => {
                thread::sleep(Duration::from_millis(milliseconds));
                Ok(Vec::new())
            }
            Self::Bomb => Ok(bomb()),
            Self::Spin => loop {
                std::hint::spin_loop();
            },
            Self::Panic => panic!("a trial"),
            Self::Garbage | Self::ReadDescriptor(_) => Ok(Vec::new()),
            Self::Size(size) => Ok(vec![7; size]),
            Self::Content => read(place.content.as_ref()),
            Self::Environ => read(place.environ.as_ref()),
            Self::Cmdline => read(place.cmdline.as_ref()),
            Self::Mapped(..) => read(place.mapped.first().and_then(Option::as_ref)),
            Self::Status => std::fs::read("/proc/self/status").map_err(Unknown::from),
            Self::Forbidden(folder) => Ok(forbidden(Path::new(&folder)).into_bytes()),
            Self::Descriptor(path) => {
                descriptors.extend(File::open(path).map(OwnedFd::from));
                Ok(Vec::new())
            }
        };
        Answered { answer: answer.map(Answer::Trial), descriptors }
    }
}

fn read(file: Option<&File>) -> Result<Vec<u8>, Unknown> {
    let mut bytes = Vec::new();
    let file = file.ok_or(Unknown::Gone)?;
    let mut head = [0; 4];
    // A file has a position that all its holders share; an ELF file is known by its first bytes.
    if file.read_at(&mut head, 0).is_ok() && head == *b"\x7fELF" {
        return Ok(head.to_vec());
    }
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn bomb() -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(vec![1; 8 << 20]);
        if all.len() > 1 << 12 {
            return Vec::new();
        }
    }
}

/// One line each of what must fail: its name and the error.
fn forbidden(folder: &Path) -> String {
    let (new, own) = (folder.join("new"), folder.join("own"));
    let (mode, no) = (Mode::from_raw_mode(0o600), ResolveFlags::empty());
    let errno = |result: Result<(), rustix::io::Errno>| result.err().map_or(0, rustix::io::Errno::raw_os_error);
    let open = |path: &Path, flags| {
        errno(
            rustix::fs::openat2(
                rustix::fs::CWD,
                path,
                flags,
                if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() },
                no,
            )
            .map(drop),
        )
    };
    let system = |result: io::Result<()>| result.err().and_then(|error| error.raw_os_error()).unwrap_or_default();
    let one = rustix::process::Pid::INIT;
    let lines = [
        ("socket", errno(socket(AddressFamily::INET, SocketType::STREAM, None).map(drop))),
        ("unix", errno(socket(AddressFamily::UNIX, SocketType::STREAM, None).map(drop))),
        ("kill", errno(rustix::process::test_kill_process(one))),
        ("exec", system(std::process::Command::new("/bin/true").spawn().map(drop))),
        ("thread", system(thread::Builder::new().spawn(|| ()).map(drop))),
        ("create", system(File::create(&new).map(drop))),
        ("fsuid", i32::from(nix::unistd::setfsuid(nix::unistd::Uid::from_raw(0)).is_root())),
        ("uid", errno(rustix::thread::set_thread_uid(rustix::process::Uid::ROOT))),
        ("create2", open(&new, OFlags::CREATE | OFlags::RDONLY)),
        ("write2", open(&own, OFlags::WRONLY)),
        ("truncate2", open(&own, OFlags::RDONLY | OFlags::TRUNC)),
        ("unlink", system(std::fs::remove_file(&own))),
    ];
    lines.map(|(name, error)| format!("{name} {error}\n")).concat()
}
