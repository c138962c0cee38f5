//! The name of a program, by the file that the kernel executed.
//!
//! In: the path of the executable, as the kernel has it (`mm->exe_file`: links are resolved), and `args[0]`. Out: the
//! name by which tables know the program. The caller of execve chooses `args[0]`, so it counts in two cases only: the
//! executable is one that reads its name there (busybox), or there is no path. For a script the kernel replaces
//! `args[0]` by the interpreter and puts the script's path after it (fs/binfmt_script.c), so that `exec -a` on a
//! script is without effect.
//!
//! It fails towards the file: a copy of a program under another name has the other name.

/// Programs that are what `args[0]` says, by the beginning of their names.
const MULTI_CALL: &[&[u8]] = &[b"busybox", b"toybox", b"coreutils", b"uutils", b"dropbearmulti", b"k3s", b"rke2"];

/// What the kernel, or procfs, appends to the path of an executable that was unlinked.
const DELETED: &[u8] = b" (deleted)";

/// The last part of a path.
pub fn basename(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The same of text.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The name in `args[0]`; a login shell's leading `-` is not part of it.
pub fn claimed(arg: &[u8]) -> &[u8] {
    let name = basename(arg);
    name.strip_prefix(b"-").unwrap_or(name)
}

/// The name of an executable's file.
pub fn file_name(executable: &[u8]) -> &[u8] {
    basename(executable.strip_suffix(DELETED).unwrap_or(executable))
}

/// A name without what packages add to it: `python3.11`, `kubectl-1.28`, `.helm-wrapped` of Nix, `unrar-nonfree`.
pub fn stem(name: &[u8]) -> &[u8] {
    const ENDINGS: &[&[u8]] = &[b"-wrapped", b"-nonfree", b"-free", b"-static", b".real", b".distrib"];
    let name = name.strip_prefix(b".").unwrap_or(name).trim_ascii_end();
    let name = name.strip_suffix(b"_").unwrap_or(name);
    let name = ENDINGS.iter().find_map(|ending| name.strip_suffix(*ending)).unwrap_or(name);
    let letters = name.iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b'.').map_or(0, |last| last + 1);
    let Some(plain) = name.get(..letters).filter(|plain| plain.len() < name.len()) else { return name };
    let plain = plain.strip_suffix(b"-v").unwrap_or(plain);
    plain.strip_suffix(b"-").unwrap_or(plain)
}

/// Whether a program of this name takes its name from `args[0]`.
pub fn is_multi_call(name: &[u8]) -> bool {
    MULTI_CALL
        .iter()
        .any(|own| name.strip_prefix(*own).is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphabetic)))
}

/// The name of the program that was executed.
pub fn name<'a>(executable: Option<&'a [u8]>, first: &'a [u8]) -> &'a [u8] {
    match executable.map(file_name) {
        Some(name) if is_multi_call(name) => claimed(first),
        Some(name) if !name.is_empty() => name,
        _ => claimed(first),
    }
}

/// `args[0]`, where its name is another one than the executable's.
pub fn title<'a>(executable: &[u8], first: &'a [u8]) -> Option<&'a [u8]> {
    let differs = claimed(first) != file_name(executable) && basename(first) != file_name(executable);
    differs.then_some(first)
}

/// Whether a program is usually called so: a link that distributions make, such as `sh` for dash.
pub fn is_alias(title: &[u8], name: &[u8]) -> bool {
    /// The name of the link, and beginnings of the names of the programs behind it.
    const ALIASES: &[(&[u8], &[&[u8]])] = &[
        (b"sh", &[b"dash", b"bash", b"ksh", b"mksh", b"zsh"]),
        (b"vi", &[b"vim", b"nvim"]),
        (b"view", &[b"vim"]),
        (b"awk", &[b"mawk", b"gawk", b"original-awk"]),
        (b"nodejs", &[b"node"]),
        (b"mysql", &[b"mariadb"]),
        (b"mysqldump", &[b"mariadb-dump"]),
        (b"mysqladmin", &[b"mariadb-admin"]),
        (b"sudoedit", &[b"sudo"]),
        (b"editor", &[b"nano", b"vim"]),
        (b"pager", &[b"less"]),
    ];
    let title = claimed(title);
    let is_version = |rest: &[u8]| rest.first().is_none_or(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    is_multi_call(name)
        || name.strip_prefix(stem(title)).is_some_and(|rest| !stem(title).is_empty() && is_version(rest))
        || ALIASES.iter().any(|(alias, names)| *alias == title && names.iter().any(|own| name.starts_with(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_by_its_file() {
        for (executable, first, expected) in [
            ("/usr/bin/python3.11", "snmpget", "python3.11"),
            ("/usr/bin/mariadb", "notmysql", "mariadb"),
            ("/usr/bin/busybox", "/bin/sh", "sh"),
            ("/usr/bin/busybox.nosuid", "-ash", "ash"),
            ("/usr/local/bin/k3s", "kubectl", "kubectl"),
            ("/home/a/busyboxer", "mysql", "busyboxer"),
            ("/usr/bin/bash", "-bash", "bash"),
            ("/tmp/x (deleted)", "y", "x"),
            ("", "-bash", "bash"),
        ] {
            assert_eq!(
                name(Some(executable.as_bytes()), first.as_bytes()),
                expected.as_bytes(),
                "{executable} {first}"
            );
        }
        assert_eq!(name(None, b"/usr/bin/-x"), b"x");
    }

    #[test]
    fn what_packages_add_is_no_part_of_a_name() {
        for (name, expected) in [
            ("python3.11", "python"),
            ("kubectl1.28", "kubectl"),
            ("helm-v3.12.0", "helm"),
            (".mysql-wrapped", "mysql"),
            (".mysql-wrapped_", "mysql"),
            ("unrar-nonfree", "unrar"),
            ("7z", "7z"),
            ("123", ""),
            ("", ""),
        ] {
            assert_eq!(stem(name.as_bytes()), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn a_title_is_what_differs_from_the_file() {
        for (executable, first, differs, alias) in [
            ("/usr/bin/sleep", "kamal", true, false),
            ("/usr/bin/python3.11", "snmpget", true, false),
            ("/usr/bin/python3.11", "/usr/bin/python3", true, true),
            ("/usr/bin/dash", "sh", true, true),
            ("/usr/bin/vim.basic", "vi", true, true),
            ("/usr/bin/busybox", "ls", true, true),
            ("/usr/bin/bash", "-bash", false, true),
            ("/usr/bin/ls", "/bin/ls", false, true),
            ("/usr/bin/ls", "", true, false),
            ("/srv/-x", "-x", false, true),
        ] {
            let (executable, first) = (executable.as_bytes(), first.as_bytes());
            assert_eq!(title(executable, first).is_some(), differs, "{executable:?} {first:?}");
            if differs {
                assert_eq!(is_alias(first, file_name(executable)), alias, "{executable:?} {first:?}");
            }
        }
    }
}
