//! Deploy tools: argv, remote command lines, and the configuration of a project, all written by the user who deploys.
//!
//! Asserted: recognising is the same twice, what was removed stays removed, a project fits into a record, and a
//! definition either is sound or says what is not.

use std::sync::LazyLock;

use sensor::{
    decode::redact::MARK,
    deploy::{Tool, Tools, classify, classify_local, read_project, wanted},
};

static TOOLS: LazyLock<Option<Tools>> = LazyLock::new(|| Tools::new(&[]).ok());

/// What a record holds, with room for the rest of it.
const PROJECT_MAX: usize = 128 << 10;

pub fn run(data: &[u8]) {
    let (Some(tools), Some((first, data))) = (TOOLS.as_ref(), data.split_first()) else { return };
    let text = String::from_utf8_lossy(data);
    match first % 4 {
        0 => {
            let mut args: Vec<Vec<u8>> = data.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            let argv: Vec<&str> = text.split('\0').collect();
            let brief = || {
                let found = tools.recognise(&argv, None, &[])?;
                Some((found.tool.name.clone(), found.verb.clone(), found.hosts(None), found.roles(None)))
            };
            assert_eq!(brief(), brief());
            tools.redact(&mut args, None, MARK);
            let once = args.clone();
            assert!(!tools.redact(&mut args, None, MARK) || args != once, "{once:?}");
        }
        1 => {
            for tool in tools.iter() {
                let argv: Vec<&str> = text.split(' ').collect();
                assert_eq!(classify(tool, &text), classify(tool, &text));
                let _ = classify_local(tool, &argv, None);
            }
        }
        2 => {
            let Some(found) = tools.recognise(&["kamal", "deploy", "-d", "x"], None, &[]) else { return };
            let files = wanted(&found).into_iter().map(|file| {
                let bytes = file.read.then(|| data.to_vec());
                (file, Ok(bytes))
            });
            let project = read_project(&found, files.collect());
            assert!(format!("{project:?}").len() < PROJECT_MAX);
        }
        _ => {
            if let Err(error) = Tool::parse(&text, "fuzz.toml") {
                assert!(error.to_string().contains("fuzz.toml"));
            }
        }
    }
}
