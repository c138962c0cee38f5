//! One deploy, seen from several hosts: the deployer's view and those of its targets become one.
//!
//! A target's view belongs to the deployer's whose connection it came in by (`ssh.connection.id` is the same at both
//! ends); without that, to the one with the same performer and version at that time; without a deployer's view, targets
//! with the same performer, version, service and destination at that time are one deploy; of a tool that is known to
//! have made no connection, or others, no target's view is. Clocks of two hosts may differ by `SLACK_NS`.

use std::collections::HashMap;

use super::{
    builder::DeployBuilder,
    deploy::{Deploy, View, add_all},
};
use crate::event::time::Time;

/// NTP keeps hosts closer than this; and no two deploys of one version by one performer follow each other faster.
const SLACK_NS: i64 = 60_000_000_000;

pub(super) fn join(drafts: Vec<DeployBuilder>) -> Vec<Deploy> {
    let (mut runs, mut views): (Vec<DeployBuilder>, Vec<DeployBuilder>) =
        drafts.into_iter().partition(|draft| draft.ran_here);
    runs.sort_by_key(|run| run.first);
    views.sort_by(|a, b| (a.first, &a.deploy.host).cmp(&(b.first, &b.deploy.host)));
    for run in &mut runs {
        run.deploy.seen_from = vec!["deployer"];
        run.deploy.started.get_or_insert(Time(run.first));
    }
    let by_connection: HashMap<String, usize> = runs
        .iter()
        .enumerate()
        .flat_map(|(at, run)| run.deploy.connections.iter().map(move |id| (id.clone(), at)))
        .collect();
    let mut alone: Vec<DeployBuilder> = Vec::new();
    for view in views {
        let by_id = view.served.keys().find_map(|id| by_connection.get(id)).copied();
        match by_id.or_else(|| same_act(&runs, &view)).and_then(|at| runs.get_mut(at)) {
            Some(run) => absorb(run, view),
            None => match alone.iter_mut().rev().find(|other| is_same(other, &view, true)) {
                Some(other) => absorb(other, view),
                None => alone.push(target(view)),
            },
        }
    }
    let mut deploys: Vec<Deploy> = runs.into_iter().chain(alone).map(|draft| draft.deploy).collect();
    deploys.sort_by(|a, b| (a.time(), &a.id).cmp(&(b.time(), &b.id)));
    deploys
}

/// The run that a target's view fits without a common connection: of several, the one that began last.
fn same_act(runs: &[DeployBuilder], view: &DeployBuilder) -> Option<usize> {
    runs.iter().rposition(|run| may_be_of(run, view) && is_same(run, view, false))
}

/// Could the view be of a connection of this run? Performer and version are what a script can say of itself: a tool
/// that made no connection, or others, takes no host's steps by them.
fn may_be_of(run: &DeployBuilder, view: &DeployBuilder) -> bool {
    let others = !run.deploy.connections.is_empty()
        && !view.served.is_empty()
        && run.deploy.connections.iter().all(|id| !view.served.contains_key(id));
    match run.deploy.evidence.as_deref() {
        // By a log of an older sensor, which did not say.
        None => true,
        Some(evidence) => evidence != "none" && !others,
    }
}

/// The same performer and version at the same time, and nothing against it; `strict`: service and destination agree
/// too, also where they are absent.
fn is_same(a: &DeployBuilder, b: &DeployBuilder, strict: bool) -> bool {
    let known = |value: &Option<String>, other: &Option<String>| value.is_some() && value == other;
    let agrees = |value: &Option<String>, other: &Option<String>| {
        value == other || !strict && (value.is_none() || other.is_none())
    };
    known(&a.deploy.performer, &b.deploy.performer)
        && known(&a.deploy.version, &b.deploy.version)
        && agrees(&a.deploy.service, &b.deploy.service)
        && agrees(&a.deploy.destination, &b.deploy.destination)
        && b.first <= a.last.saturating_add(SLACK_NS)
        && a.first <= b.last.saturating_add(SLACK_NS)
}

/// A target's view stands for the deploy itself.
fn target(mut view: DeployBuilder) -> DeployBuilder {
    view.deploy.started = Some(Time(view.first));
    view.deploy.seen_from = vec!["target"];
    let own = own_view(&view);
    view.deploy.connections.clone_from(&own.connections);
    // A target knows itself by its own name.
    view.deploy.hosts = vec![own.host.name.clone()];
    view.deploy.targets = vec![own];
    view
}

fn absorb(run: &mut DeployBuilder, view: DeployBuilder) {
    let own = own_view(&view);
    run.last = run.last.max(view.last);
    let (deploy, of_target) = (&mut run.deploy, view.deploy);
    if !deploy.seen_from.contains(&"target") {
        deploy.seen_from.push("target");
    }
    for (known, new, name) in [
        (&mut deploy.service, of_target.service, "deploy.service"),
        (&mut deploy.destination, of_target.destination, "deploy.destination"),
        (&mut deploy.version, of_target.version, "deploy.version"),
        (&mut deploy.previous_version, of_target.previous_version, "deploy.previous_version"),
        (&mut deploy.performer, of_target.performer, "deploy.performer"),
        (&mut deploy.tool, of_target.tool, "deploy.tool"),
        (&mut deploy.action, of_target.action, "deploy.action"),
    ] {
        if known.is_none() {
            *known = new;
            // What is taken over is as good as it was there.
            let claimed = of_target.claimed.iter().find(|claimed| *claimed == name);
            add_all(&mut deploy.claimed, claimed.map(std::slice::from_ref).unwrap_or_default());
        }
    }
    add_all(&mut deploy.roles, &of_target.roles);
    // What a deployer calls its hosts and what they call themselves are two names of one.
    if !run.ran_here {
        add_all(&mut deploy.hosts, std::slice::from_ref(&own.host.name));
        deploy.steps += of_target.steps;
        deploy.failed_steps += of_target.failed_steps;
        add_all(&mut deploy.connections, &own.connections);
    } else if deploy.steps == 0 {
        deploy.steps = of_target.steps;
        deploy.failed_steps = of_target.failed_steps;
    }
    match deploy.targets.iter_mut().find(|known| known.host == own.host && known.id == own.id) {
        Some(known) => add_all(&mut known.connections, &own.connections),
        None => deploy.targets.push(own),
    }
}

fn own_view(view: &DeployBuilder) -> View {
    let id = Some(view.deploy.id.clone()).filter(|id| !view.served.contains_key(id));
    View { host: view.deploy.host.clone(), id, connections: view.served.keys().cloned().collect() }
}
