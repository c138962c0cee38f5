//! Tools and command lines, as tables.

mod executed;
mod kamal;
mod others;
mod remote;
mod user;

use super::{Invocation, Tools};
use crate::event::deploy::{Facts, FileState, Project};

fn tools() -> Tools {
    static TOOLS: std::sync::LazyLock<Tools> = std::sync::LazyLock::new(|| Tools::new(&[]).unwrap());
    TOOLS.clone()
}

/// Words between blanks; `'...'` is one.
fn argv(line: &str) -> Vec<String> {
    super::shell::split(line)
}

fn recognise(line: &str) -> Option<Invocation> {
    recognise_with(line, &[])
}

fn recognise_with(line: &str, aliases: &[(String, String)]) -> Option<Invocation> {
    let argv = argv(line);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    tools().recognise(&argv, None, aliases)
}

/// `tool verb action`, or nothing.
fn brief(line: &str) -> String {
    let Some(found) = recognise(line) else { return "-".into() };
    format!("{} | {} | {}", found.tool.name, found.verb, found.kind.name())
}

fn facts(project: Project) -> Facts {
    Facts {
        process: crate::event::stream::ProcessId { tgid: 1, start: 1 },
        tool: "kamal".into(),
        project: Some(Box::new(project)),
        variables: Vec::new(),
        working_directory: None,
    }
}

/// A project of these files; what is not given is missing.
fn project(line: &str, files: &[(&str, &str)]) -> Project {
    let invocation = recognise(line).unwrap();
    let wanted = super::wanted(&invocation).into_iter().map(|wanted| {
        let text = files.iter().find(|(path, _)| *path == wanted.path).map(|(_, text)| text.as_bytes().to_vec());
        let found = match text {
            None => Err(FileState::Missing),
            Some(text) => Ok(wanted.read.then_some(text)),
        };
        (wanted, found)
    });
    super::read_project(&invocation, wanted.collect())
}
