//! A trace of what a sensor opens (`strace -f -y`), read for opens that a user could have chosen, by threads that hold
//! capabilities.
//!
//! What enters: lines of strace. What leaves: each such open. Capabilities are a thread's own: they are followed
//! through clone, capset, setresuid and exec. A path that a user can write is one of which any component, as it is
//! called or as it is resolved, is owned by a user or writable by others; /proc is the kernel's, but its links lead
//! elsewhere, and strace says where to. An O_PATH opens nothing. One kind of file may be opened all the same: what the
//! kernel itself executed or mapped, which a process got by an O_PATH of /proc/PID/exe or map_files.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// System calls that are traced.
pub const CALLS: &str =
    "trace=open,openat,openat2,creat,execve,capset,setresuid,setuid,prctl,clone,clone3,fork,vfork,setsid";

/// One thread.
#[derive(Clone, Copy, Debug)]
struct Thread {
    /// It has capabilities, permitted ones at least.
    mighty: bool,
    root: bool,
    keeps: bool,
}

#[derive(Default)]
pub struct Opens {
    threads: HashMap<u32, Thread>,
    unfinished: HashMap<u32, String>,
    executed: HashSet<PathBuf>,
    /// Lines that break the rule.
    pub broken: Vec<String>,
    /// Opens by threads with capabilities, and by others.
    pub mighty: usize,
    pub powerless: usize,
}

impl Opens {
    pub fn read(text: &str) -> Self {
        let mut opens = Self::default();
        for line in text.lines() {
            opens.line(line);
        }
        opens
    }

    fn line(&mut self, line: &str) {
        let Some((pid, rest)) = line.trim_start().split_once(' ') else { return };
        let (Ok(tid), rest) = (pid.parse::<u32>(), rest.trim_start()) else { return };
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            // A child can act before the parent's clone has returned: it has what the parent has.
            self.unfinished.insert(tid, begun.trim_end().to_owned());
            return;
        }
        let whole = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let tail = resumed.split_once(" resumed>").map_or("", |(_, tail)| tail);
                self.unfinished.remove(&tid).unwrap_or_default() + tail
            }
            None => rest.to_owned(),
        };
        let Some((call, arguments)) = whole.split_once('(') else { return };
        let (arguments, result) = arguments.rsplit_once(" = ").unwrap_or((arguments, "?"));
        self.call(tid, call, arguments, result);
    }

    fn thread(&mut self, tid: u32) -> &mut Thread {
        // Of a thread that is not known yet only the parent can say less: then its clone returns, below.
        self.threads.entry(tid).or_insert(Thread { mighty: true, root: true, keeps: false })
    }

    fn call(&mut self, tid: u32, call: &str, arguments: &str, result: &str) {
        let failed = result.starts_with('-') || result.starts_with('?');
        match call {
            "clone" | "clone3" | "fork" | "vfork" => {
                let now = *self.thread(tid);
                if let Ok(child) = result.split([' ', '<']).next().unwrap_or_default().parse() {
                    self.threads.entry(child).or_insert(now);
                }
            }
            "capset" if !failed => {
                let permitted = arguments.rsplit_once("permitted=").map_or("", |(_, tail)| tail);
                self.thread(tid).mighty = !permitted.starts_with("0,");
            }
            "prctl" if arguments.starts_with("PR_SET_KEEPCAPS") => self.thread(tid).keeps = arguments.contains(", 1"),
            "setresuid" | "setuid" if !failed => {
                let numbers = arguments.trim_end_matches(')').split(", ").filter_map(|n| n.parse::<i64>().ok());
                let any_root = numbers.clone().any(|uid| uid == 0);
                let real = numbers.count() > 0;
                let thread = self.thread(tid);
                if real && !any_root {
                    (thread.root, thread.mighty) = (false, thread.mighty && thread.keeps);
                }
            }
            "execve" if !failed => {
                let thread = self.thread(tid);
                (thread.mighty, thread.keeps) = (thread.root, false);
            }
            "open" | "openat" | "openat2" | "creat" => self.open(tid, call, arguments, result),
            _ => {}
        }
    }

    fn open(&mut self, tid: u32, call: &str, arguments: &str, result: &str) {
        let mighty = self.thread(tid).mighty;
        *(if mighty { &mut self.mighty } else { &mut self.powerless }) += 1;
        if !mighty {
            return;
        }
        let called = called(call, arguments);
        // `5</home/someone/file>`, with ` (deleted)` behind it if it was removed.
        let resolved = result
            .split_once('<')
            .and_then(|(_, tail)| tail.rsplit_once('>'))
            .map(|(path, _)| path.trim_end_matches("(deleted)"));
        let resolved = resolved.map(|path| PathBuf::from(path.trim_end()));
        if arguments.contains("O_PATH") {
            let process = called.to_str().unwrap_or_default();
            if process.ends_with("/exe") || process.contains("/map_files/") {
                self.executed.extend(resolved);
            }
            return;
        }
        // Where it led nowhere, a user could have decided the way there.
        let leads = resolved.as_ref().is_none_or(|path| is_ours(path));
        let fits = resolved.is_some_and(|path| self.executed.contains(&path)) || leads && is_ours(&called);
        if !fits {
            self.broken.push(format!("{tid} {call}({arguments} = {result}"));
        }
    }
}

/// The path that was asked for, below the folder that it is relative to.
fn called(call: &str, arguments: &str) -> PathBuf {
    let folder = match call {
        "open" | "creat" => "",
        _ => arguments.split_once('<').and_then(|(_, tail)| tail.split_once(">, ")).map_or("", |(path, _)| path),
    };
    let path = arguments.split('"').nth(1).unwrap_or_default();
    // With RESOLVE_IN_ROOT the folder is the root of absolute paths too.
    if arguments.contains("RESOLVE_IN_ROOT") {
        Path::new(folder).join(path.trim_start_matches('/'))
    } else {
        Path::new(folder).join(path)
    }
}

/// Only root decides where this leads. Links in /proc (exe, fd) are judged by what they resolve to.
fn is_ours(path: &Path) -> bool {
    let parts: Vec<String> = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts[..] {
        // A folder that a process is in; below it all is that user's, but in the root of the host's first process.
        [_, "proc", _, "root" | "cwd"] | [_, "sys", ..] => true,
        [_, "proc", "1", "root", ..] => is_the_hosts(&Path::new("/").join(parts[4..].join("/"))),
        [_, "proc", _, "root" | "cwd", ..] => false,
        [_, "proc", ..] => true,
        _ => is_the_hosts(path),
    }
}

/// Only root decides what is there.
fn is_the_hosts(path: &Path) -> bool {
    let mut above = PathBuf::new();
    let mut sticky = false;
    for component in path.components() {
        above.push(component);
        let Ok(metadata) = fs::symlink_metadata(&above) else { return !sticky };
        // In a folder with the sticky bit only root can remove what is root's.
        if metadata.uid() != 0 {
            return false;
        }
        let kind = metadata.file_type();
        let by_others = metadata.mode() & 0o022 != 0 && !kind.is_symlink();
        sticky = by_others && metadata.mode() & 0o1000 != 0;
        let device = kind.is_char_device()
            && ["/dev/null", "/dev/urandom", "/dev/random"].iter().any(|own| above == Path::new(own));
        if by_others && !sticky && !device {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIGHTY: &str = "7 capset({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, {effective=0, permitted=1<<CAP_BPF, inheritable=0}) = 0\n";

    fn broken(lines: &str) -> usize {
        Opens::read(&format!("{MIGHTY}{lines}")).broken.len()
    }

    #[test]
    fn opens_of_what_a_user_can_write_are_found() {
        let folder = std::env::temp_dir().join(format!("sensor-opens-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(12345), None).unwrap();
        let own = folder.display();
        for (line, expected) in [
            ("7 openat(AT_FDCWD</>, \"OWN/x\", O_RDONLY|O_CLOEXEC) = 5<OWN/x>", 1),
            ("7 openat(AT_FDCWD</>, \"OWN/x\", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)", 1),
            ("7 openat(AT_FDCWD</>, \"OWN/x\", O_PATH|O_CLOEXEC) = 5<OWN/x>", 0),
            ("7 openat2(3<OWN>, \"x\", {flags=O_RDONLY, resolve=RESOLVE_BENEATH}, 24) = 5<OWN/x>", 1),
            ("7 openat(AT_FDCWD</>, \"/proc/9/root/etc/passwd\", O_RDONLY) = 5</etc/passwd>", 1),
            ("7 openat(AT_FDCWD</>, \"/proc/9/exe\", O_RDONLY) = 5<OWN/x>", 1),
            (
                "7 openat(AT_FDCWD</>, \"/proc/9/exe\", O_PATH) = 5<OWN/x (deleted)>\n8 openat(AT_FDCWD</>, \"/proc/self/fd/5\", O_RDONLY|O_NONBLOCK) = 6<OWN/x (deleted)>",
                0,
            ),
            ("7 openat(AT_FDCWD</>, \"/proc/self/fd/5\", O_RDONLY) = 6<OWN/other>", 1),
            ("7 openat(AT_FDCWD</>, \"/proc/9/maps\", O_RDONLY) = 5</proc/9/maps>", 0),
            ("7 openat(AT_FDCWD</>, \"/usr/bin/true\", O_RDONLY) = 5</usr/bin/true>", 0),
            ("7 openat(AT_FDCWD</>, \"/dev/null\", O_RDWR) = 5</dev/null>", 0),
            (
                "7 openat(AT_FDCWD</>, \"OWN/x\", O_RDONLY <unfinished ...>\n8 prctl(1) = 0\n7 <... openat resumed>) = 5<OWN/x>",
                1,
            ),
        ] {
            let line = line.replace("OWN", &own.to_string());
            assert_eq!(broken(&line), expected, "{line}");
        }
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn capabilities_are_followed_through_clone_and_setresuid() {
        let open = "8 openat(AT_FDCWD</>, \"/no-such/home\", O_RDONLY) = 5</no-such/home>";
        assert_eq!(
            broken(&format!("7 clone(child_stack=NULL, flags=SIGCHLD) = 8\n{open}")),
            0,
            "root's, as far as it is there"
        );
        let open = "8 openat(AT_FDCWD</>, \"/proc/9/cwd/x\", O_RDONLY) = -1 ENOENT (No such file or directory)";
        for (before, expected) in [
            ("7 clone(child_stack=NULL, flags=SIGCHLD) = 8\n", 1),
            ("7 clone(child_stack=NULL, flags=SIGCHLD) = 8\n8 setresuid(99, 99, 99) = 0\n", 0),
            (
                "7 clone(child_stack=NULL, flags=SIGCHLD) = 8\n8 prctl(PR_SET_KEEPCAPS, 1) = 0\n8 setresuid(99, 99, 99) = 0\n",
                1,
            ),
            (
                "7 capset({version=3, pid=0}, {effective=0, permitted=0, inheritable=0}) = 0\n7 clone3({flags=CLONE_VM}, 88) = 8\n",
                0,
            ),
            (
                "8 capset({version=3, pid=0}, {effective=0, permitted=0, inheritable=0}) = 0\n8 execve(\"/proc/self/exe\", [], 0x0) = 0\n",
                1,
            ),
        ] {
            assert_eq!(broken(&format!("{before}{open}")), expected, "{before}");
        }
    }
}
