//! What this machine brings: tools, QEMU, virtiofsd, and whether it may use KVM.
//!
//! In: the installed packages and the cache. Out: [`Host`], what it takes to start a guest.
//! Missing tools are installed with apt; where that fails, one sentence says which packages to install.
//! Debian 12 has QEMU 7.2 and in `bookworm-backports` QEMU 10, which emulates faster and guests oops less often
//! when they patch their code: it is unpacked beside the installed one, whose libraries it runs with. Where it cannot
//! be had, the installed one does. virtiofsd is QEMU's own C program up to Debian 12 and a Rust one from 13 on.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::archive::Archive;
use super::commands::tool;
use crate::shell::run;

const TOOLS: [&str; 6] = ["qemu-system-x86", "busybox-static", "kmod", "xz-utils", "zstd", "lz4"];
/// Debian 12's, from qemu-system-common; the QEMU project dropped it in 8.0.
const VIRTIOFSD_C: &str = "/usr/lib/qemu/virtiofsd";
/// The one that replaced it, from the package `virtiofsd`.
const VIRTIOFSD_RUST: &str = "/usr/libexec/virtiofsd";
const BACKPORT: [&str; 4] = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Accel {
    Kvm,
    Tcg,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "emulated",
        })
    }
}

#[derive(Clone, Copy)]
pub(super) enum Virtiofsd {
    C,
    Rust,
}

pub(super) struct Host {
    /// QEMU's program and the options that tell it where its firmware lies.
    pub(super) qemu: Vec<OsString>,
    pub(super) virtiofsd: Virtiofsd,
    pub(super) accel: Accel,
}

impl Host {
    pub(super) fn prepare(cache: &Path, archive: &Archive) -> Result<Self> {
        // In this order: Debian 13's package has a link to its program in the old place too.
        let virtiofsd = if Path::new(VIRTIOFSD_RUST).exists() {
            Virtiofsd::Rust
        } else if Path::new(VIRTIOFSD_C).exists() {
            Virtiofsd::C
        } else {
            bail!("vm: there is neither {VIRTIOFSD_C} nor {VIRTIOFSD_RUST}");
        };
        let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm");
        let accel = if kvm.is_ok() { Accel::Kvm } else { Accel::Tcg };
        Ok(Self { qemu: qemu(cache, archive), virtiofsd, accel })
    }
}

impl Virtiofsd {
    /// The command that serves `dir` on `socket`. A chroot as its sandbox does without a child process of its own.
    pub(super) fn command(self, dir: &str, socket: &Path) -> Vec<OsString> {
        let mut socket_path = OsString::from("--socket-path=");
        socket_path.push(socket);
        let mut command: Vec<OsString> = Vec::new();
        match self {
            Self::C => {
                command.extend([VIRTIOFSD_C.into(), socket_path, "-o".into()]);
                command.push(format!("source={dir},cache=always,xattr,sandbox=chroot,log_level=err").into());
            }
            Self::Rust => {
                command.extend([VIRTIOFSD_RUST.into(), socket_path, format!("--shared-dir={dir}").into()]);
                command.extend(["--cache=always", "--xattr", "--sandbox=chroot", "--log-level=error"].map(Into::into));
            }
        }
        command
    }
}

/// Debian 12's backport where it helps and can be had, else the installed QEMU.
fn qemu(cache: &Path, archive: &Archive) -> Vec<OsString> {
    let installed = vec!["qemu-system-x86_64".into()];
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.lines().any(|line| line == "VERSION_CODENAME=bookworm") {
        return installed;
    }
    match backport(cache, archive) {
        Ok(qemu) => qemu,
        Err(error) => {
            eprintln!("vm: the installed QEMU is used, as its backport is not to be had: {error:#}");
            installed
        }
    }
}

fn backport(cache: &Path, archive: &Archive) -> Result<Vec<OsString>> {
    let dir = cache.join("qemu");
    let program = dir.join("usr/bin/qemu-system-x86_64");
    if !program.exists() {
        eprintln!("vm: fetching QEMU from bookworm-backports");
        let unpacked = archive.unpack(&BACKPORT.map(|package| format!("{package}/bookworm-backports")))?;
        let moved = fs::rename(&unpacked.dir, &dir);
        // Another run may have put it there meanwhile, which is as good.
        if !program.exists() {
            moved?;
        }
    }
    run(Command::new(&program).arg("--version").stdout(Stdio::null()))?;
    let firmware = |name: &str| dir.join("usr/share").join(name).into_os_string();
    Ok(vec![program.into(), "-L".into(), firmware("qemu"), "-L".into(), firmware("seabios")])
}

/// Installs the packages that are missing, if any.
pub(super) fn install_tools() -> Result<()> {
    let mut missing: Vec<&str> = TOOLS.into_iter().filter(|package| !is_installed(package)).collect();
    if !Path::new(VIRTIOFSD_C).exists() && !Path::new(VIRTIOFSD_RUST).exists() && missing.is_empty() {
        missing.push("virtiofsd");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    eprintln!("vm: installing {names}");
    let install = || {
        let mut apt = tool("apt-get");
        apt.args(["-qq", "-y", "--no-install-recommends", "install"]).args(&missing);
        run(apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
    };
    // The package lists may be missing or stale, as they are in fresh containers.
    let installed = install().or_else(|_| run(tool("apt-get").args(["-qq", "update"])).and_then(|()| install()));
    installed.with_context(|| format!("vm: needs the packages {names}; install them and try again"))?;
    if missing.contains(&"qemu-system-x86") { install_tools() } else { Ok(()) }
}

fn is_installed(package: &str) -> bool {
    let mut query = tool("dpkg-query");
    query.args(["-W", "-f=${db:Status-Status}", package]).stderr(Stdio::null());
    query.output().is_ok_and(|output| output.stdout == b"installed")
}
