//! Against objdump on real programs, and on small ones built in every way that matters.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{arm::Word, *};
use crate::host::content::Opened;

fn find_in(path: &Path) -> Result<Vec<Site>, NotCovered> {
    find(&*fs::read(path).unwrap())
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// (call, jump) of every call that objdump shows: addresses, which are offsets in these files, since their text is
/// mapped one to one.
fn by_objdump(path: &Path) -> Vec<(u64, u64)> {
    let text = run(Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(path));
    let lines: Vec<(u64, &str)> = text
        .lines()
        .filter_map(|line| {
            let (address, instruction) = line.trim_start().split_once(":\t")?;
            Some((u64::from_str_radix(address, 16).ok()?, instruction))
        })
        .collect();
    let is_call = |text: &str| text.starts_with("call") && text.contains("<EVP_Cipher@plt");
    let is_jump = |text: &str| text.starts_with('j') && !text.starts_with("jmp");
    let mut found = Vec::new();
    for (n, (call, text)) in lines.iter().enumerate() {
        if is_call(text) {
            let jump = lines[n + 1..].iter().find(|(_, text)| is_jump(text)).unwrap();
            found.push((*call, jump.0));
        }
    }
    found
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_sites_of_openssh_are_those_that_objdump_shows() {
    for program in ["/usr/sbin/sshd", "/usr/bin/ssh"] {
        let path = Path::new(program);
        if !path.exists() {
            eprintln!("{program} is not here: not compared");
            continue;
        }
        let sites = find_in(path).unwrap();
        let found: Vec<(u64, u64)> = sites.iter().map(|site| (site.call, site.jump)).collect();
        assert_eq!(found, by_objdump(path), "{program}");
        let bodies = sites.iter().filter(|site| site.role == SiteRole::Body).count();
        assert_eq!((sites.len(), bodies), (7, 2), "{program}: {sites:?}");
        // Debian 12 and 13.
        let single = sites.iter().filter(|site| site.single.is_some()).count();
        assert_eq!(single, 2, "{program}: {sites:x?}");
        assert!(sites.iter().all(|site| site.emulated));
    }
}

#[test]
fn a_file_that_is_read_piece_by_piece_has_the_same_sites() {
    for program in ["/usr/sbin/sshd", "/usr/bin/ssh"] {
        let Ok(file) = fs::File::open(program) else { continue };
        assert_eq!(find(&Opened::new(&file)), find_in(program.as_ref()), "{program}");
    }
    let Some(bytes) = build("pieces", TESTED, &["-O2"]) else { return };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    assert_eq!(find(&Opened::new(&file)), find(&*bytes));
    assert_eq!(find_in_library(&Opened::new(&file)), find_in_library(&*bytes));
    // Its owner cuts it.
    file.set_len(bytes.len() as u64 / 2).unwrap();
    assert!(find(&Opened::new(&file)).is_err());
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program with this body, linked to a library that has `EVP_Cipher`.
pub(super) fn build(name: &str, body: &str, flags: &[&str]) -> Option<Vec<u8>> {
    if Command::new("gcc").arg("--version").output().is_err() {
        eprintln!("gcc is not here: not tried");
        return None;
    }
    let folder = Folder(std::env::temp_dir().join(format!("sensor-sites-{}-{name}", std::process::id())));
    fs::create_dir_all(&folder.0).unwrap();
    let file = |name: &str| folder.0.join(name);
    fs::write(file("lib.c"), "int EVP_Cipher(void *c, char *o, const char *i, unsigned n) { return n; }").unwrap();
    let program = format!(
        "int EVP_Cipher(void *, char *, const char *, unsigned);\nint x;\n{body}\nint main(void) {{ return use(0, 0, 0, 9); }}"
    );
    fs::write(file("main.c"), program).unwrap();
    run(Command::new("gcc").args(["-shared", "-fPIC", "-o"]).args([file("liba.so"), file("lib.c")]));
    run(Command::new("gcc").args(flags).arg("-o").args([file("main"), file("main.c"), file("liba.so")]));
    Some(fs::read(file("main")).unwrap())
}

const TESTED: &str = "__attribute__((noipa)) int use(void *c, char *o, const char *i, unsigned n) { if (EVP_Cipher(c, o, i, n) < 0) return 1; x = 2; return 3; }";

#[test]
#[cfg(target_arch = "x86_64")]
fn every_way_to_link_is_followed() {
    for (name, flags) in [
        ("lazy", &["-O2", "-Wl,-z,lazy"][..]),
        ("now", &["-O2", "-Wl,-z,now"]),
        ("ibt", &["-O2", "-fcf-protection=full", "-Wl,-z,ibtplt"]),
        ("debug", &["-O0", "-Wl,-z,lazy"]),
        ("nopie", &["-O2", "-no-pie"]),
    ] {
        let Some(file) = build(name, TESTED, flags) else { return };
        let sites = find(&*file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(matches!(&sites[..], [site] if site.emulated && site.role == SiteRole::Body), "{name}: {sites:?}");
        assert_eq!(file[sites[0].call as usize], 0xe8, "{name}");
    }
    let Some(file) = build("noplt", TESTED, &["-O2", "-fno-plt"]) else { return };
    let sites = find(&*file).unwrap();
    assert!(matches!(&sites[..], [site] if !site.emulated), "{sites:?}");
    assert_eq!(&file[sites[0].call as usize..][..2], [0xff, 0x15]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_does_not_fit_is_refused_with_its_reason() {
    let whole = "__attribute__((noipa)) int use(void *c, char *o, const char *i, unsigned n)";
    let try_it = |name, body: &str, flags: &[&str]| build(name, body, flags).map(|file| find(&*file));
    let tail = try_it("tail", &format!("{whole} {{ return EVP_Cipher(c, o, i, n); }}"), &["-O2"]);
    assert!(tail.is_none_or(|found| matches!(found, Err(NotCovered::TailCall { .. }))));
    let ignored = try_it("ignored", &format!("{whole} {{ EVP_Cipher(c, o, i, n); x = 1; return x; }}"), &["-O2"]);
    assert!(ignored.is_none_or(|found| matches!(found, Err(NotCovered::NoJump { .. }))));
    let taken = format!(
        "int (*volatile p)(void *, char *, const char *, unsigned); __attribute__((noipa)) {whole} {{ p = EVP_Cipher; return p(c, o, i, n); }}"
    );
    let taken = try_it("taken", &taken, &["-O2"]);
    assert!(taken.as_ref().is_none_or(|found| matches!(found, Err(NotCovered::AddressTaken { .. }))), "{taken:?}");
    assert!(matches!(find(&b"#!/bin/sh"[..]), Err(NotCovered::NoImport { .. })));
}

#[test]
fn damaged_files_do_no_harm() {
    let Some(file) = build("damaged", TESTED, &["-O2"]) else { return };
    for len in (0..file.len()).step_by(97) {
        let _ = find(&file[..len]);
    }
    let mut random = 7u32;
    for _ in 0..3000 {
        let mut broken = file.clone();
        for _ in 0..4 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The headers decide the most.
            let range = if random & 1 == 0 { 1024 } else { broken.len() };
            let at = (random >> 8) as usize % range;
            broken[at] = (random >> 4) as u8;
        }
        let _ = find(&*broken);
    }
}

#[test]
fn aarch64_instructions_are_told_apart() {
    // From `objdump -d` of Debian's arm64 sshd.
    for (word, at, wanted) in [
        (0x97ff_0f0cu32, 0x5_0000u64, Word::Call(0x1_3c30)),
        (0x1400_0003, 0x1000, Word::Jump(0x100c)),
        (0x5400_0041, 0x1000, Word::Conditional), // b.ne
        (0x3400_00a0, 0x1000, Word::Conditional), // cbz w0
        (0x37f8_0120, 0x1000, Word::Conditional), // tbnz w0, #31
        (0xb000_0990, 0xd370, Word::Page(16, 0x13_e000)),
        (0xf947_0611, 0, Word::Load(17, 16, 0xe08)),
        (0xd61f_0220, 0, Word::Indirect),           // br x17
        (0x7100_001f, 0, Word::Other(0x7100_001f)), // cmp w0, #0
    ] {
        assert_eq!(super::arm::decode(word, at), wanted, "{word:#x}");
    }
}

#[test]
#[ignore = "prints the sites of the program in SENSOR_SITES_OF"]
fn sites_of_another_program() {
    let path = std::env::var("SENSOR_SITES_OF").unwrap();
    println!("{:x?}", find_in(path.as_ref()));
}

#[test]
#[ignore = "a look at a file: SENSOR_LIBRARY=... cargo test -- --ignored --nocapture"]
fn a_library_by_hand() {
    let Some(path) = std::env::var_os("SENSOR_LIBRARY") else { return };
    let began = std::time::Instant::now();
    let sites = find_in_library(&*fs::read(path).unwrap());
    println!("{:?} in {:?}", sites, began.elapsed());
}
