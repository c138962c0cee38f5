//! Deploys in the table: what was asked for, each step, and how it ended.

use crate::{
    finding::{
        Finding, FindingKind, Outcome,
        deploy::{Description, Evidence, Extent},
    },
    schema::ecs::Words,
};

/// The column WHAT.
pub(super) fn what(kind: &FindingKind) -> String {
    match kind {
        FindingKind::DeployStep(step) => {
            let host = step.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
            format!("{}{host}: {}", step.kind, step.line.as_deref().unwrap_or_default())
        }
        FindingKind::DeployStarted(started) => described(&started.description, &started.extent, None, None),
        FindingKind::DeployFinished(finished) => {
            described(&finished.description, &finished.extent, finished.steps, finished.message.as_deref())
        }
        _ => String::new(),
    }
}

fn described(description: &Description, extent: &Extent, steps: Option<u64>, message: Option<&str>) -> String {
    let hosts = match extent.hosts.as_slice() {
        [] => None,
        [host] => Some(host.clone()),
        hosts => Some(format!("{} hosts", hosts.len())),
    };
    let steps = steps.map(|steps| format!("{steps} steps"));
    let parts = [
        ("", description.tool.as_deref()),
        (" ", description.verb.as_deref()),
        (": ", description.service.as_deref()),
        (" ", description.version.as_deref()),
        (" to ", description.destination.as_deref()),
        (" on ", hosts.as_deref()),
        (", claims performer ", description.performer.as_deref()),
        (", ", steps.as_deref()),
        (": ", message),
    ];
    parts.into_iter().filter_map(|(before, text)| Some([before, text?].concat())).collect()
}

/// The column RESULT; None: as for other findings.
pub(super) fn result(finding: &Finding) -> Option<String> {
    Some(match (&finding.kind, finding.outcome) {
        (FindingKind::DeployStarted(started), _) => {
            started.description.action.map(Words::word).unwrap_or_default().to_owned()
        }
        (FindingKind::DeployFinished(_), Outcome::Success) => "ok".into(),
        (FindingKind::DeployFinished(finished), Outcome::Unknown) => match finished.evidence {
            Some(Evidence::None) => "no evidence".into(),
            _ => "unknown".into(),
        },
        (FindingKind::DeployFinished(finished), Outcome::Failure) => {
            finished.reason.as_deref().unwrap_or("failed").to_owned()
        }
        (FindingKind::DeployStep(step), _) => match step.exit_status {
            Some(0) => "ok".into(),
            Some(status) => format!("exit {status}"),
            None => "no status".into(),
        },
        _ => return None,
    })
}
