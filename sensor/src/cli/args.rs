//! The command line as typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use super::{deploys::args::DeploysArgs, duration::duration, stdout::Output};
use crate::{
    finding::{Action, Family},
    render::filter::Filter,
    schema::ecs::Words,
};

#[derive(Parser)]
#[command(
    name = "sensor",
    version,
    about = "The audit trail of every SSH session on this host, from eBPF",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 77 cannot run here (not root, or no BTF).\n\
                  Environment: SENSOR_LOG sets what sensor says of itself on standard error (error, warn, info, debug)."
)]
pub(super) struct Cli {
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Watch SSH sessions live
    #[command(after_help = "Examples:\n  \
        sudo sensor trace                                sessions, commands and connections as they happen\n  \
        sudo sensor trace --ssh                          SSH sessions as they unfold\n  \
        sudo sensor trace --user alice --action exec     what alice runs\n  \
        sudo sensor trace --pid $$ --all                 this shell and all that it starts\n  \
        sudo sensor trace --format json | jq .process    records for other tools\n  \
        sudo sensor trace --record /tmp/s --duration 1m  keep the stream; `sensor replay /tmp/s` shows it again")]
    Trace(TraceArgs),
    /// Run as a daemon: records to a file or standard output
    #[command(
        after_help = "SIGTERM and SIGINT write what is left and stop. SIGHUP opens the output anew (logrotate) and reads names again.\n\n\
        Example configuration:\n\n  \
        [output]\n  path = \"/var/log/sensor/sensor.json\"\n  max_bytes = 10737418240\n\n  \
        [scope]\n  all = false            # also processes and connections outside of SSH sessions\n\n  \
        [kernel]\n  ring_bytes = 4194304\n\n  \
        [limits]\n  processes = 65536\n  sessions = 16384\n  connections = 65536\n  session_records_per_second = 2000   # 0: no limit\n  session_bytes_per_second = 4194304\n\n  \
        [deploy]\n  tools = \"/etc/sensor/tools\"   # definitions of your own deploy tools (*.toml)"
    )]
    Run(RunArgs),
    /// Check whether this machine can run the sensor, and what it would not see
    Check(CheckArgs),
    /// Show a recorded stream again
    #[command(after_help = "Example:\n  sensor replay /tmp/s --session 3f9a --format json")]
    Replay(ReplayArgs),
    /// List deploys, or show one as a tree, from the logs of deployers and targets
    #[command(after_help = "Examples:\n  \
        sudo sensor deploys --since 7d                     what was deployed this week, from the daemon's own log\n  \
        sudo sensor deploys --failed --service myapp       what went wrong with myapp\n  \
        sensor deploys deployer.json web1.json.1 web2.gz   from logs of several hosts\n  \
        ssh web1 cat /var/log/sensor/sensor.json | sensor deploys -\n  \
        sudo sensor deploys show last                      the newest one as a tree\n\n\
        Exit codes: 0 found, 1 nothing found (with --check also: a deploy has failed), 2 wrong usage.")]
    Deploys(Box<DeploysArgs>),
    /// Print the reference of records: a JSON Schema, or a page
    #[command(after_help = "Examples:\n  \
        sensor schema | jq '.oneOf[].title'         the actions\n  \
        sensor schema --markdown | less              every field: type, words, meaning")]
    Schema(SchemaArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  sensor completions bash > /etc/bash_completion.d/sensor")]
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// What is shown, and how.
#[derive(Args)]
pub(super) struct ShowArgs {
    /// How to show records
    #[arg(long, value_enum, default_value = "table")]
    pub format: Output,
    /// Also processes and connections outside of SSH sessions, and the server's own processes
    #[arg(long)]
    pub all: bool,
    /// Only this process and all that it starts (repeatable)
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only this user: login, real or SSH user, by name or id (repeatable)
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// Only this session: the beginning of its id (repeatable)
    #[arg(long, value_name = "ID")]
    session: Vec<String>,
    /// Only sessions from, and connections with, this address (repeatable)
    #[arg(long, value_name = "IP")]
    address: Vec<std::net::IpAddr>,
    /// Only this kind of record (repeatable): a value of event.action, or exec, exit, login, logout, connect
    #[arg(long, value_name = "ACTION", value_parser = action)]
    action: Vec<Actions>,
    /// Only what the SSH protocol says: connections, logins, commands, channels; not what processes do
    #[arg(long)]
    ssh: bool,
}

#[derive(Args)]
pub(super) struct TraceArgs {
    #[command(flatten)]
    pub show: ShowArgs,
    /// Also keep the event stream in this new file (0600), for `sensor replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// With --record: replace a recording of your own
    #[arg(long, requires = "record")]
    pub force: bool,
    /// Stop after this time, such as 30s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Where the host's /proc is
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    pub proc: PathBuf,
    /// A folder with definitions of deploy tools (*.toml), besides those that the sensor has
    #[arg(long, value_name = "DIR")]
    pub tools: Option<PathBuf>,
    /// Size of the ring buffer in bytes (a power of two)
    #[arg(long, value_name = "BYTES", default_value_t = sensor_common::RING_BYTES)]
    pub ring_bytes: u32,
}

#[derive(Args)]
pub(super) struct RunArgs {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Args)]
pub(super) struct CheckArgs {
    #[arg(long, value_enum, default_value = "table")]
    pub format: Output,
}

#[derive(Args)]
pub(super) struct SchemaArgs {
    /// A page in Markdown, by action
    #[arg(long)]
    pub markdown: bool,
}

#[derive(Args)]
pub(super) struct ReplayArgs {
    /// A file written by `sensor trace --record`
    pub file: PathBuf,
    #[command(flatten)]
    pub show: ShowArgs,
}

/// One or more actions under one name.
#[derive(Clone)]
pub(super) struct Actions(Vec<Action>);

impl ShowArgs {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            users: self.user.clone(),
            sessions: self.session.clone(),
            addresses: self.address.clone(),
            actions: self.action.iter().flat_map(|actions| actions.0.clone()).chain(self.protocol()).collect(),
        }
    }

    /// With `--ssh`: the actions of the protocol, and what the sensor says about itself.
    fn protocol(&self) -> impl Iterator<Item = Action> {
        Action::ALL.iter().copied().filter(|action| self.ssh && matches!(action.family(), Family::Ssh | Family::Health))
    }
}

fn action(text: &str) -> Result<Actions, String> {
    use Action as A;
    let short = match text {
        "exec" => vec![A::ProcessStarted],
        "exit" => vec![A::ProcessEnded],
        "login" => vec![A::SshSessionStarted],
        "logout" => vec![A::SshSessionEnded],
        "connect" => vec![A::ConnectionOpened, A::ConnectionFailed],
        _ => A::ALL.iter().copied().filter(|action| action.word() == text).collect(),
    };
    if short.is_empty() {
        let names: Vec<&str> = A::ALL.iter().copied().map(Words::word).collect();
        return Err(format!("known are exec, exit, login, logout, connect, {}", names.join(", ")));
    }
    Ok(Actions(short))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
