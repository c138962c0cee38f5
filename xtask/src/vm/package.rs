//! A kernel's packages in Debian's archive: which of the index's packages make a kernel.
//!
//! In: stanzas of the index. Out: [`Package`]s, each also as one line of the list that is kept.

use std::collections::HashMap;

/// A package as the archive's index has it.
#[derive(Default)]
pub(super) struct Stanza {
    pub(super) package: String,
    pub(super) version: String,
    pub(super) depends: String,
}

/// A kernel of the archive: its `linux-image-` package and what to download for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) parts: Vec<String>,
}

impl Package {
    /// The kernel's `uname -r`.
    pub(super) fn release(&self) -> &str {
        self.name.strip_prefix("linux-image-").unwrap_or(&self.name)
    }

    /// The numbers of the Debian version: a superseded or backported twin has the same first three, and any will do.
    pub(super) fn numbers(&self) -> Vec<u32> {
        numbers(&self.version)
    }

    pub(super) fn is_cloud(&self) -> bool {
        self.name.contains("-cloud-")
    }

    pub(super) fn to_line(&self) -> String {
        format!("{} {} {}", self.name, self.version, self.parts.join(" "))
    }

    pub(super) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(str::to_owned);
        Some(Self { name: words.next()?, version: words.next()?, parts: words.collect() })
    }
}

/// The kernels among the index's packages: those whose every part the index has too.
pub(super) fn packages(stanzas: &[Stanza]) -> Vec<Package> {
    let versions: HashMap<&str, &str> = stanzas.iter().map(|s| (s.package.as_str(), s.version.as_str())).collect();
    let mut found = Vec::new();
    for image in stanzas {
        let Some(release) = image.package.strip_prefix("linux-image-") else { continue };
        let numbered = release.starts_with(|first: char| first.is_ascii_digit()) && release.matches('.').count() > 1;
        if !numbered || !release.ends_with("-amd64") || release.ends_with("-rt-amd64") {
            continue;
        }
        let parts: Vec<&str> = image
            .depends
            .split(", ")
            .filter_map(|depend| depend.split(' ').next())
            .filter(|name| name.starts_with("linux-") && name.ends_with(release))
            .chain([image.package.as_str()])
            .collect();
        let there = |part: &&str| versions.get(part) == Some(&image.version.as_str());
        // What a guest needs of `linux-base-RELEASE` (modules.builtin), 6.18 still has in its image.
        if parts.iter().all(|part| there(part) || part.starts_with("linux-base-")) {
            let parts = parts.into_iter().filter(there).map(|part| format!("{part}={}", image.version)).collect();
            found.push(Package { name: image.package.clone(), version: image.version.clone(), parts });
        }
    }
    found
}

/// The numbers of a version.
pub(super) fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::vm) fn image(release: &str, version: &str, depends: &str) -> Stanza {
        Stanza { package: format!("linux-image-{release}"), version: version.into(), depends: depends.into() }
    }

    #[test]
    fn a_split_kernel_counts_only_with_its_modules() {
        let depends = "kmod, linux-modules-7.0.1-amd64 (= 7.0.1-1), linux-base-7.0.1-amd64 (= 7.0.1-1)";
        let mut stanzas = vec![image("7.0.1-amd64", "7.0.1-1", depends)];
        assert!(packages(&stanzas).is_empty());
        stanzas.push(Stanza {
            package: "linux-modules-7.0.1-amd64".into(),
            version: "7.0.1-1".into(),
            depends: String::new(),
        });
        let parts: Vec<_> = packages(&stanzas).into_iter().flat_map(|package| package.parts).collect();
        assert_eq!(parts, ["linux-modules-7.0.1-amd64=7.0.1-1", "linux-image-7.0.1-amd64=7.0.1-1"]);
    }
}
