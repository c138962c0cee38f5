//! The list of deploys: one line each. Columns are as wide as what is in them; on a narrow terminal the widest give way
//! first.

use unicode_width::UnicodeWidthStr as _;

use super::look::{Look, short_version, text, who};
use crate::{
    render::table::{cell, duration, plural},
    review::{
        Deploy,
        deploy::{Outcome, State},
    },
};

const HEADINGS: [&str; 11] =
    ["TIME", "ID", "WHO", "FROM", "TOOL", "ACTION", "SERVICE", "VERSION", "HOSTS", "TOOK", "RESULT"];
/// What stays of a column when there is little room.
const LEAST: [usize; 11] = [11, 8, 8, 6, 5, 6, 8, 7, 7, 6, 24];
/// Below this many columns the year is left out.
const NARROW: usize = 150;
/// No column is wider, however wide the terminal is.
const MOST: usize = 60;
const GAP: &str = "  ";

pub(super) fn draw(look: &Look, deploys: &[Deploy]) -> String {
    let rows: Vec<[String; 11]> = deploys.iter().map(|deploy| cells(look, deploy)).collect();
    let length = |text: &str| text.width();
    let mut widths = HEADINGS.map(length);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = length(cell).clamp(*width, MOST);
        }
    }
    if let Some(columns) = look.width {
        shrink(&mut widths, columns);
    }
    let mut out = look.paint("1", &line(&HEADINGS.map(str::to_owned), &widths)) + "\n";
    for (row, deploy) in rows.iter().zip(deploys) {
        out += &look.paint(style(deploy), &line(row, &widths));
        out.push('\n');
    }
    out
}

fn shrink(widths: &mut [usize; 11], columns: usize) {
    let gaps = GAP.len() * (widths.len() - 1);
    while widths.iter().sum::<usize>() + gaps > columns {
        let spare = widths.iter_mut().zip(LEAST).filter(|(width, least)| **width > *least);
        match spare.max_by_key(|(width, _)| **width) {
            Some((width, _)) => *width -= 1,
            None => return,
        }
    }
}

fn line(cells: &[String; 11], widths: &[usize; 11]) -> String {
    let cells = cells.iter().zip(widths).map(|(text, width)| cell(text, *width));
    cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

fn cells(look: &Look, deploy: &Deploy) -> [String; 11] {
    let narrow = look.width.is_some_and(|width| width < NARROW);
    let format = if narrow { "%m-%d %H:%M" } else { "%Y-%m-%d %H:%M:%S" };
    let or_empty = |value: &Option<String>| value.as_deref().map(text).unwrap_or_default();
    [
        deploy.started.map(|time| look.time(time, format)).unwrap_or_default(),
        text(deploy.id.get(..8).unwrap_or(&deploy.id)),
        text(&whose(deploy)),
        text(&from(deploy)),
        or_empty(&deploy.tool),
        text(&action(deploy)),
        text(&service(deploy)),
        deploy.version.as_deref().map(short_version).map(text).unwrap_or_default(),
        text(&hosts(&deploy.hosts)),
        deploy.duration.map(duration).unwrap_or_default(),
        text(&result(deploy)),
    ]
}

/// `alice>root (claims dev@example.test)`: the performer is what environment or files say, not who was authenticated.
fn whose(deploy: &Deploy) -> String {
    let user = deploy.user.as_ref().and_then(who);
    match (user, &deploy.performer) {
        (Some(user), Some(performer)) if user != *performer => format!("{user} (claims {performer})"),
        (Some(user), _) => user,
        (None, Some(performer)) => format!("(claims {performer})"),
        (None, None) => String::new(),
    }
}

/// The SSH session in which it was started.
fn from(deploy: &Deploy) -> String {
    let Some(session) = &deploy.session else { return String::new() };
    let id = session.id.get(..6).unwrap_or(&session.id);
    match &session.ip {
        Some(ip) => format!("{id} {ip}"),
        None => id.to_owned(),
    }
}

fn action(deploy: &Deploy) -> String {
    match (&deploy.action, &deploy.verb) {
        (Some(action), Some(verb)) if action != verb => format!("{action}: {verb}"),
        (action, verb) => action.clone().or_else(|| verb.clone()).unwrap_or_default(),
    }
}

fn service(deploy: &Deploy) -> String {
    match (&deploy.service, &deploy.destination) {
        (Some(service), Some(destination)) => format!("{service} {destination}"),
        (service, destination) => service.clone().or_else(|| destination.clone()).unwrap_or_default(),
    }
}

fn hosts(hosts: &[String]) -> String {
    match hosts {
        [] => String::new(),
        [one] => one.clone(),
        [one, other] => format!("{one}, {other}"),
        [one, rest @ ..] => format!("{one} +{}", rest.len()),
    }
}

pub(super) fn result(deploy: &Deploy) -> String {
    let failed_steps = match deploy.failed_steps {
        0 => String::new(),
        n => format!(", {} failed", plural(n, "step")),
    };
    match (deploy.state, deploy.outcome) {
        (State::Running, _) => format!("running{failed_steps}"),
        (State::EndNotSeen, _) if !deploy.seen_from.contains(&"deployer") => {
            format!("seen by targets only{failed_steps}")
        }
        (State::EndNotSeen, _) => format!("end not seen{failed_steps}"),
        (State::Finished, Outcome::Success) => "ok".into(),
        (State::Finished, Outcome::Unknown) => match deploy.evidence.as_deref() {
            Some("none") => format!("unknown: no evidence{failed_steps}"),
            Some("connections") => format!("unknown: connections only{failed_steps}"),
            _ => format!("unknown{failed_steps}"),
        },
        (State::Finished, Outcome::Failure) => match deploy.reason.as_ref().or(deploy.error.as_ref()) {
            Some(why) => format!("failed: {why}"),
            None => "failed".into(),
        },
    }
}

fn style(deploy: &Deploy) -> &'static str {
    match (deploy.state, deploy.outcome) {
        (State::Finished, Outcome::Failure) => "31",
        (State::Finished, Outcome::Success) => "",
        _ => "33",
    }
}
