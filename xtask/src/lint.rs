//! `cargo xtask lint`: formatting and warnings, denied, for the host and for the BPF target (in separate runs: they
//! have different toolchains).

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    setup,
    shell::{apt_install, cargo, has, root, run},
};

pub(crate) fn lint() -> Result<()> {
    setup::run()?;
    run(cargo().args(["fmt", "--check"]))?;
    run(cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--exclude",
        "sensor-ebpf",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    bpf(&[])?;
    // What a normal build leaves out.
    bpf(&["--features", "log"])?;
    run(cargo().args(["clippy", "--quiet", "--package", "sensor", "--features", "ebpf-log", "--", "-D", "warnings"]))
}

fn bpf(features: &[&str]) -> Result<()> {
    let tools = root().join("target/tools");
    let toolchain = fs::read_to_string(tools.join("toolchain"))?;
    if toolchain == setup::DEBIAN {
        apt_install(&["rust-web-clippy"])?;
    }
    let mut command = if has("rustup") {
        let mut command = Command::new("rustup");
        command.args(["run", &toolchain, "cargo"]);
        command
    } else {
        Command::new(tools.join("bin/cargo"))
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([tools.join("bin")].into_iter().chain(std::env::split_paths(&path)))?;
    // Cargo sets these for what it starts; the other toolchain must not see them.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
        .current_dir(root())
        .args([
            "clippy",
            "--quiet",
            "--package",
            "sensor-ebpf",
            "--release",
            "--target",
            "bpfel-unknown-none",
            "-Z",
            "build-std=core",
        ])
        .arg("--target-dir")
        .arg(root().join("target/lint-bpf"))
        .args(features)
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", path);
    run(&mut command).context("the eBPF programs have warnings")
}
