//! Deploys in the table: what was asked for, each step, and how it ended.

use crate::event::record::{Action, DeployFields, Outcome, Record};

fn fields(record: &Record) -> Option<&DeployFields> {
    record.deploy.as_ref()?.fields.as_deref()
}

/// The column WHAT.
pub(super) fn what(record: &Record) -> String {
    let Some(fields) = fields(record) else { return String::new() };
    if let Some(step) = &fields.step {
        let host = step.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        let line = step.line.as_deref().unwrap_or_default();
        return format!("{}{host}: {line}", step.kind);
    }
    let hosts = match fields.hosts.as_slice() {
        [] => None,
        [host] => Some(host.clone()),
        hosts => Some(format!("{} hosts", hosts.len())),
    };
    let steps = fields.steps.map(|steps| format!("{steps} steps"));
    let message = record.error.as_ref().and_then(|error| error.message.as_deref());
    let parts = [
        ("", fields.tool.as_deref()),
        (" ", fields.verb.as_deref()),
        (": ", fields.service.as_deref()),
        (" ", fields.version.as_deref()),
        (" to ", fields.destination.as_deref()),
        (" on ", hosts.as_deref()),
        (", claims performer ", fields.performer.as_deref()),
        (", ", steps.as_deref()),
        (": ", message),
    ];
    parts.into_iter().filter_map(|(before, text)| Some([before, text?].concat())).collect()
}

/// The column RESULT; None: as for other records.
pub(super) fn result(record: &Record) -> Option<String> {
    let fields = fields(record);
    Some(match record.action {
        Action::DeployStarted => fields.and_then(|fields| fields.action).unwrap_or_default().to_owned(),
        Action::DeployFinished => match (record.outcome, fields.and_then(|fields| fields.reason.as_deref())) {
            (Outcome::Success, _) => "ok".into(),
            (Outcome::Unknown, _) => match fields.and_then(|fields| fields.evidence) {
                Some("none") => "no evidence".into(),
                _ => "unknown".into(),
            },
            (Outcome::Failure, reason) => reason.unwrap_or("failed").to_owned(),
        },
        Action::DeployStep => {
            let status = fields.and_then(|fields| fields.step.as_ref()).and_then(|step| step.exit_status);
            match status {
                Some(0) => "ok".into(),
                Some(status) => format!("exit {status}"),
                None => "no status".into(),
            }
        }
        _ => return None,
    })
}
