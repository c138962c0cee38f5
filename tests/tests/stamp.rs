//! What the kernel says of an executable's inode is what stat(2) says of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use sensor::{
    decode::Decoder,
    event::stream::{EventKind, FileStamp},
    host::mounts,
    kernel::{Drained, Kernel, Options, Ring},
};
use sensor_tests::{Folder, Machine};

/// Executes the file and gives its inode's stamp.
fn stamp(ring: &mut Ring, program: &Path) -> FileStamp {
    assert!(Command::new(program).status().unwrap().success());
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    while ring.drain(1024, |record| decoder.decode(record, &mut events).unwrap()) == Drained::More {}
    let name = program.file_name().unwrap().as_encoded_bytes();
    let mut stamps = events.into_iter().filter_map(|event| match event.what {
        EventKind::Exec(exec) if exec.executable.as_ref().is_some_and(|path| path.bytes.ends_with(name)) => exec.stamp,
        _ => None,
    });
    stamps.next().expect("an exec with a stamp")
}

#[test]
fn an_exec_says_which_content_its_file_has() {
    let _machine = Machine::take();
    let folder = Folder::new("stamp");
    let mut kernel = Kernel::load(&Options { cgroup2: mounts::cgroup2(), ..Options::default() }).unwrap();
    let mut ring = kernel.ring().unwrap();
    let program = folder.join("stamped-program");
    fs::copy("/bin/true", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::chown(&program, Some(1234), None).unwrap();
    let of_file = |overlay, generation| {
        let metadata = fs::metadata(&program).unwrap();
        FileStamp {
            size: metadata.size(),
            ctime: (metadata.ctime(), metadata.ctime_nsec() as u32),
            generation,
            nlink: metadata.nlink() as u32,
            owner: metadata.uid(),
            mode: metadata.mode(),
            overlay,
        }
    };
    let before = stamp(&mut ring, &program);
    let overlay =
        String::from_utf8(Command::new("stat").args(["-f", "-c", "%T"]).arg(&program).output().unwrap().stdout);
    assert_eq!(before.overlay, overlay.unwrap().starts_with("overlay"));
    assert_eq!(before, of_file(before.overlay, before.generation));
    assert_eq!(stamp(&mut ring, &program), before, "the same content, twice");
    fs::hard_link(&program, folder.join("second-name")).unwrap();
    let linked = stamp(&mut ring, &program);
    assert_eq!(linked, of_file(before.overlay, before.generation));
    assert_eq!(linked.nlink, 2);
    assert_ne!(linked.ctime, before.ctime);
    println!("{linked:?}");
}
