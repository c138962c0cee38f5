//! Files and folders that the sensor writes to: opened only where no other user can have put something else.
//!
//! In: a path from the configuration. Every component is opened by itself (O_PATH, O_NOFOLLOW) beneath the one before
//! and looked at: a folder or symlink must be root's (or the running user's), and no other user may write to the
//! folder, or a user could replace what is below. Two kinds of folder are shared by design and hold here as long as
//! what is next below them is root's own: sticky ones (/tmp: only the owner renames; path_resolution(7)), and those
//! that a system group may write to (Debian's and Ubuntu's /var/log can be root:syslog 0775). The last folder is never
//! shared. A file is opened only after its type is known, so no FIFO blocks and no device is touched. An error names
//! the component and what is wrong with it.

use std::{
    ffi::OsString,
    fs::File,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat, openat, readlinkat},
    io::Errno,
    process::geteuid,
};

/// As the kernel's own limit.
const LINKS_MAX: usize = 40;
/// Debian's, Fedora's and systemd's SYS_GID_MAX.
const SYSTEM_GROUP_MAX: u32 = 999;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use {path}: {at}: {source}")]
    Io { path: PathBuf, at: PathBuf, source: std::io::Error },
    #[error("refusing to write to {path}: {at} {why}")]
    Refused { path: PathBuf, at: PathBuf, why: String },
}

/// Opens a file to append to; it is made (0600) if it is not there.
pub fn append(path: &Path) -> Result<File, Error> {
    let refused = |why: &str| Error::Refused { path: path.into(), at: path.into(), why: why.into() };
    let failed = |errno: Errno| Error::Io { path: path.into(), at: path.into(), source: errno.into() };
    let Some(name) = path.file_name() else { return Err(refused("names no file")) };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = walk(path, parent, false)?;
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = flags | OFlags::RDWR | OFlags::APPEND | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match openat(&folder, name, flags | OFlags::PATH, Mode::empty()) {
        Err(Errno::NOENT) => openat(&folder, name, open | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR),
        Err(errno) => return Err(failed(errno)),
        Ok(found) => {
            let stat = fstat(&found).map_err(failed)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {}
                FileType::Symlink => return Err(refused("is a symbolic link: name the file that it leads to")),
                _ => return Err(refused("is no regular file; for a pipe use \"-\" (standard output)")),
            }
            owned(&stat, 0o022).map_err(|why| refused(&why))?;
            openat(&folder, name, open, Mode::empty())
        }
    };
    Ok(File::from(file.map_err(failed)?))
}

/// A folder of the sensor's own: made if it is not there, private whatever it was.
pub fn folder(path: &Path) -> Result<(), Error> {
    let failed = |errno: Errno| Error::Io { path: path.into(), at: path.into(), source: errno.into() };
    let place = walk(path, path, true)?;
    let folder = openat(&place, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = folder.map_err(failed)?;
    let stat = fstat(&folder).map_err(failed)?;
    if stat.st_uid != geteuid().as_raw() {
        let why = format!("belongs to user {}: it must be the sensor's own", stat.st_uid);
        return Err(Error::Refused { path: path.into(), at: path.into(), why });
    }
    if stat.st_mode & 0o7777 != 0o700 {
        // A folder that others use too would be taken from them: /tmp, /var/lib.
        if stat.st_mode & 0o1000 != 0 || holds_folders(&folder).map_err(failed)? {
            let why =
                format!("has mode {:04o} and is shared: give the sensor a folder of its own", stat.st_mode & 0o7777);
            return Err(Error::Refused { path: path.into(), at: path.into(), why });
        }
        fchmod(&folder, Mode::RWXU).map_err(failed)?;
        tracing::warn!(folder = %path.display(), mode = format!("{:o}", stat.st_mode & 0o7777), "the folder's mode is now 700");
    }
    Ok(())
}

fn holds_folders(folder: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if entry.file_type() == FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens a folder component by component. `path` is for messages. `own`: it is made where it is missing, and may be
/// open to others, since its mode is mended.
fn walk(path: &Path, folder: &Path, own: bool) -> Result<OwnedFd, Error> {
    let absolute = std::path::absolute(folder);
    let failed = |at: &Path, source| Error::Io { path: path.into(), at: at.into(), source };
    let mut parts = parts_of(&absolute.map_err(|source| failed(folder, source))?);
    let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = || openat(CWD, "/", place | OFlags::DIRECTORY, Mode::empty());
    let mut at = root().map_err(|errno| failed("/".as_ref(), errno.into()))?;
    let mut shown = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = parts.pop() {
        let here = shown.join(&part);
        let errno = |errno: Errno| failed(&here, errno.into());
        let refused = |why: String| Error::Refused { path: path.into(), at: here.clone(), why };
        let mut next = openat(&at, &part, place, Mode::empty());
        if own && matches!(next, Err(Errno::NOENT)) {
            mkdirat(&at, &part, Mode::RWXU).map_err(errno)?;
            next = openat(&at, &part, place, Mode::empty());
        }
        let next = next.map_err(errno)?;
        let stat = fstat(&next).map_err(errno)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(errno(Errno::LOOP));
                }
                owned(&stat, 0).map_err(refused)?;
                let target = readlinkat(&next, "", Vec::new()).map_err(errno)?;
                let target =
                    PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    at = root().map_err(errno)?;
                    shown = "/".into();
                }
                parts.extend(parts_of(&target));
            }
            FileType::Directory => {
                let last = parts.is_empty();
                owned(&stat, open_to_others(&stat, last, own)).map_err(refused)?;
                (at, shown) = (next, here);
            }
            _ => return Err(refused("is no folder".into())),
        }
    }
    Ok(at)
}

/// Components, the first at the end.
fn parts_of(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect::<Vec<_>>().into_iter().rev().collect()
}

/// The bits that must not be set in a folder's mode.
fn open_to_others(stat: &Stat, last: bool, own: bool) -> u32 {
    match (last, own) {
        (true, true) => 0,
        (false, _) if stat.st_mode & 0o1000 != 0 => 0,
        (false, _) if stat.st_gid <= SYSTEM_GROUP_MAX => 0o002,
        _ => 0o022,
    }
}

/// Is it root's or the running user's, with none of these bits?
fn owned(stat: &Stat, forbidden: u32) -> Result<(), String> {
    if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
        return Err(format!("belongs to user {}: it must be root's", stat.st_uid));
    }
    if stat.st_mode & forbidden != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(format!("has mode {mode:04o}: others could write to it (chmod go-w)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    };

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn why(path: &Path) -> String {
        append(path).map(drop).map_err(|error| error.to_string()).unwrap_err()
    }

    #[test]
    fn a_file_is_made_private_where_only_its_owner_can_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // To be read by those who ship it is its owner's decision; to be written is not.
        chmod(&path, 0o640);
        append(&path).unwrap();
        chmod(&path, 0o620);
        assert!(why(&path).contains("mode 0620"), "{}", why(&path));
        chmod(&path, 0o600);
        chmod(folder.path(), 0o777);
        assert!(why(&path).contains("mode 0777"), "{}", why(&path));
        chmod(folder.path(), 0o1777);
        assert!(why(&path).contains("mode 1777"), "the last folder is not shared: {}", why(&path));
    }

    #[test]
    fn what_is_no_file_is_refused_without_being_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        symlink("/etc/hostname", &path).unwrap();
        assert!(why(&path).contains("symbolic link"));
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(why(&path).contains("no regular file"));
        fs::create_dir(folder.path().join("folder")).unwrap();
        assert!(why(&folder.path().join("folder")).contains("no regular file"));
        assert!(why("/dev/full".as_ref()).contains("/dev/full"));
    }

    #[test]
    fn a_symbolic_link_on_the_way_is_followed_if_what_it_passes_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink("real", &link).unwrap();
        append(&link.join("log")).unwrap();
        assert!(real.join("log").exists());
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        chmod(&open, 0o777);
        symlink(&real, open.join("link")).unwrap();
        assert!(why(&open.join("link/log")).contains("mode 0777"));
        symlink("loop", folder.path().join("loop")).unwrap();
        assert!(append(&folder.path().join("loop/log")).is_err());
    }

    #[test]
    fn a_folder_is_made_private_or_mended() {
        let place = tempfile::tempdir().unwrap();
        let own = place.path().join("a/state");
        folder(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o7777, 0o700);
        for mode in [0o755, 0o777, 0o500] {
            chmod(&own, mode);
            folder(&own).unwrap();
            assert_eq!(fs::metadata(&own).unwrap().mode() & 0o7777, 0o700, "{mode:o}");
        }
        for shared in [(place.path(), 0o755), (&own, 0o1777)] {
            chmod(shared.0, shared.1);
            assert!(folder(shared.0).unwrap_err().to_string().contains("is shared"), "{shared:?}");
        }
        fs::write(place.path().join("file"), "").unwrap();
        assert!(folder(&place.path().join("file")).is_err());
        if geteuid().is_root() {
            std::os::unix::fs::chown(&own, Some(12345), None).unwrap();
            assert!(folder(&own).unwrap_err().to_string().contains("belongs to user 12345"));
        }
    }
}
