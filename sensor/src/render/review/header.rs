//! The head of a deploy: one sentence that can be read aloud, then what stands behind it.
//!
//! The sentence leads with the kernel's facts: who really ran it, and what was seen to happen. What environment, files
//! or arguments say stands after it, as claims.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::{
    list,
    look::{Look, short_version, text},
};
use crate::{
    render::table::{duration, plural},
    review::{
        Deploy,
        deploy::{Account, Outcome, State, User},
    },
};

/// Labels of the lines below the sentence.
const LABEL: usize = 11;
/// Narrower than this a text cannot be read.
const NARROW: usize = 40;

pub(super) fn draw(look: &Look, deploy: &Deploy) -> String {
    let failed = deploy.state == State::Finished && deploy.outcome == Outcome::Failure;
    let head = wrapped(look, &text(&sentence(deploy)), "", "");
    let mut out = look.paint(if failed { "1;31" } else { "1" }, head.trim_end()) + "\n\n";
    for (label, value) in lines(look, deploy) {
        let label = format!("  {label:<LABEL$}");
        out += &wrapped(look, &text(&value), &label, &" ".repeat(label.width()));
    }
    out
}

fn wrapped(look: &Look, text: &str, first: &str, next: &str) -> String {
    let width = look.width.map_or(usize::MAX, |width| width.max(NARROW));
    let options = textwrap::Options::new(width).initial_indent(first).subsequent_indent(next);
    textwrap::fill(text, options) + "\n"
}

/// Who did what to what, and how it ended.
fn sentence(deploy: &Deploy) -> String {
    let done = deploy.state == State::Finished && deploy.outcome == Outcome::Success;
    if deploy.state == State::Finished && !done && deploy.has_acted() == Some(false) {
        return unproven(deploy);
    }
    let tool = match (&deploy.tool, &deploy.tool_version) {
        (Some(tool), Some(version)) => format!(" with {tool} {version}"),
        (Some(tool), None) => format!(" with {tool}"),
        (None, _) => String::new(),
    };
    let hosts = match deploy.hosts.as_slice() {
        [] => String::new(),
        [one] => format!(" on {one}"),
        hosts => format!(" on {}", plural(hosts.len() as u64, "host")),
    };
    let after = deploy.duration.map(|took| format!(" after {}", duration(took))).unwrap_or_default();
    let ending = match (deploy.state, deploy.outcome) {
        (State::Running, _) => "; it has not ended yet".into(),
        (State::EndNotSeen, _) => "; how it ended was not seen".into(),
        (State::Finished, Outcome::Success) => format!("; it succeeded{after}"),
        (State::Finished, Outcome::Unknown) => format!("; whether it succeeded is not known, it ended{after}"),
        (State::Finished, Outcome::Failure) => match deploy.reason.as_ref().or(deploy.error.as_ref()) {
            Some(why) => format!("; it failed{after}: {why}"),
            None => format!("; it failed{after}"),
        },
    };
    format!("{} {}{hosts}{tool}{ending}.{}", subject(deploy), act(deploy, done), claims(deploy, done))
}

/// A tool's name ran, and nothing shows that it did what it says.
fn unproven(deploy: &Deploy) -> String {
    let command = [&deploy.tool, &deploy.verb].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
    let what = match deploy.action.as_deref() {
        Some("deploy") => "of a deploy",
        Some("rollback") => "of a rollback",
        _ => "of any act",
    };
    let connections = match deploy.contacted.as_slice() {
        [] if deploy.evidence.as_deref() == Some("none") => "no connection".into(),
        [] => plural(deploy.connections.len() as u64, "connection"),
        [one] => format!("a connection to {one}"),
        all => format!("connections to {}", plural(all.len() as u64, "address")),
    };
    let ended = match (deploy.outcome, &deploy.reason) {
        (Outcome::Failure, Some(why)) => format!("; it failed: {why}"),
        (Outcome::Failure, None) => "; it failed".into(),
        (_, Some(why)) => format!("; it was {why}"),
        _ => String::new(),
    };
    let claims = claims(deploy, true);
    format!("{} ran `{command}`: no evidence {what} ({connections}, no command){ended}.{claims}", subject(deploy))
}

/// What is only said. `all`: also what the sentence itself would tell as done.
fn claims(deploy: &Deploy, all: bool) -> String {
    let version = deploy.version.as_deref().map(|version| short_version(version).to_owned());
    let claimed = [
        ("performer", deploy.performer.clone()),
        ("version", version.filter(|_| all)),
        ("service", deploy.service.clone().filter(|_| all)),
        ("destination", deploy.destination.clone().filter(|_| all)),
    ];
    let claimed = claimed.into_iter().filter(|(field, _)| deploy.is_claimed(field));
    let claimed: Vec<String> = claimed.filter_map(|(field, value)| Some(format!("{field} {}", value?))).collect();
    if claimed.is_empty() { String::new() } else { format!(" Claims: {}.", claimed.join(", ")) }
}

fn subject(deploy: &Deploy) -> String {
    let named = deploy.user.as_ref().and_then(identity);
    if deploy.seen_from.contains(&"deployer") {
        return named.unwrap_or_else(|| "somebody".into());
    }
    // What a target knows is the login by which the deploy came.
    let from = deploy.session.as_ref().and_then(|session| session.ip.as_ref());
    let from = from.map(|ip| format!(" from {ip}")).unwrap_or_default();
    named.map_or_else(|| format!("somebody{from}"), |name| format!("SSH user {name}{from}"))
}

/// Who logged in, and as whom it acted if that is another: `alice (uid 1001), acting as root (uid 0)`.
fn identity(user: &User) -> Option<String> {
    let one = |account: &Account| match (&account.name, &account.id) {
        (Some(name), Some(id)) => Some(format!("{name} (uid {id})")),
        (None, Some(id)) => Some(format!("uid {id}")),
        (name, None) => name.clone(),
    };
    let own = one(&Account { id: user.id.clone(), name: user.name.clone() });
    let login = user.audit.as_ref().and_then(one).or_else(|| own.clone());
    let acts = user.effective.as_ref().and_then(one).or(own);
    match (login, acts) {
        (Some(login), Some(acts)) if login != acts => Some(format!("{login}, acting as {acts}")),
        (login, acts) => login.or(acts),
    }
}

fn act(deploy: &Deploy, done: bool) -> String {
    let service = deploy.service.as_deref().unwrap_or("an unknown service");
    let environment = |word: &str| deploy.destination.as_ref().map(|d| format!(" {word} {d}")).unwrap_or_default();
    // A version that nothing confirms is no part of what was done.
    let version = deploy.version.as_deref().filter(|_| !(done && deploy.is_claimed("version"))).map(short_version);
    let (past, infinitive, object) = match deploy.action.as_deref().unwrap_or("unknown") {
        "deploy" => {
            let version = version.map_or(String::new(), |version| format!("version {version} of "));
            ("deployed", "deploy", format!("{version}{service}{}", environment("to")))
        }
        "rollback" => {
            let version = version.map_or(String::new(), |version| format!(" to version {version}"));
            ("rolled back", "roll back", format!("{service}{}{version}", environment("in")))
        }
        other => {
            let (past, infinitive) = match other {
                "config-change" => ("changed the configuration of", "change the configuration of"),
                "secret" => ("handled secrets of", "handle secrets of"),
                "maintenance" => ("maintained", "maintain"),
                "lock" => ("handled the deploy lock of", "handle the deploy lock of"),
                "exec" => ("ran a command in", "run a command in"),
                "inspect" => ("inspected", "inspect"),
                _ => ("ran an unknown action on", "run an unknown action on"),
            };
            let verb = deploy.verb.as_ref().map(|verb| format!(" (`{verb}`)")).unwrap_or_default();
            (past, infinitive, format!("{service}{}{verb}", environment("in")))
        }
    };
    if done { format!("{past} {object}") } else { format!("tried to {infinitive} {object}") }
}

fn lines(look: &Look, deploy: &Deploy) -> Vec<(&'static str, String)> {
    let mut lines = vec![("id", deploy.id.clone())];
    if let Some(started) = deploy.started {
        let mut when = look.time(started, "%Y-%m-%d %H:%M:%S");
        if let Some(ended) = deploy.ended {
            when += &look.time(ended, " to %H:%M:%S");
        }
        lines.push(("when", when + &look.time(started, " %Z")));
    }
    if let Some(command) = &deploy.command_line {
        let folder = deploy.working_directory.as_ref().map(|folder| format!("   in {folder}")).unwrap_or_default();
        lines.push(("command", format!("{command}{folder}")));
    }
    if let Some(user) = &deploy.user {
        lines.push(("user", accounts(user)));
    }
    lines.extend(session(deploy).map(|session| ("session", session)));
    if !deploy.hosts.is_empty() {
        let roles = match deploy.roles.as_slice() {
            [] => String::new(),
            roles => format!("   as {}", roles.join(", ")),
        };
        lines.push(("hosts", deploy.hosts.join(", ") + &roles));
    }
    if !deploy.contacted.is_empty() && deploy.contacted != deploy.hosts {
        lines.push(("contacted", deploy.contacted.join(", ")));
    }
    if let Some(version) = &deploy.version {
        let before = deploy.previous_version.as_ref().map(|before| format!("   before: {before}")).unwrap_or_default();
        let claimed = if deploy.claimed.iter().any(|name| name == "deploy.version") { "   (claimed)" } else { "" };
        lines.push(("version", format!("{version}{claimed}{before}")));
    }
    let mut result = list::result(deploy);
    // Of a failure without a reason the error is the result itself.
    let stands_in = deploy.outcome == Outcome::Failure && deploy.reason.is_none();
    if let Some(error) = deploy.error.as_ref().filter(|_| !stands_in) {
        let _ = write!(result, " ({error})");
    }
    if let Some(code) = deploy.exit_code {
        let _ = write!(result, ", exit code {code}");
    }
    let _ = write!(result, ", {}", plural(deploy.steps, "step"));
    lines.push(("result", result));
    if let Some(evidence) = &deploy.evidence {
        lines.push(("evidence", evidence.clone()));
    }
    if !deploy.claimed.is_empty() {
        let names: Vec<&str> = deploy.claimed.iter().map(|name| name.strip_prefix("deploy.").unwrap_or(name)).collect();
        lines.push(("claims", names.join(", ")));
    }
    let targets: Vec<&str> = deploy.targets.iter().map(|view| view.host.name.as_str()).collect();
    let deployer = deploy.seen_from.contains(&"deployer").then_some(deploy.host.name.as_str());
    let deployer = deployer.map(|host| format!("{host} (deployer)"));
    let targets =
        (!targets.is_empty()).then(|| format!("{} ({})", targets.join(", "), plural(targets.len() as u64, "target")));
    lines.push(("seen from", deployer.into_iter().chain(targets).collect::<Vec<_>>().join(", ")));
    if deploy.inferred == Some(true) {
        lines.push((
            "note",
            "it was running when the sensor started: what it did before that may not be in the log".into(),
        ));
    }
    lines
}

/// Every identity by name and id, as the kernel has them.
fn accounts(user: &User) -> String {
    let account = |id: &Option<String>, name: &Option<String>| match (id, name) {
        (Some(id), Some(name)) => Some(format!("{name} ({id})")),
        (id, name) => id.clone().or_else(|| name.clone()),
    };
    let parts = [
        ("login", user.audit.as_ref().and_then(|audit| account(&audit.id, &audit.name))),
        ("real", account(&user.id, &user.name)),
        ("effective", user.effective.as_ref().and_then(|effective| account(&effective.id, &effective.name))),
    ];
    let parts = parts.into_iter().filter_map(|(what, account)| Some(format!("{what} {}", account?)));
    parts.collect::<Vec<_>>().join(", ")
}

fn session(deploy: &Deploy) -> Option<String> {
    let session = deploy.session.as_ref()?;
    let mut text = format!("SSH {}", session.id);
    if let Some(user) = &session.user {
        let _ = write!(text, " of {user}");
    }
    if let Some(ip) = &session.ip {
        let _ = match session.port {
            Some(port) if ip.contains(':') => write!(text, " from [{ip}]:{port}"),
            Some(port) => write!(text, " from {ip}:{port}"),
            None => write!(text, " from {ip}"),
        };
    }
    let how = [&session.method, &session.key_type, &session.key_fingerprint];
    let how: Vec<&str> = how.into_iter().flatten().map(String::as_str).collect();
    if !how.is_empty() {
        let _ = write!(text, ", {}", how.join(" "));
    }
    if let Some(owner) = &session.key_owner {
        let _ = write!(text, " ({owner})");
    }
    Some(text)
}
