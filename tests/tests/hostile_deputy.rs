//! The sensor reads nothing for a user that the user may not read, and gives away nothing by a hash: who knows what a
//! file may hold could find which of it by trying.
//!
//! Searched: records of the daemon, a recording and the records of a `sensor trace` beside it, and the state folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use sensor_tests::{
    Trace,
    hostile::{Siege, assert_no_event_lost, soon, tripwire::Tripwire},
    sensor,
};
use sha2::{Digest as _, Sha256};

/// Words of root's file that no other text here has.
const WORDS: [&str; 4] = ["zebra-quartz", "10.99.88.77", "OMEGA_UNGUESSED_NAME", "walrus.example"];
/// Hexadecimal digits by which a hash is recognised, wherever it was cut.
const PREFIX: usize = 12;

/// Everything that the sensors wrote.
fn written(siege: &Siege, recording: &Path) -> Vec<(String, Vec<u8>)> {
    let mut folders = vec![siege.folder.join("state")];
    let mut files = vec![
        siege.sensor.path().to_path_buf(),
        recording.into(),
        siege.folder.join("trace.json"),
        siege.folder.join("sensor.err"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => files.push(path),
            }
        }
    }
    files.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default())).collect()
}

/// Which of the texts has a hash, whole or cut, in plain SHA-256: in hexadecimal, or as bytes.
fn hashes_of(texts: &[String], bytes: &[u8]) -> Vec<String> {
    let digest = |text: &String| Sha256::digest(text.as_bytes());
    let hex =
        |text: &String| digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..PREFIX].to_owned();
    let by_prefix: HashSet<String> = texts.iter().map(hex).collect();
    let windows = bytes.windows(PREFIX).filter(|window| window.iter().all(u8::is_ascii_hexdigit));
    let seen: HashSet<String> = windows.map(|window| String::from_utf8_lossy(window).to_lowercase()).collect();
    let raw: HashSet<[u8; 8]> = bytes.windows(8).map(|window| window.try_into().unwrap()).collect();
    let found = texts.iter().filter(|text| {
        let prefix: [u8; 8] = digest(text)[..8].try_into().unwrap();
        by_prefix.contains(&hex(text)) && (seen.contains(&hex(text)) || raw.contains(&prefix))
    });
    found.cloned().collect()
}

/// Every PIN of four digits, as a file may hold it.
fn pins() -> Vec<String> {
    (0..10_000).flat_map(|pin| [format!("{pin:04}"), format!("{pin:04}\n")]).collect()
}

#[test]
fn no_word_and_no_plain_hash_of_a_file_leaks_through_a_deploy() {
    let mut siege = Siege::new("hostile-deputy", "");
    let recording = siege.folder.join("recording");
    let trace = Trace::start(&siege.folder, &["--record", recording.to_str().unwrap()]);
    let mut wire = Tripwire::default();
    let root = siege.folder.join("root.yml");
    let config = format!(
        "service: {}\nimage: acme/x\nservers:\n  web: [{}]\nregistry:\n  server: {}\n  password: [{}]\nenv:\n  secret: [{}]\n",
        WORDS[0], WORDS[1], WORDS[3], WORDS[2], WORDS[2]
    );
    wire.secret(&root, &config);
    let pin = siege.folder.join("pin");
    wire.secret(&pin, "4711\n");
    let hidden = siege.victim.home.join("pin.yml");
    fs::write(&hidden, "8150\n").unwrap();
    wire.watch(&hidden);
    // What the user may read is read, and its hash is keyed all the same.
    let own = siege.attacker.home.join("pin");
    fs::write(&own, "2468").unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&own, Some(siege.attacker.uid), None).unwrap();
    let paths = [&root, &pin, &hidden, &own].map(|path| path.display().to_string());
    let ended = siege.attack(&format!("deploys.sh {}", paths.join(" ")));
    assert_eq!(ended.code(), 0, "{ended:?}");
    let mine =
        |record: &sensor_tests::Record| record.is("deploy-started") && record.text("user.name") == siege.attacker.name;
    let deploys = || siege.sensor.records().iter().filter(|record| mine(record)).count();
    soon(|| (deploys() >= 4 * paths.len()).then_some(()))
        .unwrap_or_else(|| panic!("{} deploys of {} are recorded", deploys(), 4 * paths.len()));
    siege.assert_awake("deploys with configurations of others");
    wire.assert_untouched("deploys with configurations of others");
    trace.stop();
    let records = siege.stop();
    assert_no_event_lost(&records);
    let candidates = [pins(), vec![config.clone(), fs::read_to_string("/etc/shadow").unwrap()]].concat();
    for (name, bytes) in written(&siege, &recording) {
        for word in WORDS {
            assert!(memchr::memmem::find(&bytes, word.as_bytes()).is_none(), "{word} of root's file is in {name}");
        }
        assert_eq!(hashes_of(&candidates, &bytes), Vec::<String>::new(), "a plain hash is in {name}");
    }
}

#[test]
fn the_search_finds_hashes_however_they_are_cut() {
    let hash = Sha256::digest(b"4711\n");
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in
        [hex.clone().into_bytes(), format!("x{}y", &hex[..PREFIX]).into_bytes(), hash.to_vec(), hash[..8].to_vec()]
    {
        assert_eq!(hashes_of(&pins(), &text), ["4711\n"]);
    }
    assert_eq!(hashes_of(&pins(), fs::read(sensor::binary()).unwrap().get(..100_000).unwrap()), Vec::<String>::new());
}
