//! What the guest starts with: an initramfs of busybox, the modules it takes to reach the root, and two scripts.
//!
//! In: an unpacked kernel, the shares, the command. Out: a cpio archive (newc format, Documentation/driver-api/
//! early-userspace/buffer-format.rst). `init` loads the modules and builds the root: the virtiofs share `root` below,
//! a tmpfs above, overlayfs of both. `stage2` mounts what tools expect of a system, runs the command, and sends its
//! status after its output, marked (see `relay`). pid 1 stays the shell, which reaps what the command leaves behind.
//!
//! The command's output goes through FIFOs: a virtio port opens once, so `>/dev/stderr` would fail on it.
//! A module that does not load shows as the guest's console line and as a guest that does not boot.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::commands::{output_of, program, tool};
use super::kernels::Kernel;
use crate::shell::output;

/// The disk-less way to a root; built in or a module, depending on the kernel.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "virtiofs", "overlay"];

const DIR: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

const INIT: &str = r#"#!/bin/busybox sh
. /vm/settings
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $MODULES; do insmod /vm/$module || echo "vm: cannot load $module" >/dev/console; done
mkdir -p /lower /rw /new
mount -t virtiofs -o ro root /lower
mount -t tmpfs tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work root /new
mkdir -p /new/proc /new/sys /new/dev /new/run
mount -t tmpfs -o mode=755 tmpfs /new/run
for dir in proc sys dev; do mount --move /$dir /new/$dir; done
cp -r /vm /bin/busybox /new/run/
exec switch_root /new /run/busybox sh /run/vm/stage2
"#;

const STAGE2: &str = r#". /run/vm/settings
b=/run/busybox
$b mkdir -p /dev/pts /dev/shm /run/lock
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$b mount -t tmpfs -o mode=1777 tmpfs /dev/shm
$b mount -t tracefs tracefs /sys/kernel/tracing
$b mount -t debugfs debugfs /sys/kernel/debug
$b mount -t securityfs securityfs /sys/kernel/security
$b mount -t bpf bpf /sys/fs/bpf
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
for link in fd: stdin:/0 stdout:/1 stderr:/2; do $b ln -sf /proc/self/fd${link#*:} /dev/${link%%:*}; done
mount_shares
release=$($b uname -r)
if [ -d "$KERNEL/lib/modules/$release" ]; then
    $b mkdir -p /lib/modules/$release
    $b mount -o bind "$KERNEL/lib/modules/$release" /lib/modules/$release
fi
$b hostname sensor-vm
$b ifconfig lo 127.0.0.1 up
while set -- /dev/vport*p1 /dev/vport*p2; ! [ -c "$1" -a -c "$2" ]; do $b sleep 0.01; done
$b mkfifo /run/vm/out /run/vm/err
$b cat /run/vm/out >$1 &
$b cat /run/vm/err >$2 &
exec 3>/run/vm/out 4>/run/vm/err
printf '\0%s up %s %s\n' $MARK $release $($b cut -d' ' -f1 /proc/uptime) >&3
$b setsid $b sh /run/vm/command </dev/null >&3 2>&4 3>&- 4>&-
status=$?
$b sync
printf '\0%s exit %d\n' $MARK $status >&3
printf '\0%s exit %d\n' $MARK $status >&4
while :; do $b sleep 1000; done
"#;

/// A folder of this machine that the guest sees at the same path.
pub(super) struct Share {
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

/// The tag under which the `number`th share is offered.
pub(super) fn tag(number: usize) -> String {
    format!("share{number}")
}

/// The shell script that runs the command: in this process's folder, with only the variables named. One word is a
/// command line for bash; several are a program and its arguments.
pub(super) fn script(command: &[String], variables: &[String]) -> Result<String> {
    ensure!(!command.is_empty(), "vm: no command to run");
    let mut words: Vec<String> = ["exec", "/usr/bin/env", "-i"].map(str::to_owned).to_vec();
    for variable in ["PATH", "HOME", "LANG"].into_iter().chain(variables.iter().map(String::as_str)) {
        if variable.contains('=') {
            words.push(quote(variable));
        } else if let Ok(value) = env::var(variable) {
            words.push(quote(&format!("{variable}={value}")));
        }
    }
    if command.len() == 1 {
        words.extend(["/bin/bash", "-c"].map(str::to_owned));
    }
    words.extend(command.iter().map(|word| quote(word)));
    Ok(format!("cd {} || exit\n{}\n", quote_path(&env::current_dir()?)?, words.join(" ")))
}

/// The whole archive for one guest.
pub(super) fn build(kernel: &Kernel, shares: &[Share], mark: &str, script: &str) -> Result<Vec<u8>> {
    let mut files: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    for dir in ["bin", "dev", "proc", "sys", "vm"] {
        files.insert(dir.to_owned(), (DIR, Vec::new()));
    }
    let modules = modules(kernel)?;
    let names: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
    let mut settings = format!(
        "MODULES={}\nKERNEL={}\nMARK={}\nmount_shares() {{ :\n",
        quote(&names.join(" ")),
        quote_path(&kernel.dir)?,
        quote(mark)
    );
    for (number, share) in shares.iter().enumerate() {
        let (path, options) = (quote_path(&share.path)?, if share.writable { "rw" } else { "ro" });
        writeln!(settings, "$b mkdir -p {path}; $b mount -t virtiofs -o {options} {} {path}", tag(number))?;
    }
    settings += "}\n";
    let texts = [("init", INIT), ("vm/stage2", STAGE2), ("vm/settings", settings.as_str()), ("vm/command", script)];
    for (path, text) in texts {
        files.insert(path.to_owned(), (PROGRAM, text.into()));
    }
    files.insert("bin/busybox".to_owned(), (PROGRAM, fs::read(program("busybox")?)?));
    for (name, bytes) in modules {
        files.insert(format!("vm/{name}"), (FILE, bytes));
    }
    Ok(cpio(&files))
}

/// The modules the guest needs before it has a root, unpacked, in the order to load them.
fn modules(kernel: &Kernel) -> Result<Vec<(String, Vec<u8>)>> {
    let mut modprobe = tool("modprobe");
    modprobe.arg("-d").arg(&kernel.dir).args(["-S", &kernel.release, "-a", "--show-depends"]).args(MODULES);
    let mut modules: Vec<(String, Vec<u8>)> = Vec::new();
    // Other lines say `builtin`; a module that two need is there twice.
    for path in output(&mut modprobe)?.lines().filter_map(|line| line.strip_prefix("insmod ")) {
        let path = Path::new(path.trim_end());
        let file = path.file_name().and_then(|name| name.to_str()).context("vm: a module has no name")?;
        let (name, bytes) = match file.rsplit_once('.') {
            Some((name, "xz")) => (name, output_of(tool("xz").arg("-dc").arg(path))?),
            Some((name, "zst")) => (name, output_of(tool("zstd").arg("-dc").arg(path))?),
            _ => (file, fs::read(path)?),
        };
        if !modules.iter().any(|(known, _)| known == name) {
            modules.push((name.to_owned(), bytes));
        }
    }
    Ok(modules)
}

/// A newc archive; a map's order puts folders before what is in them.
fn cpio(files: &BTreeMap<String, (u32, Vec<u8>)>) -> Vec<u8> {
    let mut archive = Vec::new();
    for (number, (path, (mode, data))) in (1..).zip(files) {
        append(&mut archive, number, path, *mode, data);
    }
    append(&mut archive, 0, "TRAILER!!!", 0, &[]);
    archive
}

fn append(archive: &mut Vec<u8>, inode: usize, path: &str, mode: u32, data: &[u8]) {
    // ino, mode, uid, gid, nlink, mtime, filesize, dev major and minor, rdev major and minor, namesize, check
    let mode = usize::try_from(mode).unwrap_or_default();
    archive.extend_from_slice(b"070701");
    for field in [inode, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, path.len() + 1, 0] {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// A word as the shell takes it literally.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn quote_path(path: &Path) -> Result<String> {
    Ok(quote(path.to_str().with_context(|| format!("vm: {} is not UTF-8", path.display()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_within_a_word_stays_a_quote() {
        assert_eq!(quote("it's"), r"'it'\''s'");
    }

    #[test]
    fn cpio_entries_are_padded_to_four_bytes() {
        let archive = cpio(&BTreeMap::from([("a".to_owned(), (FILE, b"12345".to_vec()))]));
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.starts_with(b"07070100000001000081a4"));
        assert_eq!(archive.get(112..120), Some(b"12345\0\0\0".as_slice()));
    }
}
