//! `deploy-log FOLDER HOSTS COMMANDS FILLER_MB`: logs of a deploy, made by hand, for the benchmark of `sensor deploys`.
//!
//! The deployer's log is `0.json`; before the deploy it has so many MB of other records, as a busy host's has.

use std::{
    env,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::ExitCode,
};

use sensor_tests::deploy_log::{Log, large};
use serde_json::json;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [folder, hosts, commands, filler] = args.as_slice() else {
        eprintln!("usage: deploy-log FOLDER HOSTS COMMANDS FILLER_MB");
        return ExitCode::from(2);
    };
    match write(folder.as_ref(), hosts, commands, filler) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("deploy-log: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path, hosts: &str, commands: &str, filler: &str) -> Result<(), Box<dyn std::error::Error>> {
    let filler = filler.parse::<usize>()? << 20;
    for (n, log) in large(hosts.parse()?, commands.parse()?).iter().enumerate() {
        let mut file = BufWriter::new(File::create(folder.join(format!("{n}.json")))?);
        if n == 0 {
            let other = other();
            for _ in 0..filler / other.len() {
                file.write_all(&other)?;
            }
        }
        file.write_all(&log.bytes())?;
        file.flush()?;
    }
    Ok(())
}

/// What another session does.
fn other() -> Vec<u8> {
    let mut log = Log::new("dev1");
    for pid in 100..200 {
        let process = json!({ "pid": pid, "entity_id": format!("x{pid}"), "command_line": "make -j8 all", "args": ["make", "-j8", "all"] });
        let ssh = json!({ "role": "server", "session": { "id": "5e55" }, "connection": { "id": "f".repeat(32) } });
        log.record(-4000, "process-started", "success", json!({ "process": process, "ssh": ssh }));
    }
    log.bytes()
}
