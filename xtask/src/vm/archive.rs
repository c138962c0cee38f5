//! The door to Debian's archive: a private apt, beside this machine's own.
//!
//! In: the mirrors of this machine's apt configuration (`apt-get indextargets`), for suites it need not have itself.
//! Out: the kernel packages there are, and packages downloaded and unpacked. Lists, sources and cache lie in
//! `target/vm/apt`, so this machine's package state stays as it is; proxies and credentials set for apt here hold, as
//! the private settings are options on top. Indexes are checked against Debian's archive key.
//! The kernels found are kept in `apt/kernels.list`, one line each, since reading the indexes takes apt seconds.
//!
//! Fails where apt has no Debian mirror here or the archive cannot be reached. A suite that the mirror lacks is
//! apt's warning only, as long as some kernel is found.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::commands::tool;
use super::package::{Package, Stanza, packages};
use crate::shell::{output, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Suites with kernels: 5.10 is bullseye's, 6.1 bookworm's, 6.12 trixie's, newer ones come from backports and sid.
const SUITES: &str = "bullseye bookworm bookworm-backports trixie trixie-backports sid";
const SECURITY_SUITES: &str = "bullseye-security bookworm-security trixie-security";

pub(super) struct Archive {
    root: PathBuf,
    /// Where packages are unpacked, on the file system of the cache.
    work: PathBuf,
    packages: Vec<Package>,
    fresh: bool,
}

impl Archive {
    /// Reads the list of kernels kept in `cache`, or asks the archive where there is none or `update` says so.
    pub(super) fn open(cache: &Path, update: bool) -> Result<Self> {
        let (root, work) = (cache.join("apt"), cache.join("work"));
        let mut archive = Self { root, work, packages: Vec::new(), fresh: false };
        match fs::read_to_string(archive.list()) {
            Ok(text) if !update => archive.packages = text.lines().filter_map(Package::from_line).collect(),
            _ => archive.update()?,
        }
        Ok(archive)
    }

    pub(super) fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Whether the archive was asked in this run.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Fetches the indexes and keeps which kernels they have.
    pub(super) fn update(&mut self) -> Result<()> {
        eprintln!("vm: asking Debian's archive which kernels there are");
        for dir in ["lists/partial", "cache/archives/partial", "sources"] {
            fs::create_dir_all(self.root.join(dir))?;
        }
        fs::write(self.root.join("sources/debian.sources"), sources()?)?;
        let updated = run(self.apt("apt-get").args(["-qq", "update"]));
        self.packages = packages(&self.stanzas()?);
        if self.packages.is_empty() {
            updated?;
        }
        ensure!(!self.packages.is_empty(), "vm: no kernel package in the archive's indexes");
        let lines: Vec<String> = self.packages.iter().map(Package::to_line).collect();
        fs::write(self.list(), lines.join("\n"))?;
        self.fresh = true;
        Ok(())
    }

    /// Downloads packages (`name=version` or `name/suite`) and unpacks them all, without installing.
    pub(super) fn unpack(&self, packages: &[String]) -> Result<Unpacked> {
        let unpacked = Unpacked::new(&self.work)?;
        let debs = unpacked.dir.join("debs");
        fs::create_dir(&debs)?;
        run(self.apt("apt-get").args(["-qq", "download"]).args(packages).current_dir(&debs))
            .with_context(|| format!("vm: cannot download {}", packages.join(" ")))?;
        for deb in fs::read_dir(&debs)? {
            run(tool("dpkg-deb").arg("-x").arg(deb?.path()).arg(&unpacked.dir))?;
        }
        fs::remove_dir_all(debs)?;
        Ok(unpacked)
    }

    /// The kernel packages of the indexes, from apt's dump of everything: 80 MB, so read as a stream.
    fn stanzas(&self) -> Result<Vec<Stanza>> {
        let mut dump = self.apt("apt-cache").arg("dumpavail").stdout(Stdio::piped()).spawn()?;
        let mut stanzas: Vec<Stanza> = Vec::new();
        let mut inside = false;
        for line in BufReader::new(dump.stdout.take().context("vm: apt-cache has no output")?).lines() {
            let line = line?;
            let Some((field, value)) = line.split_once(": ") else { continue };
            if field == "Package" {
                inside = value.starts_with("linux-");
                if inside {
                    stanzas.push(Stanza { package: value.to_owned(), ..Stanza::default() });
                }
            }
            let Some(stanza) = stanzas.last_mut().filter(|_| inside) else { continue };
            match field {
                "Version" => value.clone_into(&mut stanza.version),
                "Depends" => value.clone_into(&mut stanza.depends),
                _ => {}
            }
        }
        dump.wait()?;
        Ok(stanzas)
    }

    /// An apt command that sees the private configuration: options on the command line go over any file's.
    fn apt(&self, command: &str) -> Command {
        let mut apt = tool(command);
        let root = self.root.display();
        for option in [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={root}/sources"),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State::lists={root}/lists"),
            format!("Dir::Cache={root}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            apt.arg("-o").arg(option);
        }
        apt
    }

    fn list(&self) -> PathBuf {
        self.root.join("kernels.list")
    }
}

/// Unpacked packages, until dropped: what is to stay is moved away.
pub(super) struct Unpacked {
    pub(super) dir: PathBuf,
}

impl Unpacked {
    /// A folder named by this process, so that what interrupted runs left can be recognised and removed.
    fn new(work: &Path) -> Result<Self> {
        fs::create_dir_all(work)?;
        let own = process::id().to_string();
        for entry in fs::read_dir(work)? {
            let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
            if name == *own || !Path::new("/proc").join(name).exists() {
                fs::remove_dir_all(path)?;
            }
        }
        let dir = work.join(own);
        fs::create_dir(&dir)?;
        Ok(Self { dir })
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A deb822 sources file for the mirrors this machine uses.
fn sources() -> Result<String> {
    let format = "$(CREATED_BY) $(LABEL) $(COMPONENT) $(SITE)";
    let targets = output(tool("apt-get").args(["indextargets", "--format", format]))?;
    let site = |label: &str| {
        let mut labelled = targets.lines().filter_map(|line| line.strip_prefix(&format!("Packages {label} main ")));
        labelled.next().map(str::to_owned)
    };
    let main = site("Debian").context("vm: this machine's apt knows no Debian mirror to fetch kernels from")?;
    let mut text = source(&main, SUITES);
    if let Some(security) = site("Debian-Security") {
        text += &source(&security, SECURITY_SUITES);
    }
    Ok(text)
}

fn source(uri: &str, suites: &str) -> String {
    format!(
        "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nArchitectures: amd64\nTargets: Packages\n\
         Signed-By: {KEYRING}\n\n"
    )
}
