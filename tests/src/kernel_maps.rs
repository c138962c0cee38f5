//! What a sensor has in the kernel, looked at from outside: entries of its maps, and its probes in programs.

use std::{fs, path::Path};

use aya::maps::{HashMap, Map, MapData};

/// Entries of the maps in which the SSH probes remember connections, by name.
pub fn entries(sensor: u32) -> Vec<(&'static str, usize)> {
    vec![
        ("CONNECTIONS", count::<u64, 9>(sensor, "CONNECTIONS")),
        ("CONTEXTS", count::<[u64; 2], 134>(sensor, "CONTEXTS")),
        ("PROCESSES", count::<u32, 3>(sensor, "PROCESSES")),
        ("FLOWS", count::<[u64; 2], 2>(sensor, "FLOWS")),
        ("REKEYED", count::<u64, 1>(sensor, "REKEYED")),
    ]
}

/// Its links and those of its holder: one for each probe, in the kernel and in each place of a program or library.
pub fn probes(sensor: u32) -> usize {
    links(sensor) + holder(sensor).map_or(0, links)
}

/// Links that a process has.
pub fn links(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
    descriptors.filter_map(target).filter(|target| target == Path::new("anon_inode:bpf_link")).count()
}

/// The process that holds the probes in programs.
pub fn holder(sensor: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{sensor}/task/{sensor}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sensor-holder\n"))
}

fn count<K: aya::Pod, const WORDS: usize>(sensor: u32, name: &str) -> usize {
    let map: HashMap<MapData, K, [u64; WORDS]> = HashMap::try_from(Map::HashMap(open(sensor, name))).unwrap();
    map.keys().map_while(Result::ok).count()
}

/// Of the maps that the process holds the one with this name.
fn open(sensor: u32, name: &str) -> MapData {
    let descriptors = fs::read_dir(format!("/proc/{sensor}/fdinfo")).unwrap().flatten();
    let ids = descriptors.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()
    });
    let mut maps = ids.filter_map(|id: u32| MapData::from_id(id).ok());
    maps.find(|map| map.info().is_ok_and(|info| info.name_as_str() == Some(name)))
        .unwrap_or_else(|| panic!("the sensor has no map {name}"))
}
