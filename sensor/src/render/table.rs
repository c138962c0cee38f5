//! Records for a person at a terminal: one line each, the same columns always, the result last.
//!
//! What a probed program can choose (arguments, names) is printed without control characters, so it cannot forge lines
//! or colours.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{deploy, ssh};
use crate::event::{
    executed,
    record::{Action, Endpoint, Outcome, Process, Record},
    text::printable,
};

/// Shown instead of what does not fit.
const CUT: char = '…';
const WHO: usize = 16;
const FROM: usize = 21;
const RESULT: usize = 22;

pub struct Table {
    color: bool,
    /// Columns of the terminal; None: as wide as it takes.
    width: Option<usize>,
    zone: TimeZone,
    /// Also the server's own processes.
    sshd_internal: bool,
}

impl Table {
    pub fn new(color: bool, width: Option<usize>, sshd_internal: bool) -> Self {
        Self { color, width, zone: TimeZone::system(), sshd_internal }
    }

    pub fn heading(&self) -> String {
        let line = format!(
            "{:<12}  {:<6}  {:<WHO$}  {:<FROM$}  {:<7}  {:<RESULT$}  {}",
            "TIME", "SESSN", "WHO", "FROM", "EVENT", "RESULT", "WHAT"
        );
        self.paint("1", &line) + "\n"
    }

    /// Appends the line of a record. Nothing for the server's own processes, unless asked for.
    pub fn render(&self, record: &Record, out: &mut Vec<u8>) {
        if !self.sshd_internal && is_sshd_internal(record) {
            return;
        }
        let (event, style) = if is_failed_login(record) { ("login", "31") } else { event(record.action) };
        let result = printable(result(record).as_bytes());
        let style = if record.outcome == Outcome::Failure { "31" } else { style };
        let session = record.ssh.as_ref().map_or("", |ssh| ssh.session.id.get(..6).unwrap_or(&ssh.session.id));
        let head = format!(
            "{}  {session:<6}  {}  {}  {event:<7}  {}  ",
            self.time(record.time),
            cell(&who(record), WHO),
            cell(&from(record), FROM),
            cell(&result, RESULT),
        );
        let mut what = printable(what(record).as_bytes());
        if let Some(width) = self.width {
            what = cut(&what, width.saturating_sub(head.width()).max(20));
        }
        let line = self.paint(style, (head + &what).trim_end());
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }

    fn time(&self, ns: i64) -> String {
        let Ok(time) = Timestamp::from_nanosecond(ns.into()) else { return String::new() };
        let time = time.to_zoned(self.zone.clone());
        format!("{}.{:03}", time.strftime("%H:%M:%S"), time.millisecond())
    }

    fn paint(&self, style: &str, line: &str) -> String {
        if self.color && !style.is_empty() { format!("\x1b[{style}m{line}\x1b[0m") } else { line.to_owned() }
    }
}

fn event(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::SshConnection => ("ssh", "36"),
        Action::SshHostKey => ("hostkey", "2"),
        Action::SshKeyOffered => ("key", "2"),
        Action::SshAuthentication => ("auth", ""),
        Action::SshChannelOpened => ("channel", "2"),
        Action::SshChannelClosed => ("closed", "2"),
        Action::SshForwardRequested => ("forward", "33"),
        Action::SshCommandStarted => ("command", "1"),
        Action::SshCommandEnded => ("ended", ""),
        Action::SshProtocolError => ("error", "31"),
        Action::SshSessionStarted => ("login", "1;32"),
        Action::SshSessionEnded => ("logout", "32"),
        Action::ProcessStarted => ("exec", ""),
        Action::ProcessEnded => ("exit", "2"),
        Action::ConnectionOpened => ("connect", "36"),
        Action::ConnectionClosed => ("close", "2"),
        Action::ConnectionFailed => ("refused", "31"),
        Action::DeployConfigChanged => ("config", "33"),
        Action::DeployStarted => ("deploy", "1;35"),
        Action::DeployStep => ("step", "35"),
        Action::DeployFinished => ("done", "1;35"),
        Action::SensorStarted | Action::SensorStopped | Action::SensorConfigReloaded => ("sensor", "2"),
        Action::SensorDegraded => ("degraded", "33"),
        Action::SensorEventsLost => ("LOST", "1;31"),
        Action::SensorSuppressed => ("held", "33"),
    }
}

/// Processes of the SSH server itself.
fn is_sshd_internal(record: &Record) -> bool {
    matches!(record.action, Action::ProcessStarted | Action::ProcessEnded) && record.sensor.sshd_internal
}

/// A connection to an SSH server that ended before anybody had logged in.
fn is_failed_login(record: &Record) -> bool {
    record.action == Action::ConnectionClosed
        && record.ssh.is_some()
        && record.network.as_ref().is_some_and(|network| network.direction == "ingress")
}

/// The login user; `alice>root` where it acts as another one.
fn who(record: &Record) -> String {
    let Some(user) = &record.user else { return String::new() };
    let text = |id: &Option<String>, name: &Option<std::sync::Arc<str>>| {
        name.as_deref().map(str::to_owned).or_else(|| id.clone()).unwrap_or_default()
    };
    let own = user.effective.as_ref().map_or_else(|| text(&user.id, &user.name), |e| text(&e.id, &e.name));
    match user.audit.as_ref().map(|audit| text(&audit.id, &audit.name)) {
        Some(login) if login != own && !own.is_empty() => printable(format!("{login}>{own}").as_bytes()),
        Some(login) => printable(login.as_bytes()),
        None => printable(own.as_bytes()),
    }
}

fn from(record: &Record) -> String {
    match record.action {
        action if action.meaning().dataset == "sensor.ssh" => record.source.as_ref().map(endpoint).unwrap_or_default(),
        _ if is_failed_login(record) => record.source.as_ref().map(endpoint).unwrap_or_default(),
        _ => {
            let process = record.process.as_ref();
            let entry = process.and_then(|process| process.entry_leader.as_ref());
            entry.map(|leader| leader.entry_meta.source.ip.clone()).unwrap_or_default()
        }
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    match endpoint.port {
        Some(port) if endpoint.ip.contains(':') => format!("[{}]:{port}", endpoint.ip),
        Some(port) => format!("{}:{port}", endpoint.ip),
        None => endpoint.ip.clone(),
    }
}

fn what(record: &Record) -> String {
    let process = record.process.as_deref();
    let sensor = &record.sensor;
    match record.action {
        Action::ProcessStarted | Action::ProcessEnded => process.map(command).unwrap_or_default(),
        Action::SshSessionStarted => match sensor.adopted_by {
            Some(_) => "session was open before the sensor".into(),
            None => String::new(),
        },
        Action::SshSessionEnded => {
            let session = record.ssh.as_ref().map(|ssh| ssh.session.clone()).unwrap_or_default();
            let mut text = plural(session.commands.unwrap_or(0), "command")
                + ", "
                + &plural(session.processes.unwrap_or(0), "process");
            if let Some(left @ 1..) = session.processes_surviving {
                let _ = write!(text, ", {left} still running");
            }
            text
        }
        Action::ConnectionOpened | Action::ConnectionClosed | Action::ConnectionFailed => {
            let destination = record.destination.as_ref();
            let ip = destination.and_then(|d| d.ip.as_deref()).unwrap_or("?");
            let port = destination.and_then(|d| d.port).unwrap_or(0);
            let name = process.and_then(|p| p.name.as_deref()).unwrap_or("?");
            if is_failed_login(record) {
                "nobody logged in".into()
            } else if ip.contains(':') {
                format!("{name} to [{ip}]:{port}")
            } else {
                format!("{name} to {ip}:{port}")
            }
        }
        Action::SensorStarted => {
            let probes = sensor.probes.as_deref().unwrap_or_default();
            let missing: Vec<&str> = probes.iter().filter(|p| p.state == "missing").map(|p| p.name.as_str()).collect();
            if missing.is_empty() {
                format!("{} probes attached", probes.len())
            } else {
                format!("without {}", missing.join(", "))
            }
        }
        Action::SshConnection
        | Action::SshHostKey
        | Action::SshKeyOffered
        | Action::SshAuthentication
        | Action::SshChannelOpened
        | Action::SshChannelClosed
        | Action::SshForwardRequested
        | Action::SshCommandStarted
        | Action::SshCommandEnded
        | Action::SshProtocolError => ssh::what(record),
        Action::DeployConfigChanged => config(record),
        Action::DeployStarted | Action::DeployStep | Action::DeployFinished => deploy::what(record),
        Action::SensorStopped => "stopped".into(),
        Action::SensorConfigReloaded => "configuration reloaded".into(),
        Action::SensorDegraded => {
            sensor.degraded.as_ref().map(|d| format!("{}: {}: {}", d.what, d.why, d.effect)).unwrap_or_default()
        }
        Action::SensorSuppressed => sensor
            .suppressed
            .as_ref()
            .map(|held| format!("{} records suppressed ({})", held.count, held.limit))
            .unwrap_or_default(),
        Action::SensorEventsLost => sensor
            .lost
            .as_ref()
            .map(|l| format!("{} events lost ({}, {})", l.count, l.stage, l.kind))
            .unwrap_or_default(),
    }
}

/// The command line. Where `args[0]` is no usual name of the executable, the executable comes first and the name
/// behind it: `python3.11 (snmpget) -c ...`. For links such as `sh` the line is as people know it.
fn command(process: &Process) -> String {
    let line = process.command_line.as_deref().or(process.executable.as_deref()).unwrap_or_default();
    let Some((title, name)) = process.title.as_deref().zip(process.name.as_deref()) else { return line.to_owned() };
    if executed::is_alias(title.as_bytes(), name.as_bytes()) {
        return line.to_owned();
    }
    // A line that was cut within `args[0]` has no more of it.
    format!("{name} ({title}){}", line.strip_prefix(title).unwrap_or_default())
}

/// Which file, and by whom it was changed if that is known.
fn config(record: &Record) -> String {
    let Some(change) = &record.config else { return String::new() };
    let by = record.process.as_ref().and_then(|process| process.name.as_deref());
    let by = by.map(|name| format!(" by {name}")).unwrap_or_default();
    let removed = if change.deploy.config.removed == Some(true) { " removed" } else { "" };
    let inferred = if record.sensor.inferred == Some(true) { " (inferred)" } else { "" };
    format!("{}{removed}{by}{inferred}", change.file.path)
}

fn result(record: &Record) -> String {
    let mut text = match (record.action, &record.process) {
        _ if let Some(result) = ssh::result(record).or_else(|| deploy::result(record)) => result,
        (Action::ProcessEnded, Some(process)) => match (process.exit_signal, process.exit_code) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, Some(0)) => "ok".into(),
            (None, Some(code)) => format!("exit {code}"),
            (None, None) => String::new(),
        },
        (Action::ConnectionFailed | Action::ConnectionClosed, _) => match &record.error {
            Some(error) => error.code.clone().unwrap_or_else(|| "failed".into()),
            None => "ok".into(),
        },
        (Action::ConnectionOpened | Action::SshSessionStarted, _) => "ok".into(),
        (Action::ProcessStarted, _) if record.sensor.lineage.is_some() => "delegates".into(),
        _ => String::new(),
    };
    if let (Some(ns), true) = (
        record.duration,
        !matches!(
            record.action,
            Action::ConnectionOpened
                | Action::SshCommandStarted
                | Action::SshChannelOpened
                | Action::SshKeyOffered
                | Action::SshConnection
        ),
    ) {
        let _ = write!(text, "{}{}", if text.is_empty() { "" } else { "  " }, duration(ns));
    }
    text
}

pub(super) fn plural(n: u64, noun: &str) -> String {
    match (n, noun.ends_with('s')) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{n} {noun}es"),
        (_, false) => format!("{n} {noun}s"),
    }
}

/// A duration as one reads it: 3ms, 1.2s, 4m05s, 2h13m.
pub(super) fn duration(ns: u64) -> String {
    let ms = ns / 1_000_000;
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

/// At most so many columns of a terminal; a character of East Asia takes two.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    let mut out: String = text.chars().take_while(fits).collect();
    out.push(CUT);
    out
}

/// Exactly so many columns.
pub(super) fn cell(text: &str, width: usize) -> String {
    let mut cell = cut(text, width);
    cell.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let read = [0, 3_000_000, 1_250_000_000, 245_000_000_000, 8_000_000_000_000].map(duration);
        assert_eq!(read, ["0ms", "3ms", "1.2s", "4m05s", "2h13m"]);
    }

    #[test]
    fn long_text_is_cut_visibly() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(
            (cut("日本語", 6), cut("日本語", 5), cut("日本語", 4)),
            ("日本語".into(), "日本…".into(), "日…".into())
        );
        assert_eq!((cell("日本", 5), cell("日本語", 4), cell("ab", 2)), ("日本 ".into(), "日… ".into(), "ab".into()));
    }

    #[test]
    fn a_name_that_the_caller_chose_stands_behind_the_executable() {
        let shown = |name: &str, title: Option<&str>, line: &str| {
            command(&Process {
                name: Some(name.into()),
                title: title.map(Into::into),
                command_line: Some(line.into()),
                ..Process::default()
            })
        };
        assert_eq!(shown("python3.11", Some("snmpget"), "snmpget -c x"), "python3.11 (snmpget) -c x");
        assert_eq!(shown("sleep", Some("/bin/kamal"), "/bin/kamal 100"), "sleep (/bin/kamal) 100");
        assert_eq!(shown("sleep", Some(""), " 100"), "sleep () 100");
        assert_eq!(shown("dash", Some("sh"), "sh -c x"), "sh -c x");
        assert_eq!(shown("ls", None, "ls -l"), "ls -l");
    }

    /// The fuzzer found it: the peer chooses the name of the signal that ended its command.
    #[test]
    fn no_column_forges_a_line() {
        use crate::event::record::{Command, Ssh};
        let mut record = Record::new(0, Action::SshCommandEnded, Outcome::Failure);
        let command =
            Command { exit_signal: Some("\nfake\x1b[2J".into()), line: Some("a\nb".into()), ..Command::default() };
        record.ssh = Some(Ssh { command: Some(command), ..Ssh::default() });
        let mut out = Vec::new();
        Table::new(false, None, true).render(&record, &mut out);
        let line = String::from_utf8(out).unwrap();
        assert_eq!((line.matches('\n').count(), line.matches('\x1b').count()), (1, 0), "{line:?}");
        assert!(line.contains("signal \\n"), "{line:?}");
    }
}
