//! Definitions that a user writes: what is accepted, what is refused, and what the refusal says.

use super::super::{Tool, Tools};
use crate::event::deploy::ToolFile;

const OWN: &str = r#"
name = "shipit"
unlisted = "unknown"
[recognise]
programs = ["shipit"]
[arguments]
values = ["--to"]
secret = ["--key"]
[verbs]
go = "deploy"
[from]
destination = ["option:--to"]
"#;

fn file(text: &str) -> ToolFile {
    ToolFile { path: "/etc/sensor/tools/own.toml".into(), text: text.into() }
}

fn refused(text: &str) -> String {
    Tool::parse(text, "/etc/sensor/tools/own.toml").unwrap_err().to_string()
}

#[test]
fn a_tool_of_the_users_own_is_recognised_and_its_secrets_removed() {
    let tools = Tools::new(&[file(OWN)]).unwrap();
    let found =
        tools.recognise(&["python3", "/opt/shipit", "go", "--to", "prod", "--key", "s3cr3t"], None, &[]).unwrap();
    assert_eq!((&*found.tool.name, found.verb.as_str()), ("shipit", "go"));
    assert_eq!(found.destination(None).as_deref(), Some("prod"));
    for line in [
        &["shipit", "go", "--key", "s3cr3t"][..],
        &["shipit", "go", "--key=s3cr3t"],
        &["sudo", "shipit", "--key", "s3cr3t", "go"],
    ] {
        let mut args: Vec<Vec<u8>> = line.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        assert!(tools.redact(&mut args, None, b"[REDACTED]"));
        assert!(!args.iter().any(|arg| arg.windows(6).any(|part| part == b"s3cr3t")), "{args:?}");
    }
}

#[test]
fn a_definition_of_the_same_name_replaces_the_shipped_one() {
    let own = OWN.replace("shipit", "kamal");
    let tools = Tools::new(&[file(&own)]).unwrap();
    assert_eq!(tools.recognise(&["kamal", "go"], None, &[]).unwrap().kind.name(), "deploy");
    assert_eq!(tools.recognise(&["kamal", "rollback"], None, &[]).unwrap().kind.name(), "unknown");
    assert_eq!(tools.iter().filter(|tool| &*tool.name == "kamal").count(), 1);
}

#[test]
fn what_cannot_be_used_is_refused_with_file_key_and_advice() {
    let path = "/etc/sensor/tools/own.toml";
    let with = |line: &str| format!("{OWN}\n{line}\n");
    #[rustfmt::skip]
    let table: Vec<(String, &[&str])> = vec![
        ("name = \"x\"\nprograms = 1\n".into(), &["line 2", "programs"]),
        (OWN.replace("\"deploy\"", "\"ship\""), &["ship", "config-change", "line 10"]),
        (OWN.replace("name = \"shipit\"", ""), &["name", "deploy.tool"]),
        (OWN.replace("programs = [\"shipit\"]", ""), &["recognise", "programs = "]),
        (OWN.replace("[\"shipit\"]", "[\"/usr/bin/shipit\"]"), &["recognise.programs", "is a path"]),
        (OWN.replace("go = ", "\"go  now\" = "), &["verbs.\"go  now\"", "one blank"]),
        (OWN.replace("option:--to", "options:to"), &["from.destination", "options:to", "environment:NAME"]),
        (OWN.replace("option:--to", "environment:TARGET"), &["from.destination", "environment.safe"]),
        (with("[environment]\nsafe = [\"REGISTRY_PASSWORD\"]"), &["environment.safe", "REGISTRY_PASSWORD"]),
        (with("[environment]\nsafe = [\"A\"]\nsecret = [\"A\"]"), &["environment.safe", "`A`"]),
        (with("[[remote]]\nkind = \"a\"\ncommands = [\"x {nme}\"]"), &["remote (kind a)", "x {nme}", "known are service"]),
        (with("[[remote]]\nkind = \"a\""), &["remote", "without commands"]),
        (with("[outcome]\nproof = [\"switch\"]"), &["outcome", "switch", "[[remote]]"]),
        (with("[outcome]\nnothing_done = { exec = \"x\" }"), &["outcome.nothing_done", "rollback"]),
    ];
    for (text, parts) in table {
        let said = refused(&text);
        assert!(said.contains(path), "{said}");
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    }
}

#[test]
fn the_definition_in_the_recipe_is_sound() {
    let readme = include_str!("../../../docs/contributing.md");
    let text =
        readme.split("```toml\n").find(|part| part.starts_with("name = ")).and_then(|part| part.split("```").next());
    Tool::parse(text.unwrap(), "contributing.md").unwrap();
}

#[test]
fn every_shipped_definition_is_sound() {
    assert_eq!(Tools::new(&[]).unwrap().iter().count(), super::super::SHIPPED.len());
}
