//! `sensor deploys` as typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::{
    cli::{duration::duration, stdout::Output},
    review::Filter,
};

/// Where the daemon looks for its configuration, if the unit in `deploy/` started it.
const CONFIG: &str = "/etc/sensor/sensor.toml";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct DeploysArgs {
    #[command(subcommand)]
    pub verb: Option<DeploysVerb>,
    #[command(flatten)]
    pub choice: Choice,
    #[command(flatten)]
    pub logs: Logs,
}

#[derive(Subcommand)]
pub(in crate::cli) enum DeploysVerb {
    /// One deploy as a tree: what it did on each host, step by step
    #[command(after_help = "Examples:\n  \
        sudo sensor deploys show last                          the newest deploy\n  \
        sensor deploys show 3f9a deployer.json web1.json.gz    the deploy 3f9a..., with what its target saw\n  \
        sudo sensor deploys show last --service myapp --check  exit code 1 if it failed\n  \
        sensor deploys show last -f json x.json | jq '.tree'   for other tools")]
    Show(ShowArgs),
}

#[derive(Args)]
pub(in crate::cli) struct ShowArgs {
    /// The deploy's id or the beginning of it, or `last`
    pub id: String,
    #[command(flatten)]
    pub choice: Choice,
    #[command(flatten)]
    pub logs: Logs,
}

/// Which deploys.
#[derive(Args)]
pub(in crate::cli) struct Choice {
    /// Begun since: 30m, 2h, 7d ago, or a date or time such as 2026-11-21 or 2026-11-21T08:30
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Only this service (repeatable)
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Only this destination, such as production (repeatable)
    #[arg(long, value_name = "NAME")]
    destination: Vec<String>,
    /// Only this user: who logged in, acted or is named as performer, by name or id (repeatable)
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// Only this tool, such as kamal (repeatable)
    #[arg(long, value_name = "NAME")]
    tool: Vec<String>,
    /// Only this kind of action: deploy, rollback, config-change, secret, maintenance, lock, exec, inspect, unknown
    /// (repeatable)
    #[arg(long, value_name = "ACTION")]
    action: Vec<String>,
    /// Only failed ones
    #[arg(long)]
    failed: bool,
}

/// From which logs, and how to show what is in them.
#[derive(Args)]
pub(in crate::cli) struct Logs {
    /// Logs of deployers and targets, also rotated or gzipped ones; `-` is standard input [default: the output of the
    /// configuration, with what was rotated]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The daemon's configuration, which names its output
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: Output,
    /// Exit code 1 if a deploy that is shown has failed
    #[arg(long)]
    pub check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Choice {
    pub(super) fn filter(&self, now: Timestamp) -> Filter {
        let since = self.since.map(|since| match since {
            Since::Ago(time) => now.checked_sub(time).unwrap_or(Timestamp::MIN),
            Since::At(time) => time,
        });
        Filter {
            since: since.map(|time| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MIN)),
            services: self.service.clone(),
            destinations: self.destination.clone(),
            users: self.user.clone(),
            tools: self.tool.clone(),
            actions: self.action.clone(),
            failed: self.failed,
        }
    }
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Since::At(time));
    }
    if let Ok(time) = text.parse::<DateTime>() {
        let zoned = time.to_zoned(TimeZone::system()).map_err(|error| error.to_string())?;
        return Ok(Since::At(zoned.timestamp()));
    }
    let hint = || "a time ago such as 30m, 2h or 7d, or a date or time such as 2026-11-21 or 2026-11-21T08:30";
    duration(text).map(Since::Ago).map_err(|_| hint().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(since("2h"), Ok(Since::Ago(Duration::from_hours(2))));
        assert_eq!(since("2026-11-21T08:30:00Z"), Ok(Since::At("2026-11-21T08:30:00Z".parse().unwrap())));
        assert!(
            matches!(since("2026-11-21"), Ok(Since::At(_))) && matches!(since("2026-11-21T08:30"), Ok(Since::At(_)))
        );
        assert!(since("yesterday").unwrap_err().contains("2h"));
    }
}
