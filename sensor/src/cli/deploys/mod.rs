//! `sensor deploys`: what was deployed, by whom and with what result, from the logs of both sides.
//!
//! Reads logs, needs no kernel and no privilege but that to read them. Exit codes: 0 shown, 1 nothing found (or with
//! `--check`: a deploy has failed), 2 an id that fits several.

pub(super) mod args;
mod logs;

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{
    error::Error,
    stdout::{self, Output, write},
};
use crate::{
    config::Config,
    render::{
        json_text::visible,
        review::{self, Look},
    },
    review::{Deploy, DeployDetail, Filter, Index, deploy::Outcome},
    sink::stderr,
};
use args::{DeploysArgs, DeploysVerb};
use logs::Logs;

/// Of the JSON: raised when a field changes its meaning.
const FORMAT: u32 = 1;

const FOUND: u8 = 0;
const NOT_FOUND: u8 = 1;
const AMBIGUOUS: u8 = 2;

pub(super) fn run(args: &DeploysArgs, quiet: bool) -> ExitCode {
    let (choice, typed) = match &args.verb {
        Some(DeploysVerb::Show(show)) => (&show.choice, &show.logs),
        None => (&args.choice, &args.logs),
    };
    let filter = choice.filter(Timestamp::now());
    let result = files(typed, &filter).and_then(|files| Logs::open(&files)).and_then(|logs| {
        let mut asked = Asked { logs, filter, format: typed.format, check: typed.check };
        let result = match &args.verb {
            Some(DeploysVerb::Show(show)) => asked.show(&show.id),
            None => asked.list(),
        };
        if !quiet {
            asked.account();
        }
        result
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            stderr::say(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// The files named, or the daemon's.
fn files(typed: &args::Logs, filter: &Filter) -> Result<Vec<PathBuf>, Error> {
    if !typed.files.is_empty() {
        return Ok(typed.files.clone());
    }
    let output = Config::read(&typed.config)?.output.path;
    if output.as_os_str() == "-" {
        let source = io::Error::other("the daemon writes to standard output: name the files to read");
        return Err(Error::Io { what: typed.config.display().to_string(), source });
    }
    Ok(logs::with_rotated(&output, filter.since))
}

struct Asked {
    logs: Logs,
    filter: Filter,
    format: Output,
    check: bool,
}

impl Asked {
    fn list(&mut self) -> Result<u8, Error> {
        let deploys = self.find()?;
        let text = match self.format {
            Output::Json => json(&json!({ "format": FORMAT, "deploys": deploys, "read": self.read() })),
            Output::Table if deploys.is_empty() => String::new(),
            Output::Table => review::list(&look(), &deploys),
        };
        write(text.as_bytes())?;
        if deploys.is_empty() {
            self.nothing("no deploy");
            return Ok(NOT_FOUND);
        }
        Ok(self.code(&deploys))
    }

    fn show(&mut self, id: &str) -> Result<u8, Error> {
        let mut deploys = self.find()?;
        if id == "last" {
            deploys = deploys.pop().into_iter().collect();
        } else {
            deploys.retain(|deploy| deploy.is_called(id));
        }
        // An id can be the beginning of another.
        if let Some(exact) = deploys.iter().position(|deploy| deploy.ids().any(|own| own == id)) {
            deploys = vec![deploys.swap_remove(exact)];
        }
        let (Some(deploy), 1) = (deploys.first(), deploys.len()) else {
            if deploys.is_empty() {
                self.nothing(&format!("no deploy `{id}`"));
                return Ok(NOT_FOUND);
            }
            let ids: Vec<&str> = deploys.iter().map(|deploy| deploy.id.as_str()).collect();
            stderr::say(&format!("`{id}` is the beginning of {}", ids.join(", ")));
            return Ok(AMBIGUOUS);
        };
        let mut story = DeployDetail::new(deploy.clone()).map_err(|error| patterns(&error))?;
        let first = self.logs.report;
        // Lines that are broken were counted by the first reading, unless only this one has looked into them.
        let mut broken = 0;
        self.logs.read(|line| {
            broken += u64::from(story.observe(line).is_err() && !Index::knows(line));
            Ok(())
        })?;
        self.logs.report.broken = first.broken + broken;
        if story.left_out > 0 {
            stderr::say(&format!("{} records of this deploy are too many and left out", story.left_out));
        }
        let (deploy, tree) = story.tell();
        let text = match self.format {
            Output::Json => json(&json!({ "format": FORMAT, "deploy": deploy, "tree": tree, "read": self.read() })),
            Output::Table => review::show(&look(), &deploy, &tree),
        };
        write(text.as_bytes())?;
        Ok(self.code(&[deploy]))
    }

    /// Deploys that are asked for, the oldest first.
    fn find(&mut self) -> Result<Vec<Deploy>, Error> {
        let mut index = Index::new().map_err(|error| patterns(&error))?;
        self.logs.read(|line| index.observe(line))?;
        if index.dropped > 0 {
            stderr::say(&format!("the {} oldest deploys are too many and left out", index.dropped));
        }
        let mut deploys = index.deploys();
        deploys.retain(|deploy| self.filter.admits(deploy));
        Ok(deploys)
    }

    fn code(&self, deploys: &[Deploy]) -> u8 {
        let failed = deploys.iter().any(|deploy| deploy.outcome == Outcome::Failure);
        if self.check && failed { NOT_FOUND } else { FOUND }
    }

    fn nothing(&self, what: &str) {
        let lines = self.logs.report.lines;
        stderr::say(&format!("{what} that fits in {lines} lines of {} files", self.logs.count()));
    }

    fn read(&self) -> serde_json::Value {
        json!({ "files": self.logs.count(), "lines": self.logs.report.lines, "broken_lines": self.logs.report.broken })
    }

    /// What was not as it should be in the logs.
    fn account(&self) {
        for cut in &self.logs.cut {
            stderr::say(cut);
        }
        let (broken, lines) = (self.logs.report.broken, self.logs.report.lines);
        if broken > 0 {
            stderr::say(&format!("{broken} of {lines} lines are no records and were skipped"));
        }
    }
}

/// Only a log with absurdly many connections gets here.
fn patterns(error: &dyn std::error::Error) -> Error {
    Error::Io { what: "cannot search the logs".into(), source: io::Error::other(error.to_string()) }
}

/// Colour and width only on a terminal.
fn look() -> Look {
    let (color, width) = stdout::terminal();
    Look { color, width, zone: TimeZone::system() }
}

fn json(value: &serde_json::Value) -> String {
    let text = if io::stdout().is_terminal() { format!("{value:#}\n") } else { format!("{value}\n") };
    visible(&text)
}
