//! Which kernels: from a series to a package of Debian's archive, to an unpacked kernel in `target/vm/kernels`.
//!
//! In: what the command line wants (`5.10`, `newest`) and the archive's packages. Out: `kernels/RELEASE/` with
//! `vmlinux` and `lib/modules/RELEASE`, where RELEASE is the kernel's `uname -r`.
//! ABI names move on with every update, so none is written here: the newest version of the series wins. Cloud kernels
//! go before generic ones of the same version, being smaller, and real-time ones are left out. From 6.19 on
//! `linux-image-RELEASE` is an empty package that depends on `linux-binary-`, `-modules-` and `-base-RELEASE`; the
//! archive drops the parts of superseded versions before the image itself, so a kernel counts only with all its parts.
//!
//! The bzImage is unpacked here, once: the guest would take seconds for it, emulated. Fails where the archive does
//! not have the package any more (the caller then updates the index), or where a decompressor fails.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use super::archive::Archive;
use super::commands::tool;
use super::package::{Package, numbers};
use crate::shell::run;

/// How many series `newest` goes back where the newest does not boot.
const NEWEST_TRIES: usize = 3;

/// What the command line asks for.
#[derive(Clone)]
pub(crate) enum Wanted {
    Newest,
    Series(String),
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match text {
            "newest" => Ok(Self::Newest),
            _ if text.split('.').all(is_number) && text.contains('.') => Ok(Self::Series(text.to_owned())),
            _ => bail!("neither a kernel series such as 5.10 nor `newest`"),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::Series(series) => f.write_str(series),
        }
    }
}

/// The kernels to try, best first: one for a series, and for `newest` the best of each of the newest few series,
/// as what keeps one release from booting mostly keeps its sisters too.
pub(super) fn candidates<'a>(packages: &'a [Package], wanted: &Wanted) -> Vec<&'a Package> {
    let mut sorted: Vec<&Package> = packages.iter().collect();
    sorted.sort_by_key(|package| (package.numbers(), package.is_cloud()));
    sorted.reverse();
    match wanted {
        Wanted::Series(series) => {
            let series = numbers(series);
            sorted.into_iter().filter(|package| package.numbers().starts_with(&series)).take(1).collect()
        }
        Wanted::Newest => {
            let mut seen = HashSet::new();
            sorted.retain(|package| seen.insert(package.numbers().into_iter().take(2).collect::<Vec<_>>()));
            sorted.truncate(NEWEST_TRIES);
            sorted
        }
    }
}

/// An unpacked kernel. `dir` is also the base folder that modprobe and depmod take.
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) dir: PathBuf,
}

impl Kernel {
    pub(super) fn vmlinux(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }
}

pub(super) fn is_unpacked(cache: &Path, package: &Package) -> bool {
    cache.join("kernels").join(package.release()).exists()
}

/// Downloads and unpacks a kernel, unless it is there. It appears under its name when complete.
pub(super) fn fetch(archive: &Archive, cache: &Path, package: &Package) -> Result<Kernel> {
    let release = package.release();
    let dir = cache.join("kernels").join(release);
    if !dir.exists() {
        eprintln!("vm: fetching {} {}", package.name, package.version);
        let unpacked = archive.unpack(&package.parts)?;
        let kernel = arrange(&unpacked.dir, release).with_context(|| format!("vm: cannot unpack {}", package.name))?;
        fs::create_dir_all(cache.join("kernels"))?;
        let moved = fs::rename(kernel, &dir);
        // Another run may have put it there meanwhile, which is as good.
        if !dir.exists() {
            moved?;
        }
    }
    Ok(Kernel { release: release.to_owned(), dir })
}

/// From the packages' tree in `work`, builds the folder of a kernel within it.
fn arrange(work: &Path, release: &str) -> Result<PathBuf> {
    let find = |places: &[String]| places.iter().map(|place| work.join(place)).find(|path| path.exists());
    // As the packages' merged /usr is one tree or two, depending on their age.
    let modules = find(&[format!("lib/modules/{release}/kernel"), format!("usr/lib/modules/{release}/kernel")])
        .and_then(|kernel| kernel.parent().map(Path::to_owned))
        .context("the packages have no modules")?;
    let image = find(&[format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")])
        .context("the packages have no vmlinuz")?;
    let kernel = work.join("kernel");
    fs::create_dir_all(kernel.join("lib/modules"))?;
    extract_vmlinux(&image, &kernel.join("vmlinux"))?;
    fs::rename(modules, kernel.join("lib/modules").join(release))?;
    run(tool("depmod").arg("-b").arg(&kernel).arg(release))?;
    Ok(kernel)
}

/// Unpacks the ELF kernel of a bzImage (Documentation/arch/x86/boot.rst: `setup_sects`, `payload_offset` and
/// `_length`).
fn extract_vmlinux(image: &Path, vmlinux: &Path) -> Result<()> {
    let bytes = fs::read(image)?;
    let (payload, packer) = payload(&bytes).context("not a bzImage with a known compression")?;
    let compressed = vmlinux.with_extension("compressed");
    fs::write(&compressed, payload)?;
    // lz4's legacy format has no end mark and it complains; what counts is that an ELF file came out.
    let _ = tool(packer).arg("-dc").stdin(File::open(&compressed)?).stdout(File::create(vmlinux)?).status()?;
    fs::remove_file(compressed)?;
    ensure!(fs::read(vmlinux)?.starts_with(b"\x7fELF"), "{packer} did not unpack {}", image.display());
    Ok(())
}

/// The compressed kernel within a bzImage, and what unpacks it.
fn payload(image: &[u8]) -> Option<(&[u8], &'static str)> {
    let word = |at: usize| image.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + usize::try_from(word(0x248)?).ok()?;
    let payload = image.get(start..)?.get(..usize::try_from(word(0x24c)?).ok()?)?;
    // All but gzip's are followed by the unpacked size, which the tools would take for garbage.
    let unsized_payload = payload.get(..payload.len().checked_sub(4)?)?;
    match payload {
        [0x1f, 0x8b, ..] => Some((payload, "gzip")),
        [0xfd, b'7', b'z', b'X', ..] => Some((unsized_payload, "xz")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some((unsized_payload, "zstd")),
        [0x02, 0x21, 0x4c, 0x18, ..] => Some((unsized_payload, "lz4")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::package::{packages, tests::image};

    fn names(packages: &[Package], wanted: &str) -> Vec<String> {
        let wanted = wanted.parse().unwrap();
        candidates(packages, &wanted).into_iter().map(|package| package.release().to_owned()).collect()
    }

    #[test]
    fn the_newest_cloud_kernel_of_a_series_wins_and_6_1_is_not_6_12() {
        let packages = packages(&[
            image("6.1.0-9-cloud-amd64", "6.1.27-1", "kmod"),
            image("6.1.0-56-cloud-amd64", "6.1.192-2", "kmod"),
            image("6.1.0-56-amd64", "6.1.192-2", "kmod"),
            image("6.12.9-rt-amd64", "6.12.99-1", "kmod"),
            image("6.12.9-amd64", "6.12.9-1", "kmod"),
        ]);
        assert_eq!(names(&packages, "6.1"), ["6.1.0-56-cloud-amd64"]);
        assert_eq!(names(&packages, "newest"), ["6.12.9-amd64", "6.1.0-56-cloud-amd64"]);
    }
}
