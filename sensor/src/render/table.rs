//! Findings for a person at a terminal: one line each, the same columns always, the result last.
//!
//! What a probed program can choose (arguments, names) is printed without control characters, so it cannot forge lines
//! or colours.

use std::{fmt::Write as _, net::IpAddr};

use jiff::{Timestamp, tz::TimeZone};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{deploy, ssh};
use crate::{
    event::{executed, text::printable},
    finding::{
        Account, Action, Direction, Failure, Family, Finding, FindingKind, Outcome, Process, Source,
        deploy::ConfigChange,
    },
    schema::ecs::Words as _,
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

    /// Appends the line of a finding. Nothing for the server's own processes, unless asked for.
    pub fn render(&self, finding: &Finding, out: &mut Vec<u8>) {
        if !self.sshd_internal && is_sshd_internal(finding) {
            return;
        }
        let (event, style) = if is_failed_login(finding) { ("login", "31") } else { event(finding.action()) };
        let result = printable(result(finding).as_bytes());
        let style = if finding.outcome == Outcome::Failure { "31" } else { style };
        let session = finding.subject.ssh.as_ref().and_then(|ssh| ssh.session.as_ref());
        let session = session.map_or("", |session| session.id.get(..6).unwrap_or(&session.id));
        let head = format!(
            "{}  {session:<6}  {}  {}  {event:<7}  {}  ",
            self.time(finding.time.0),
            cell(&who(finding), WHO),
            cell(&from(finding), FROM),
            cell(&result, RESULT),
        );
        let mut what = printable(what(finding).as_bytes());
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
fn is_sshd_internal(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::ProcessStarted | FindingKind::ProcessEnded(_)) && finding.quality.sshd_internal
}

/// A connection to an SSH server that ended before anybody had logged in.
fn is_failed_login(finding: &Finding) -> bool {
    let network = finding.subject.flow.as_ref().and_then(|flow| flow.network.as_ref());
    matches!(finding.kind, FindingKind::ConnectionClosed(_))
        && finding.subject.ssh.is_some()
        && network.is_some_and(|network| network.direction == Direction::Ingress)
}

/// The login user; `alice>root` where it acts as another one.
fn who(finding: &Finding) -> String {
    let Some(user) = &finding.subject.user else { return String::new() };
    let text = |account: &Account| match (&account.name, account.id) {
        (Some(name), _) => name.to_string(),
        (None, id) => id.map(|id| id.to_string()).unwrap_or_default(),
    };
    let own = text(user.effective.as_ref().unwrap_or(&user.real));
    match user.audit.as_ref().map(text) {
        Some(login) if login != own && !own.is_empty() => printable(format!("{login}>{own}").as_bytes()),
        Some(login) => printable(login.as_bytes()),
        None => printable(own.as_bytes()),
    }
}

/// Of SSH the peer, of a process where its session came from.
fn from(finding: &Finding) -> String {
    let subject = &finding.subject;
    if finding.action().family() == Family::Ssh || is_failed_login(finding) {
        return subject.flow.as_ref().and_then(|flow| flow.source.as_ref()).map(source).unwrap_or_default();
    }
    let entry = subject.process.as_ref().and_then(|process| process.entry_leader.as_ref());
    entry.map(|leader| leader.source.to_string()).unwrap_or_default()
}

fn source(source: &Source) -> String {
    source.port.map_or_else(|| source.ip.to_string(), |port| endpoint(source.ip, port))
}

fn endpoint(ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

fn what(finding: &Finding) -> String {
    let process = finding.subject.process.as_deref();
    match &finding.kind {
        FindingKind::ProcessStarted | FindingKind::ProcessEnded(_) => process.map(command).unwrap_or_default(),
        FindingKind::SshSessionStarted(_) => match finding.quality.adopted_by {
            Some(_) => "session was open before the sensor".into(),
            None => String::new(),
        },
        FindingKind::SshSessionEnded(ended) => {
            let mut text = plural(ended.commands.unwrap_or(0), "command")
                + ", "
                + &plural(ended.processes.unwrap_or(0), "process");
            if let Some(left @ 1..) = ended.processes_surviving {
                let _ = write!(text, ", {left} still running");
            }
            text
        }
        FindingKind::ConnectionClosed(_) if is_failed_login(finding) => "nobody logged in".into(),
        FindingKind::ConnectionOpened | FindingKind::ConnectionClosed(_) | FindingKind::ConnectionFailed(_) => {
            let to = finding.subject.flow.as_ref().map(|flow| &flow.destination);
            let name = process.and_then(|process| process.name.as_deref()).unwrap_or("?");
            let to = to.and_then(|to| to.ip.map(|ip| endpoint(ip, to.port.unwrap_or(0))));
            format!("{name} to {}", to.as_deref().unwrap_or("?:0"))
        }
        FindingKind::SensorStarted(probes) => {
            let missing: Vec<&str> = probes.iter().filter(|p| p.state == "missing").map(|p| p.name.as_str()).collect();
            if missing.is_empty() {
                format!("{} probes attached", probes.len())
            } else {
                format!("without {}", missing.join(", "))
            }
        }
        FindingKind::DeployConfigChanged(change) => config(finding, change),
        FindingKind::DeployStarted(_) | FindingKind::DeployStep(_) | FindingKind::DeployFinished(_) => {
            deploy::what(&finding.kind)
        }
        FindingKind::SensorStopped(_) => "stopped".into(),
        FindingKind::SensorConfigReloaded => "configuration reloaded".into(),
        FindingKind::SensorDegraded(degraded) => {
            format!("{}: {}: {}", degraded.what, degraded.why, degraded.effect)
        }
        FindingKind::SensorSuppressed(held) => {
            format!("{} records suppressed ({})", held.count, held.limit.word())
        }
        FindingKind::SensorEventsLost(lost) => {
            format!("{} events lost ({}, {})", lost.count, lost.stage, lost.kind)
        }
        _ => ssh::what(finding),
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
fn config(finding: &Finding, change: &ConfigChange) -> String {
    let by = finding.subject.process.as_ref().and_then(|process| process.name.as_deref());
    let by = by.map(|name| format!(" by {name}")).unwrap_or_default();
    let removed = if change.now.is_none() { " removed" } else { "" };
    let inferred = if finding.quality.inferred { " (inferred)" } else { "" };
    format!("{}{removed}{by}{inferred}", change.path)
}

fn result(finding: &Finding) -> String {
    let failed = |failure: &Failure| failure.code.as_deref().unwrap_or("failed").to_owned();
    let mut text = match &finding.kind {
        _ if let Some(result) = ssh::result(finding).or_else(|| deploy::result(finding)) => result,
        FindingKind::ProcessEnded(exit) => match exit.signal {
            Some(signal) => format!("signal {signal}"),
            None if exit.code == 0 => "ok".into(),
            None => format!("exit {}", exit.code),
        },
        FindingKind::ConnectionFailed(failure) => failed(failure),
        FindingKind::ConnectionClosed(closed) => closed.failure.as_ref().map_or_else(|| "ok".into(), failed),
        FindingKind::ConnectionOpened | FindingKind::SshSessionStarted(_) => "ok".into(),
        FindingKind::ProcessStarted if finding.quality.lineage.is_some() => "delegates".into(),
        _ => String::new(),
    };
    let is_shown = !matches!(
        finding.action(),
        Action::ConnectionOpened
            | Action::SshCommandStarted
            | Action::SshChannelOpened
            | Action::SshKeyOffered
            | Action::SshConnection
    );
    if let (Some(ns), true) = (finding.duration, is_shown) {
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
        use crate::finding::{
            Time,
            ssh::{Command, CommandKind},
        };
        let command = Command {
            kind: CommandKind::Exec,
            line: Some("a\nb".into()),
            labels: Vec::new(),
            pty: false,
            exit_status: None,
            exit_signal: Some("\nfake\x1b[2J".into()),
        };
        let finding = Finding::new(Time(0), Outcome::Failure, FindingKind::SshCommandEnded(Box::new(command)));
        let mut out = Vec::new();
        Table::new(false, None, true).render(&finding, &mut out);
        let line = String::from_utf8(out).unwrap();
        assert_eq!((line.matches('\n').count(), line.matches('\x1b').count()), (1, 0), "{line:?}");
        assert!(line.contains("signal \\n"), "{line:?}");
    }
}
