//! Files that no process may open: inotify(7) reports every open(2) and read(2) of them by any process, but no O_PATH,
//! which opens nothing.
//!
//! For a device, opening is the harm: a watchdog is armed, a tape rewound. Root makes device nodes of its own for a
//! test, which nothing else on the host opens.

use std::{
    fs,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        CWD, FileType, Mode,
        inotify::{self, CreateFlags, ReadFlags, WatchFlags},
        makedev, mknodat,
    },
    io::Errno,
};

pub struct Tripwire {
    notify: OwnedFd,
    watched: Vec<(i32, PathBuf)>,
}

impl Default for Tripwire {
    fn default() -> Self {
        Self { notify: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap(), watched: Vec::new() }
    }
}

impl Tripwire {
    pub fn watch(&mut self, path: &Path) {
        let wd =
            inotify::add_watch(&self.notify, path, WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::MODIFY).unwrap();
        self.watched.push((wd, path.into()));
    }

    /// A device node that only root may open: the numbers are those of /dev/null, so that a failed test does no harm.
    pub fn device(&mut self, path: &Path) {
        mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o600), makedev(1, 3)).unwrap();
        self.watch(path);
    }

    /// A file that only root may read.
    pub fn secret(&mut self, path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).unwrap();
        self.watch(path);
    }

    /// What has been opened so far.
    pub fn opened(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.notify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().intersects(ReadFlags::OPEN | ReadFlags::ACCESS | ReadFlags::MODIFY) => {
                    found.extend(self.watched.iter().filter(|(wd, _)| *wd == event.wd()).map(|(_, path)| path.clone()));
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => panic!("inotify: {error}"),
            }
        }
        found.dedup();
        found
    }

    /// No process has opened any of them.
    pub fn assert_untouched(&self, after: &str) {
        let opened = self.opened();
        assert!(opened.is_empty(), "after {after} the sensor has opened {opened:?}");
    }
}
