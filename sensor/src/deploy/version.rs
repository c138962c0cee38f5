//! Which version of a tool runs, as far as a path, an image or a lock file shows it.
//!
//! In: the path of the script or program (`gems/kamal-2.12.0/bin/kamal`, `installs/terraform/1.5.0/bin/terraform`), the
//! image that a container is started from, the text of a `Gemfile.lock`. Out: the version, or nothing: a binstub in
//! `/usr/local/bin` says none, and no tool is run to ask it. All three are the deploying user's, so what does not look
//! like a version is none.

/// `12.34.56.alpha1` and the like.
const VERSION_MAX: usize = 64;

/// Of a path with the package's folder in it: `NAME-VERSION/`, `NAME/VERSION/`.
pub(super) fn of_path(path: &str, names: &[&str]) -> Option<String> {
    let (folders, _) = path.rsplit_once('/')?;
    let mut folders = folders.split('/').peekable();
    while let Some(folder) = folders.next() {
        let next = folders.peek().copied();
        for name in names {
            // A store's hash, or the kind of the package, can stand before the name: `HASH-kamal-2.3.0`, `gem-kamal`.
            let is_start = |at: usize| at == 0 || folder.as_bytes().get(at - 1) == Some(&b'-');
            let Some(rest) =
                folder.rfind(*name).filter(|at| is_start(*at)).and_then(|at| folder.get(at + name.len()..))
            else {
                continue;
            };
            let version = if rest.is_empty() { next } else { rest.strip_prefix('-') };
            if let Some(version) = version.and_then(clean) {
                return Some(version);
            }
        }
    }
    None
}

/// Of `registry/name:v2.3.0`.
pub(super) fn of_image(image: &str) -> Option<String> {
    let image = image.split('@').next()?;
    let tag = image.rsplit('/').next()?.split_once(':')?.1;
    clean(tag.strip_prefix('v').unwrap_or(tag))
}

/// Of a gem in Bundler's lock file: `    kamal (2.12.0)`, four blanks deep.
pub(super) fn of_lock(text: &str, gem: &str) -> Option<String> {
    let version = |line: &str| {
        let rest = line.strip_prefix("    ")?.strip_prefix(gem)?.strip_prefix(" (")?;
        clean(rest.trim_end().strip_suffix(')')?)
    };
    text.lines().find_map(version)
}

/// A version without its platform (`2.0.0-x86_64-linux`).
fn clean(text: &str) -> Option<String> {
    let version = text.split('-').next()?;
    let fits = version.len() <= VERSION_MAX
        && version.contains('.')
        && version.starts_with(|c: char| c.is_ascii_digit())
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'~' | b'_'));
    fits.then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_version_if_a_package_manager_made_it() {
        for (path, expected) in [
            ("/var/lib/gems/3.1.0/gems/kamal-2.12.0/exe/kamal", Some("2.12.0")),
            (
                "/home/a/.rbenv/versions/3.3.0/lib/ruby/gems/3.3.0/gems/kamal-2.0.0.alpha1/bin/kamal",
                Some("2.0.0.alpha1"),
            ),
            ("vendor/bundle/ruby/3.3.0/gems/kamal-1.9.3-x86_64-linux/exe/kamal", Some("1.9.3")),
            ("/nix/store/8s0h2kq1-kamal-2.3.0/bin/kamal", Some("2.3.0")),
            ("/home/a/.local/share/mise/installs/gem-kamal/2.3.0/bin/kamal", Some("2.3.0")),
            ("/home/a/.asdf/installs/kamal/2.3.0/bin/kamal", Some("2.3.0")),
            ("/usr/local/bin/kamal", None),
            ("/home/a/.rbenv/versions/3.3.0/bin/kamal", None),
            ("/opt/kamal/bin/kamal", None),
            ("/opt/kamal/2915/bin/kamal", None),
            ("/opt/kamal-proxy-1.0/bin/kamal", None),
            ("/opt/mykamal-1.0/bin/kamal", None),
            ("/opt/kamal-$(id).0/bin/kamal", None),
            ("kamal-2.0.0", None),
            ("", None),
        ] {
            assert_eq!(of_path(path, &["kamal"]).as_deref(), expected, "{path}");
        }
        let terraform = ["terraform", "tofu"];
        let path = "/root/.local/share/mise/installs/terraform/1.5.7/bin/terraform";
        assert_eq!(of_path(path, &terraform).as_deref(), Some("1.5.7"));
        assert_eq!(of_path("/usr/bin/tofu", &terraform), None);
    }

    #[test]
    fn an_image_tells_it_by_its_tag() {
        for (image, expected) in [
            ("ghcr.io/basecamp/kamal:v2.3.0", Some("2.3.0")),
            ("kamal:2.3.0@sha256:00", Some("2.3.0")),
            ("localhost:5000/kamal", None),
            ("kamal:latest", None),
            ("kamal", None),
        ] {
            assert_eq!(of_image(image).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn a_lock_file_tells_it_of_a_gem_that_is_locked() {
        let text = "GEM\n  remote: https://rubygems.org/\n  specs:\n    kamal-extra (9.9.9)\n      kamal (>= 1.0)\n    kamal (2.12.0)\n      sshkit (>= 1.23)\n\nDEPENDENCIES\n  kamal (~> 2.0)\n";
        assert_eq!(of_lock(text, "kamal").as_deref(), Some("2.12.0"));
        assert_eq!(of_lock(text, "sshkit"), None);
        for text in ["", "    kamal", "    kamal ()", "    kamal (\u{0})", "    kamal (2.12.0"] {
            assert_eq!(of_lock(text, "kamal"), None, "{text:?}");
        }
    }
}
