//! Every open of the sensor, as strace sees it, while a user attacks: a process that holds capabilities opens nothing
//! that a user can put in its way but as an O_PATH descriptor, and gives perf_event_open(2) nothing but descriptors of
//! its own.
//!
//! Slow under strace: `cargo xtask test --long` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs, path::Path};

use sensor_tests::{
    Running,
    hostile::{
        KINDS, Siege, assert_no_event_lost, family,
        opens::{CALLS, Opens},
        tripwire::Tripwire,
    },
};

/// The trace has the end of the sensor.
const SHOWN: usize = 20;

#[test]
#[ignore = "minutes under strace: cargo xtask test --long"]
fn with_capabilities_nothing_of_a_user_is_opened_but_as_a_descriptor() {
    assert!(Path::new("/usr/bin/strace").exists(), "strace is not here: apt-get install strace");
    let mut siege = Siege::traced("hostile-strace", |trace| {
        let words = ["strace", "-D", "-f", "--seccomp-bpf", "-y", "-s", "4096", "-e", CALLS, "-o", trace];
        words.map(str::to_owned).to_vec()
    });
    let mut wire = Tripwire::default();
    let secret = siege.folder.join("secret");
    wire.secret(&secret, "service: of-root\n");
    let secret = secret.display().to_string();
    let mut attacks: Vec<String> =
        ["good"].iter().chain(&KINDS).map(|kind| format!("place.sh {kind} {}", siege.sshd.port)).collect();
    attacks.extend(["link", "swapped"].map(|kind| format!("place.sh {kind} {} {secret}", siege.sshd.port)));
    // What they make of the sensor's wakefulness is judged elsewhere.
    let attacks: Vec<Running> = attacks.iter().map(|attack| siege.attack_beside(attack)).collect();
    for attack in attacks {
        siege.until_ended(attack, "place.sh");
    }
    assert_eq!(siege.attack(&format!("deploys.sh {secret}")).code(), 0);
    let crowd = siege.home("crowd");
    assert_eq!(siege.attack(&format!("crowd.sh 16 1 {}", crowd.display())).code(), 0);
    let by_name: Vec<String> = family::probed_paths(siege.sensor.pid())
        .into_iter()
        .filter(|path| !path.starts_with("/proc/self/fd/"))
        .collect();
    assert!(by_name.is_empty(), "files that were probed by their names: {by_name:?}");
    // Judged while the attacker's home is there: whose a path is, is looked at now.
    let text = fs::read_to_string(siege.folder.join("strace")).unwrap();
    let opens = Opens::read(&text);
    println!("{} opens with capabilities, {} without", opens.mighty, opens.powerless);
    assert!(opens.mighty > 10, "the trace has {} bytes", text.len());
    let shown = opens.broken.iter().take(SHOWN).cloned().collect::<Vec<String>>().join("\n");
    assert!(
        opens.broken.is_empty(),
        "{} opens of what a user can write, by processes with capabilities:\n{shown}",
        opens.broken.len()
    );
    siege.assert_awake("a trace");
    wire.assert_untouched("a trace");
    assert_no_event_lost(&siege.stop());
}
