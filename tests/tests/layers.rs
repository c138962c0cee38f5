//! The shape of the house: imports go down only, siblings do not import each other, `unsafe` and aya stay where they
//! belong, files stay small, and the top level holds what it should.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Layers from the bottom; the crate documentation has the same table.
const LAYERS: &[&[&str]] = &[
    &["event", "config", "stats", "bounded", "privileges", "shell"],
    &["finding"],
    &["decode", "kernel", "host", "deploy", "schema"],
    &["inspect"],
    &["enrich", "correlate", "review"],
    &["render", "sink"],
    &["pipeline"],
    &["cli"],
];

/// Imports between siblings that are allowed, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // A command line found in /proc is redacted by the same filter, before anybody sees it.
    ("host", "decode"),
];

/// Where more than 400 lines are well spent: tables and the tests of tables.
const LONG: &[&str] = &["sensor/src/decode/redact/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| {
        panic!("module `{module}` is in no layer: add it to LAYERS and to the map in sensor/src/lib.rs")
    })
}

/// Modules of the crate that a source names: `crate::x`, also in `use crate::{x, y::z}`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for part in code.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            None => found.extend(first_word(part)),
            Some(group) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.extend(first_word(item.trim()));
                            item.clear();
                            continue;
                        }
                        _ => {}
                    }
                    item.push(c);
                }
                found.extend(first_word(item.trim()));
            }
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn imports_go_down_and_siblings_are_strangers() {
    let mut wrong = Vec::new();
    for (name, text) in sources("sensor/src") {
        let Some(own) = name.strip_prefix("sensor/src/").and_then(|path| path.split(['/', '.']).next()) else {
            continue;
        };
        if own == "lib" || own == "main" {
            continue;
        }
        for import in imports(&text) {
            let allowed = import == own || layer(&import) < layer(own) || EXCEPTIONS.contains(&(own, import.as_str()));
            if !allowed {
                wrong.push(format!("{name} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_groups_too() {
    let text = "use crate::{\n  event::{a, b},\n  host::c,\n};\nlet x = crate::sink::y; // crate::not\n";
    let found: Vec<String> = imports(text).into_iter().filter(|module| module != "not").collect();
    assert_eq!(found, ["event", "host", "sink"]);
}

#[test]
fn only_the_kernel_module_knows_aya_and_unsafe() {
    for (name, text) in sources("sensor/src") {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let outside = !name.starts_with("sensor/src/kernel/");
            assert!(!(outside && (line.contains("aya::") || line.contains("aya_log::"))), "{name}: {line}");
            let fenced = !outside || name == "sensor/src/inspect/fork.rs";
            let any = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"];
            assert!(fenced || !any.iter().any(|word| line.contains(word)), "{name}: {line}");
        }
    }
}

/// Without it they would share a stack with other tasks: `sensor-ebpf/src/stack.rs`.
#[test]
fn every_program_of_a_uprobe_keeps_its_own_stack() {
    let mut programs = 0;
    for (name, text) in sources("sensor-ebpf/src") {
        for program in text.split("#[uprobe]\n").skip(1) {
            let body = program.split("\n}\n").next().unwrap_or_default();
            assert!(body.contains("stack::keep_own(&context)"), "{name}: {}", body.lines().next().unwrap_or_default());
            programs += 1;
        }
    }
    assert!(programs >= 2, "{programs} programs found");
}

#[test]
fn every_file_says_why_it_is_there_and_stays_small() {
    for folder in ["sensor/src", "sensor-common/src", "sensor-ebpf/src", "xtask/src", "tests/src", "tests/tests"] {
        for (name, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{name} does not begin with //!");
            let lines = text.lines().count();
            let long = lines > 400 && !LONG.iter().any(|prefix| name.starts_with(prefix));
            assert!(!long, "{name} has {lines} lines: split it by stage or hook family");
        }
    }
}

/// A file that no `mod` names is compiled by nothing, and looks alive.
#[test]
fn every_file_is_a_module_of_its_crate() {
    for folder in ["sensor/src", "sensor-common/src", "sensor-ebpf/src", "xtask/src", "tests/src", "tests/fuzz/src"] {
        let all = sources(folder);
        for (name, _) in all.iter().filter(|(name, _)| !name.starts_with("tests/src/bin/")) {
            let path = Path::new(name);
            let (parent, module) = match path.file_stem().unwrap().to_str().unwrap() {
                "lib" | "main" => continue,
                "mod" => (path.parent().unwrap().parent().unwrap(), path.parent().unwrap().file_stem().unwrap()),
                _ => (path.parent().unwrap(), path.file_stem().unwrap()),
            };
            let declaration = format!("mod {};", module.to_str().unwrap());
            let parents: Vec<PathBuf> = ["mod.rs", "lib.rs", "main.rs"].iter().map(|file| parent.join(file)).collect();
            let beside = parent.with_extension("rs");
            let declares = |(name, text): &&(String, String)| {
                let is_parent = Path::new(name) == beside || parents.iter().any(|parent| Path::new(name) == parent);
                let is_code = |line: &str| !line.trim_start().starts_with("//");
                is_parent && text.lines().any(|line| is_code(line) && line.trim().ends_with(&declaration))
            };
            assert!(all.iter().any(|source| declares(&source)), "no `{declaration}` for {name}");
        }
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    let allowed = [
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "deploy",
        "sensor",
        "sensor-common",
        "sensor-ebpf",
        "target",
        "tests",
        "xtask",
    ];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "`{name}` does not belong at the top level");
    }
}
