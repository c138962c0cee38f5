//! A line that tells of a deploy: what was found, on which host, in which run of the sensor.
//!
//! In: one line. Out: its finding, with short ways to what this layer asks for. A line that is no JSON object, or has
//! no time, is broken, and so is one with a known action that lacks what its finding needs. An action that is not known
//! here (of a newer sensor) is nothing to this layer. Of a start and a stop of the sensor only time, host and run are
//! read: sensors of every version wrote these.

use serde::Serialize;

use super::lines::Broken;
use crate::{
    finding::{
        self, Action, Finding, FindingKind, Process, Role, Ssh,
        deploy::{DeployFinished, DeployStep, Description, Extent},
        ssh::{Auth, Failure},
    },
    schema::ecs::{Line, Text, Word},
};

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Host {
    pub name: String,
    pub id: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Success,
    Failure,
    #[default]
    Unknown,
}

impl From<finding::Outcome> for Outcome {
    fn from(outcome: finding::Outcome) -> Self {
        match outcome {
            finding::Outcome::Success => Self::Success,
            finding::Outcome::Failure => Self::Failure,
            finding::Outcome::Unknown => Self::Unknown,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub host: Host,
    /// `sensor.boot_id`.
    pub run: Option<String>,
    pub finding: Finding,
}

impl Record {
    /// None: an action that is not known here.
    pub(super) fn parse(line: &[u8]) -> Result<Option<Self>, Broken> {
        let line = Line::read(line).map_err(|_| Broken)?;
        let (Some(timestamp), Some(event)) = (&line.timestamp, &line.event) else { return Err(Broken) };
        let (time, action) = (timestamp.0, event.action.map(|Word(action)| action));
        let text = |text: Option<&Text<'_>>| text.map(|text| text.0.clone().into_owned());
        let host = line.host.as_ref();
        let host = Host {
            name: text(host.and_then(|host| host.name.as_ref())).unwrap_or_default(),
            id: text(host.and_then(|host| host.id.as_ref())).unwrap_or_default(),
        };
        let run = text(line.sensor.as_ref().and_then(|sensor| sensor.boot_id.as_ref()));
        let mut finding = match action {
            None => return Ok(None),
            Some(Action::SensorStarted) => {
                Finding::new(time, finding::Outcome::Success, FindingKind::SensorStarted(Vec::new()))
            }
            Some(Action::SensorStopped) => {
                Finding::new(time, finding::Outcome::Success, FindingKind::SensorStopped(Box::default()))
            }
            Some(_) => line.finding().map_err(|_| Broken)?,
        };
        // A tree shows command lines, and words of a byte each take many times their line's memory.
        if let Some(process) = &mut finding.subject.process {
            process.args = Vec::new();
        }
        Ok(Some(Self { host, run, finding }))
    }

    /// ns since the epoch.
    pub(super) fn time(&self) -> i64 {
        self.finding.time.0
    }

    pub(super) fn action(&self) -> Action {
        self.finding.action()
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.finding.outcome.into()
    }

    /// A step that failed, by what the record says or by its status.
    pub(super) fn has_failed(&self) -> bool {
        let status = self.step().and_then(|step| step.exit_status);
        self.outcome() == Outcome::Failure || status.is_some_and(|status| status != 0)
    }

    /// Of the server's end of an SSH connection?
    pub(super) fn is_server(&self) -> bool {
        self.ssh().and_then(|ssh| ssh.role) != Some(Role::Client)
    }

    pub(super) fn process(&self) -> Option<&Process> {
        self.finding.subject.process.as_deref()
    }

    pub(super) fn entity(&self) -> Option<&str> {
        self.process().map(|process| process.entity_id.as_str())
    }

    fn ssh(&self) -> Option<&Ssh> {
        self.finding.subject.ssh.as_ref()
    }

    /// `ssh.connection.id`
    pub(super) fn connection(&self) -> Option<&str> {
        self.ssh()?.connection.as_deref()
    }

    /// `ssh.session.id`
    pub(super) fn session(&self) -> Option<&str> {
        self.ssh()?.session.as_ref().map(|session| session.id.as_str())
    }

    /// `ssh.command.id`
    pub(super) fn command(&self) -> Option<&str> {
        self.ssh()?.command.as_deref()
    }

    /// `deploy.id`
    pub(super) fn deploy(&self) -> Option<&str> {
        self.finding.subject.deploy.as_deref()
    }

    /// Who is logged in by SSH.
    pub(super) fn login(&self) -> Option<String> {
        let login = self.finding.subject.flow.as_ref()?.destination.login.as_ref()?;
        login.name.as_deref().map(str::to_owned)
    }

    /// Where the connection comes from: address and port.
    pub(super) fn source(&self) -> (Option<String>, Option<u16>) {
        let source = self.finding.subject.flow.as_ref().and_then(|flow| flow.source.as_ref());
        (source.map(|source| source.ip.to_string()), source.and_then(|source| source.port))
    }

    /// Where it leads: name or address, and port.
    pub(super) fn destination(&self) -> (Option<String>, Option<u16>) {
        let Some(flow) = &self.finding.subject.flow else { return (None, None) };
        let to = &flow.destination;
        (to.domain.clone().or_else(|| to.ip.map(|ip| ip.to_string())), to.port)
    }

    pub(super) fn description(&self) -> Option<&Description> {
        Some(match &self.finding.kind {
            FindingKind::DeployStarted(started) => &started.description,
            FindingKind::DeployStep(step) => &step.description,
            FindingKind::DeployFinished(finished) => &finished.description,
            _ => return None,
        })
    }

    pub(super) fn extent(&self) -> Option<&Extent> {
        Some(match &self.finding.kind {
            FindingKind::DeployStarted(started) => &started.extent,
            FindingKind::DeployFinished(finished) => &finished.extent,
            _ => return None,
        })
    }

    pub(super) fn step(&self) -> Option<&DeployStep> {
        match &self.finding.kind {
            FindingKind::DeployStep(step) => Some(step),
            _ => None,
        }
    }

    pub(super) fn finish(&self) -> Option<&DeployFinished> {
        match &self.finding.kind {
            FindingKind::DeployFinished(finished) => Some(finished),
            _ => None,
        }
    }

    /// The authentication that the record tells of.
    pub(super) fn auth(&self) -> Option<&Auth> {
        match &self.finding.kind {
            FindingKind::SshAuthentication(auth) | FindingKind::SshSessionStarted(Some(auth)) => Some(auth),
            _ => None,
        }
    }

    /// Why a connection was not made.
    pub(super) fn failure(&self) -> Option<&Failure> {
        match &self.finding.kind {
            FindingKind::ConnectionFailed(failure) => Some(failure),
            FindingKind::SshConnection(handshake) => handshake.failure.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_here_is_left_out_and_the_rest_is_read() {
        let line = br#"{"@timestamp":"2026-11-21T21:18:44.000000005Z","event":{"action":"deploy-finished","outcome":"failure","x":[1]},
            "deploy":{"id":"d1","steps":7,"hosts":["a",{"b":1}],"reason":[1],"verb":7},"new":{"a":null}}"#;
        let record = Record::parse(line).unwrap().unwrap();
        let finish = record.finish().unwrap();
        assert_eq!((record.time(), record.deploy()), (1_795_295_924_000_000_005, Some("d1")));
        assert_eq!((finish.steps, finish.extent.hosts.as_slice()), (Some(7), &["a".to_owned()][..]));
        assert_eq!((&finish.reason, &finish.description.verb), (&None, &None));
    }

    #[test]
    fn a_stop_of_any_version_is_read_and_a_known_action_without_its_parts_is_broken() {
        let line = |action: &str, rest: &str| {
            let text = format!(
                r#"{{"@timestamp":"2026-11-21T21:18:44Z","host":{{"id":"h"}},"event":{{"action":"{action}","outcome":"success"}}{rest}}}"#
            );
            Record::parse(text.as_bytes()).map(|record| record.map(|record| (record.action(), record.host.id)))
        };
        let old = r#","sensor":{"boot_id":"b","programs":[{"name":"exec","seen":1,"sent":1,"lost":0,"rescued":0}]}"#;
        assert_eq!(line("sensor-stopped", old), Ok(Some((Action::SensorStopped, "h".into()))));
        assert_eq!(line("deploy-step", r#","deploy":{"id":"d"}"#), Err(Broken));
    }

    #[test]
    fn a_record_of_a_newer_sensor_is_not_broken() {
        let line = br#"{"@timestamp":"2026-11-21T21:18:44Z","event":{"action":"deploy-dreamt","outcome":"success"}}"#;
        assert!(Record::parse(line).unwrap().is_none());
    }

    #[test]
    fn what_is_no_record_is_broken() {
        for line in [&b"{}"[..], b"{\"@timestamp\":\"x\",\"event\":{\"action\":\"a\"}}", b"{\"@timestamp\":", b"[]"] {
            assert_eq!(Record::parse(line).err(), Some(Broken));
        }
    }
}
