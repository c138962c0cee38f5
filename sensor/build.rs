//! Builds the eBPF object with what `cargo xtask setup` put into `target/tools`.

use std::{env, fs, io, path::Path, process::exit};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tools = root.join("target/tools");
    println!("cargo:rerun-if-changed={}", tools.join("toolchain").display());
    for folder in ["sensor-common/src", "sensor-common/Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", root.join(folder).display());
    }
    let Ok(toolchain) = fs::read_to_string(tools.join("toolchain")) else {
        eprintln!("the eBPF half cannot be built yet: run `cargo xtask setup` first");
        exit(1);
    };
    let path = env::join_paths(
        [tools.join("bin")].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    );
    // SAFETY: a build script has one thread here.
    unsafe {
        // Unstable features of the BPF target on a compiler that calls itself stable.
        env::set_var("RUSTC_BOOTSTRAP", "1");
        // aya-build shows what cargo says as warnings: let it say only what matters.
        env::set_var("CARGO_TERM_QUIET", "true");
        if let Ok(path) = path {
            env::set_var("PATH", path);
        }
    }
    let features: &[&str] = if env::var_os("CARGO_FEATURE_EBPF_LOG").is_some() { &["log"] } else { &[] };
    let folder = root.join("sensor-ebpf");
    let package = aya_build::Package {
        name: "sensor-ebpf",
        root_dir: &folder.to_string_lossy(),
        no_default_features: false,
        features,
    };
    if let Err(error) = aya_build::build_ebpf([package], aya_build::Toolchain::Custom(toolchain.trim())) {
        eprintln!("cannot build the eBPF half: {error:#}");
        exit(1);
    }
    if !features.is_empty()
        && let Err(error) = rename_in_btf()
    {
        eprintln!("cannot name a type of the eBPF half anew: {error}");
        exit(1);
    }
}

/// Gives the type of aya-log's level, a union, a name that the kernel takes: bpf-linker 0.10 does so for structs only.
/// The kernel refuses a BTF with another, aya then loads the object without one, and without it no function is global:
/// the verifier would walk each with every caller, and give up.
fn rename_in_btf() -> io::Result<()> {
    let (old, new) = (b"\0MaybeUninit<u8>\0", b"\0MaybeUninit_u8_\0");
    let object = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("sensor");
    let mut bytes = fs::read(&object)?;
    let places: Vec<usize> =
        bytes.windows(old.len()).enumerate().filter(|(_, window)| window == old).map(|(at, _)| at).collect();
    for at in places {
        bytes.splice(at..at + new.len(), new.iter().copied());
    }
    fs::write(&object, bytes)
}
