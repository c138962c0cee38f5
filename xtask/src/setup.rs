//! `cargo xtask setup`: what the eBPF half needs to be built on this machine.
//!
//! It needs a compiler that may use unstable features, the source of `core` that belongs to it, and a linker for BPF
//! that can load this compiler's LLVM. In this order: a nightly with rust-src, as rustup installs it; else Debian's own
//! toolchain (packages rustc-web, cargo-web, rust-web-src), used as a nightly. The result lies in `target/tools`:
//! `bin/bpf-linker`, `lib/libLLVM.so` (which the linker finds beside its folder in PATH) and `toolchain`, the name that
//! `sensor/build.rs` gives to rustup. Idempotent.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::shell::{self, apt_install, cargo, has, output, root};

/// Its default feature loads LLVM 22 at run time; later versions want LLVM 23, which neither toolchain has yet.
const BPF_LINKER: &str = "0.10.0";
/// The name under which rustup knows Debian's toolchain.
pub(crate) const DEBIAN: &str = "sensor-debian";

struct Toolchain {
    name: String,
    llvm: PathBuf,
}

pub(crate) fn run() -> Result<()> {
    let tools = root().join("target/tools");
    for folder in ["bin", "lib"] {
        fs::create_dir_all(tools.join(folder))?;
    }
    let toolchain = match nightly()? {
        Some(toolchain) => toolchain,
        None => debian(&tools).context("there is no nightly toolchain with rust-src (`rustup toolchain install nightly --component rust-src`), and Debian's could not be had")?,
    };
    link(&toolchain.llvm, &tools.join("lib/libLLVM.so"))?;
    linker(&tools)?;
    // Last: build.rs takes this file as the sign that setup is complete.
    let file = tools.join("toolchain");
    if fs::read_to_string(&file).ok().as_deref() != Some(&toolchain.name) {
        fs::write(&file, &toolchain.name)?;
    }
    Ok(())
}

/// A nightly that has the source of `core` and an LLVM that bpf-linker knows.
fn nightly() -> Result<Option<Toolchain>> {
    if !has("rustup") {
        return Ok(None);
    }
    let list = output(Command::new("rustup").args(["toolchain", "list"]))?;
    for name in list.lines().filter_map(|line| line.split(' ').next()).filter(|name| name.starts_with("nightly")) {
        let sysroot = PathBuf::from(output(Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]))?);
        let version = output(Command::new("rustup").args(["run", name, "rustc", "--version", "--verbose"]))?;
        if sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
            && version.contains("LLVM version: 22")
            && let Some(llvm) = find_llvm(&sysroot.join("lib"))
        {
            return Ok(Some(Toolchain { name: name.to_owned(), llvm }));
        }
    }
    Ok(None)
}

/// Debian's toolchain, linked into rustup where there is one, else called by its path.
fn debian(tools: &Path) -> Result<Toolchain> {
    apt_install(&["rustc-web", "cargo-web", "rust-web-src"])?;
    if has("rustup") {
        let known = output(Command::new("rustup").args(["toolchain", "list"]))?;
        if !known.lines().any(|line| line.split(' ').next() == Some(DEBIAN)) {
            run_quietly(Command::new("rustup").args(["toolchain", "link", DEBIAN, "/usr"]))?;
        }
    } else {
        for program in ["cargo", "rustc"] {
            link(&Path::new("/usr/bin").join(program), &tools.join("bin").join(program))?;
        }
    }
    let version = output(Command::new("/usr/bin/rustc").args(["--version", "--verbose"]))?;
    if !version.contains("LLVM version: 22") {
        bail!("Debian's rustc has another LLVM than bpf-linker {BPF_LINKER} can load (22): {version}");
    }
    let libraries = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let llvm = find_llvm(&libraries).with_context(|| format!("no libLLVM.so.22* in {}", libraries.display()))?;
    Ok(Toolchain { name: DEBIAN.to_owned(), llvm })
}

fn find_llvm(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libLLVM.so.22")))
        .collect();
    found.sort();
    found.pop()
}

fn linker(tools: &Path) -> Result<()> {
    let installed = tools.join("bin/bpf-linker");
    if installed.is_file()
        && output(Command::new(&installed).arg("--version")).is_ok_and(|version| version.contains(BPF_LINKER))
    {
        return Ok(());
    }
    eprintln!("xtask: building bpf-linker {BPF_LINKER} (once, about a minute)");
    run_quietly(
        cargo()
            .args(["install", "bpf-linker", "--quiet", "--locked", "--force", "--version", BPF_LINKER, "--root"])
            .arg(tools)
            // Not into our own target folder, whose lock another cargo may hold.
            .env("CARGO_TARGET_DIR", tools.join("build")),
    )
    .context("cannot install bpf-linker from crates.io")?;
    fs::remove_dir_all(tools.join("build")).or_else(ignore_missing)?;
    Ok(())
}

fn link(to: &Path, at: &Path) -> Result<()> {
    if fs::read_link(at).is_ok_and(|there| there == to) {
        return Ok(());
    }
    fs::remove_file(at).or_else(ignore_missing)?;
    std::os::unix::fs::symlink(to, at).with_context(|| format!("cannot link {}", at.display()))
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn run_quietly(command: &mut Command) -> Result<()> {
    shell::run(command.env_remove("RUSTUP_TOOLCHAIN"))
}
