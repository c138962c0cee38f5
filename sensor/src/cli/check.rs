//! `sensor check`: can this machine run the sensor, and what would it not see?
//!
//! Loads and attaches every probe for a moment, and lists the programs that speak SSH with what probing them costs.
//! Exit code 0: all that is required is there; 1: something required is missing; 77: nothing can be tried (not root, no
//! BTF).

use std::{collections::HashSet, fmt::Write as _, path::Path, process::ExitCode};

use serde::Serialize;

use super::{
    args::CheckArgs,
    error::CANNOT_RUN_HERE,
    stdout::{Output, write},
};
use crate::{
    event::text::printable,
    host::{
        beneath::{Beneath, Budget, Place},
        examine::{self, Sites},
        libraries, mounts,
        ssh_binaries::PLACES,
    },
    kernel::{self, Kernel, Options},
    render::json_text::visible,
    sink::stderr,
};

#[derive(Serialize)]
struct Item {
    name: String,
    /// `ok`, `missing`.
    state: &'static str,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What is lost without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<String>,
}

#[derive(Serialize)]
struct Report {
    kernel: String,
    usable: bool,
    checks: Vec<Item>,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let mut report = Report {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        usable: true,
        checks: Vec::new(),
    };
    let stop = examine(&mut report.checks);
    report.usable = stop.is_none() && report.checks.iter().all(|item| item.state == "ok" || !item.required);
    let text = match args.format {
        Output::Json => match serde_json::to_string_pretty(&report) {
            Ok(text) => visible(&text) + "\n",
            Err(error) => {
                stderr::say(&error.to_string());
                return ExitCode::FAILURE;
            }
        },
        Output::Table => table(&report),
    };
    // What cannot be written can still be an exit code.
    if let Err(error) = write(text.as_bytes()) {
        stderr::say(&error.to_string());
    }
    match stop {
        Some(error) => {
            stderr::say(&error.to_string());
            ExitCode::from(if error.is_unusable() { CANNOT_RUN_HERE } else { 1 })
        }
        None if report.usable => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

/// Fills the list; an error says why it ends early.
fn examine(checks: &mut Vec<Item>) -> Option<kernel::Error> {
    let item = |name: &str, required, found: Option<String>, missing: &str, effect: &str| {
        let ok = found.is_some();
        Item {
            name: name.into(),
            state: if ok { "ok" } else { "missing" },
            required,
            detail: Some(found.unwrap_or_else(|| missing.into())),
            effect: (!ok).then(|| effect.into()),
        }
    };
    let root = rustix::process::geteuid().is_root().then(|| "uid 0".to_owned());
    checks.push(item("root", true, root.clone(), "run it with sudo", "nothing can be loaded"));
    let btf = std::fs::metadata(kernel::BTF).ok().map(|m| format!("{} ({} KiB)", kernel::BTF, m.len() / 1024));
    checks.push(item("btf", true, btf, "no /sys/kernel/btf/vmlinux", "nothing can be loaded"));
    let cgroup2 = mounts::cgroup2();
    let shown = cgroup2.as_ref().map(|path| path.display().to_string());
    checks.push(item("cgroup v2", false, shown, "not mounted", "no outgoing connections"));
    if root.is_none() {
        return Some(kernel::Error::Root);
    }
    match kernel::read_layout(kernel::BTF.as_ref()) {
        Ok(layout) => {
            let gaps = kernel::gaps(&layout);
            for (field, effect) in &gaps {
                checks.push(item(&format!("field {field}"), false, None, "not in this kernel's BTF", effect));
            }
            if gaps.is_empty() {
                checks.push(item("kernel fields", true, Some("all found in BTF".into()), "", ""));
            }
        }
        Err(error) => return Some(error),
    }
    match Kernel::try_each(&Options { cgroup2, ..Options::default() }) {
        Ok(probes) => {
            for (probe, spec) in probes.into_iter().zip(kernel::PROBES) {
                let found = probe.why.is_none().then(|| probe.target.clone());
                let why = probe.why.unwrap_or_default();
                checks.push(item(&format!("probe {}", spec.name), spec.required, found, &why, spec.effect));
            }
            // Not attached here: their probes take a second to go away.
            for (name, sites) in present() {
                let (found, why) = match &sites {
                    Ok(sites) => (Some(format!("{name}: {sites}")), String::new()),
                    Err(why) => (None, format!("{name}: {why}")),
                };
                let effect = "its sessions are known by their connections and processes only";
                checks.push(item("SSH program", false, found, &why, effect));
            }
            None
        }
        Err(error) => Some(error),
    }
}

/// Programs and libraries that speak SSH: in their usual places, and those of running processes. Each file once.
fn present() -> Vec<(String, Result<Sites, String>)> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    let mut look = |place: Place, name: &Path, is_library: bool| {
        let Ok(open) = place.open() else { return };
        let examine = if is_library { examine::examine_library } else { examine::examine };
        if let Ok(examined) = examine(&open, name)
            && known.insert(examined.file)
            && let Some(speaks) = examined.speaks
        {
            found.push((name.display().to_string(), speaks.sites));
        }
    };
    if let Ok(root) = Beneath::at("/".as_ref(), Budget::QUESTION) {
        for name in PLACES {
            if let Ok(place) = root.find(name.as_ref()) {
                look(place, name.as_ref(), false);
            }
        }
        for library in libraries::in_places(&root) {
            look(library.place, &library.name, true);
        }
    }
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        let Ok(name) = process.exe() else { continue };
        let exe = format!("/proc/{}/exe", process.pid);
        if let Ok(place) = Place::at(exe.as_ref()) {
            look(place, &name, false);
        }
    }
    found
}

fn table(report: &Report) -> String {
    let mut out = format!("kernel {}\n", report.kernel);
    for item in &report.checks {
        let need = if item.required || item.state == "ok" { "" } else { " (optional)" };
        let detail = printable(item.detail.as_deref().unwrap_or_default().as_bytes());
        let _ = writeln!(out, "{:<8} {:<16} {detail}{need}", item.state, item.name);
        if let Some(effect) = &item.effect {
            let _ = writeln!(out, "{:<8} {:<16} without it: {effect}", "", "");
        }
    }
    out + if report.usable { "sensor can run here\n" } else { "sensor cannot run here\n" }
}
