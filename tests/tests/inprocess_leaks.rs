//! What is over leaves nothing behind: many short connections, some of them killed, carried through others, or with
//! their keys replaced; and containers that are gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{path::Path, time::Duration};

use sensor_tests::{
    Container, Folder, Machine, Sensor,
    clients::{App, Library},
    container::OWN_LIBRARIES,
    kernel_maps,
    lab::Lab,
    wait,
};

/// Rounds of 45 connections; `SENSOR_LEAK_ROUNDS` for more.
const ROUNDS: usize = 3;
/// Until the maps are empty.
const PATIENCE: Duration = Duration::from_mins(5);
const THREADS: &str = "10";

#[test]
fn what_is_over_leaves_nothing_behind() {
    let rounds = std::env::var("SENSOR_LEAK_ROUNDS").map_or(ROUNDS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let folder = Folder::new("inprocess-leaks");
    let lab = Lab::start(&folder);
    let app = App::new(&folder, &lab, &[Library::ParamikoDebian, Library::NetSsh]);
    let mut sensor = Sensor::run(&folder, "");
    let probes = kernel_maps::probes(sensor.pid());
    let container = Container::start(&folder, OWN_LIBRARIES);
    for (library, interpreter) in [(Library::ParamikoDebian, "/usr/bin/python3"), (Library::NetSsh, "/usr/bin/ruby")] {
        let inner = app.program(Path::new(interpreter), library.is_python(), &["--key", "ed25519"], &["exec=exit 3"]);
        app.run(&mut container.command(&inner));
    }
    let with_container = kernel_maps::probes(sensor.pid());
    assert!(with_container > probes, "the container's libraries are probed: {probes}, {with_container}");
    drop(container);
    let mut connections = 0;
    for round in 0..rounds {
        for library in [Library::ParamikoDebian, Library::NetSsh] {
            let key = ["--key", "ed25519"];
            app.run(&mut app.command(library, &[&key[..], &["--threads", THREADS]].concat(), &[]));
            app.run(&mut app.command(library, &key, &["start=echo begun; sleep 20", "vanish"]));
            app.run(&mut app.command(library, &key, &["jump=echo inner; exit 6"]));
            app.run(&mut app.command(
                library,
                &key,
                &["jump=echo inner; exit 6", "start=echo begun; sleep 20", "vanish"],
            ));
            connections += 10 + 1 + 2 + 2;
        }
        if round % 10 == 0 {
            println!("after {connections} connections: {:?}", kernel_maps::entries(sensor.pid()));
        }
    }
    println!("after {connections} connections: {:?}", kernel_maps::entries(sensor.pid()));
    // What is not gone at once is found by the second of two looks, a minute apart; what was carried by what is found
    // so, two minutes later.
    let empty = || kernel_maps::entries(sensor.pid()).iter().all(|(_, count)| *count == 0).then_some(());
    assert!(wait::within(PATIENCE, empty).is_some(), "left: {:?}", kernel_maps::entries(sensor.pid()));
    println!("at the end: {:?}", kernel_maps::entries(sensor.pid()));
    let released = || (kernel_maps::probes(sensor.pid()) < with_container).then_some(());
    assert!(wait::within(PATIENCE, released).is_some(), "the container's probes are still there");
    let after = kernel_maps::probes(sensor.pid());
    println!("probes: {probes} at first, {with_container} with the container, {after} afterwards");
    sensor.stop().assert_nothing_lost();
}
